/* A libnvidia-encode.so.1 whose OpenEncodeSessionEx answers STUB_NVENC_STATUS. STUB_NVENC_VERSION is the API version
   that the driver claims, major in the upper nibbles; all else answers "invalid call". */
#include <stdint.h>
#include <stdlib.h>

enum { OPEN_SESSION_EX = 29, FUNCTIONS = 320, INVALID_CALL = 20 };
struct table { uint32_t version, reserved; void *functions[FUNCTIONS]; };

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int refuse(void) { return INVALID_CALL; }
static int open_session(void *parameters, void **encoder) {
    *encoder = (void *)1;
    if (number("STUB_NVENC_CRASH", 0)) abort();
    while (number("STUB_NVENC_HANG", 0)) { }
    return number("STUB_NVENC_STATUS", 0);
}

int NvEncodeAPIGetMaxSupportedVersion(uint32_t *version) {
    *version = number("STUB_NVENC_VERSION", 0xfff);
    return 0;
}

int NvEncodeAPICreateInstance(struct table *table) {
    for (int index = 0; index < 43; index++) table->functions[index] = refuse;
    table->functions[OPEN_SESSION_EX] = open_session;
    return 0;
}
