/* A libnvidia-encode.so.1 without a GPU. OpenEncodeSessionEx answers STUB_NVENC_STATUS; STUB_NVENC_VERSION is the API
   version that the driver claims. With an encoder set by stub_set_encoder it encodes whole streams, else all but the
   opening answers "invalid call". Of the structures only the fields that are used are named, at their offsets. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_CALL = 20, FUNCTIONS = 320, KNOWN = 43, MOST_BYTES = 1 << 22, PITCH_STEP = 256 };
enum {
    GUID_COUNT = 1, GUIDS = 4, CAPS = 7, INITIALIZE = 11, CREATE_INPUT = 12, DESTROY_INPUT = 13, CREATE_OUTPUT = 14,
    DESTROY_OUTPUT = 15, ENCODE = 16, LOCK_OUTPUT = 17, UNLOCK_OUTPUT = 18, LOCK_INPUT = 19, UNLOCK_INPUT = 20,
    DESTROY = 27, OPEN_SESSION_EX = 29, RECONFIGURE = 32, LAST_ERROR = 37, SET_STREAMS = 38, PRESET_CONFIG_EX = 39
};
enum { FLAG_IDR = 2, FLAG_END = 8, TYPE_P = 0, TYPE_IDR = 3, EVERYTHING = 8192 };
#define AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

struct table { uint32_t version, reserved; void *functions[FUNCTIONS]; };
struct guid { uint32_t a; uint16_t b, c; uint8_t d[8]; };
struct input { uint32_t width, height, pitch; uint8_t *data; };
struct output { uint32_t size, type; uint64_t time; uint8_t data[MOST_BYTES]; };
struct session { uint32_t bitrate, pictures; int wants_idr; };
typedef int encoder_function(
    const uint8_t *yv12, uint32_t pitch, uint32_t width, uint32_t height, int is_idr, uint32_t bitrate, uint8_t *out,
    int *was_idr);

static const struct guid H264 = {0x6bc82762, 0x4e63, 0x4ca4, {0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf}};
static encoder_function *encoder;

void stub_set_encoder(encoder_function *function) { encoder = function; }

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int refuse(void) { return INVALID_CALL; }
static int nothing(void) { return SUCCESS; }
static const char *last_error(void) { return "stub"; }
static int guid_count(void *session, uint32_t *count) { *count = 1; return SUCCESS; }
static int caps(void *session, struct guid codec, void *query, int *value) { *value = EVERYTHING; return SUCCESS; }
static int preset(void *session, struct guid codec, struct guid preset, int tuning, void *config) { return SUCCESS; }

static int open_session(void *parameters, void **result) {
    if (number("STUB_NVENC_CRASH", 0)) abort();
    while (number("STUB_NVENC_HANG", 0)) { }
    *result = calloc(1, sizeof(struct session));
    return number("STUB_NVENC_STATUS", SUCCESS);
}

static int destroy(void *session) { free(session); return SUCCESS; }

static int guids(void *session, struct guid *found, uint32_t room, uint32_t *count) {
    *found = H264;
    *count = 1;
    return SUCCESS;
}

static uint32_t rate_of(void *initialize) { return AT(uint32_t, AT(void *, initialize, 88), 60); }

static int initialize(struct session *session, void *parameters) {
    session->bitrate = rate_of(parameters);
    return SUCCESS;
}

static int reconfigure(struct session *session, void *parameters) {
    if (!number("STUB_NVENC_IGNORES_RATE", 0)) session->bitrate = rate_of((char *)parameters + 8);
    session->wants_idr |= AT(uint32_t, parameters, 8 + 1800) >> 1 & 1;
    return SUCCESS;
}

static int create_input(void *session, void *parameters) {
    struct input *made = calloc(1, sizeof *made);
    made->width = AT(uint32_t, parameters, 4);
    made->height = AT(uint32_t, parameters, 8);
    made->pitch = (made->width + PITCH_STEP - 1) / PITCH_STEP * PITCH_STEP;
    made->data = calloc(made->height * 3 / 2, made->pitch);
    AT(void *, parameters, 24) = made;
    return SUCCESS;
}

static int destroy_input(void *session, struct input *made) { free(made->data); free(made); return SUCCESS; }
static int create_output(void *session, void *parameters) {
    AT(void *, parameters, 16) = calloc(1, sizeof(struct output));
    return SUCCESS;
}
static int destroy_output(void *session, void *made) { free(made); return SUCCESS; }

static int lock_input(void *session, void *parameters) {
    struct input *made = AT(struct input *, parameters, 8);
    AT(void *, parameters, 16) = made->data;
    AT(uint32_t, parameters, 24) = made->pitch;
    return SUCCESS;
}

static int encode(struct session *session, void *picture) {
    uint32_t flags = AT(uint32_t, picture, 16);
    struct input *input = AT(struct input *, picture, 40);
    struct output *output = AT(struct output *, picture, 48);
    int was_idr = 0, is_idr = session->wants_idr || (flags & FLAG_IDR && !number("STUB_NVENC_IGNORES_IDR", 0));
    if (flags & FLAG_END) return SUCCESS;
    if (session->pictures++ >= (uint32_t)number("STUB_NVENC_DIES_AT", 1 << 30)) return INVALID_CALL;
    session->wants_idr = 0;
    output->time = AT(uint64_t, picture, 24);
    output->size = encoder(
        input->data, input->pitch, input->width, input->height, is_idr, session->bitrate, output->data, &was_idr);
    output->type = was_idr ? TYPE_IDR : TYPE_P;
    return output->size ? SUCCESS : INVALID_CALL;
}

static int lock_output(void *session, void *parameters) {
    struct output *output = AT(struct output *, parameters, 8);
    AT(uint32_t, parameters, 36) = output->size;
    AT(uint64_t, parameters, 40) = output->time;
    AT(void *, parameters, 56) = output->data;
    AT(uint32_t, parameters, 64) = output->type;
    AT(uint32_t, parameters, 72) = 20;
    return SUCCESS;
}

int NvEncodeAPIGetMaxSupportedVersion(uint32_t *version) {
    *version = number("STUB_NVENC_VERSION", 0xfff);
    return SUCCESS;
}

int NvEncodeAPICreateInstance(struct table *table) {
    for (int index = 0; index < KNOWN; index++) table->functions[index] = refuse;
    table->functions[OPEN_SESSION_EX] = open_session;
    table->functions[DESTROY] = destroy;
    table->functions[LAST_ERROR] = last_error;
    if (!encoder) return SUCCESS;
    table->functions[GUID_COUNT] = guid_count;
    table->functions[GUIDS] = guids;
    table->functions[CAPS] = caps;
    table->functions[PRESET_CONFIG_EX] = preset;
    table->functions[INITIALIZE] = initialize;
    table->functions[RECONFIGURE] = reconfigure;
    table->functions[CREATE_INPUT] = create_input;
    table->functions[DESTROY_INPUT] = destroy_input;
    table->functions[CREATE_OUTPUT] = create_output;
    table->functions[DESTROY_OUTPUT] = destroy_output;
    table->functions[LOCK_INPUT] = lock_input;
    table->functions[SET_STREAMS] = table->functions[UNLOCK_INPUT] = nothing;
    table->functions[ENCODE] = encode;
    table->functions[LOCK_OUTPUT] = lock_output;
    table->functions[UNLOCK_OUTPUT] = nothing;
    return SUCCESS;
}
