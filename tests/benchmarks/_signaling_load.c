/* Masters and viewers of signaling channels that send each other messages through a relay on loopback, and what that
 * cost the relay. Used by benchmarks only.
 *
 *   signaling_load KIND PORT PIDS CORE TARGETS PAYLOAD WARM_S RUN_S MODE AMOUNT
 *
 * KIND     ws (websockets with the JSON of KVS) or raw (length, number, bytes: what _signaling_relay.c relays)
 * PIDS     processes of the relay, by commas: their CPU time is read at both ends of the run
 * CORE     where this program runs; -1 is anywhere
 * TARGETS  a file with a connection a line: `M CHANNEL TARGET` and `V CHANNEL CLIENT_ID TARGET`, channels by number from
 *          0, each master before its viewers; TARGET is what GET asks for (any word for raw)
 * MODE     closed: AMOUNT messages are under way at any time, offer -> answer -> offer of the same viewer
 *          open:   AMOUNT messages a second set off at random (Poisson), half of them to masters, half to viewers, and
 *                  each is timed from when it was to be sent; this program never sleeps meanwhile
 *
 * A message counts once: it came in at the relay and went out. Prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ (256 * 1024)
#define LINE 16384
#define STAMP 16 /* characters at the front of a payload: when it was to be sent */
#define SENDER "\"senderClientId\":\""

static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d}; /* that of RFC 6455, 5.7; some skip one of zeros */

struct frame {
    unsigned char *bytes; /* ready to send but for its stamp */
    size_t size, stamp;   /* where the stamp is */
};

struct client {
    int socket, is_master, channel, number, is_waiting;
    char id[64];
    struct client *master, **viewers; /* a viewer's master; a master's viewers by number */
    int viewer_count;
    struct frame offer, answer; /* of a viewer: what it sends, and what its master sends it */
    unsigned char *in, *out;
    size_t in_size, in_room, out_size, out_room;
};

static struct client *clients, **viewers;
static int client_count, viewer_count, poller, is_raw, is_open_loop, port;
static unsigned char buffer[READ];
static long relayed, statuses, late;
static float *times_us;
static size_t time_count, time_room;
static double measured_from = INFINITY;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Frames */

static size_t framed(unsigned char *to, const char *text, size_t size) {
    size_t at = 0;
    to[at++] = 0x81;
    if (size <= 125) {
        to[at++] = 0x80 | size;
    } else {
        to[at++] = 0x80 | 126;
        to[at++] = size >> 8;
        to[at++] = size;
    }
    memcpy(to + at, MASK, 4);
    at += 4;
    for (size_t i = 0; i < size; i++) to[at + i] = text[i] ^ MASK[i & 3];
    return at + size;
}

static void make_frame(struct frame *frame, const char *action, const char *recipient, int number, int payload) {
    char *text = malloc(payload + 512), *filling = malloc(payload + 1);
    memset(filling, 'A', payload);
    filling[payload] = 0;
    frame->bytes = malloc(payload + 600);
    if (is_raw) {
        uint32_t head[2] = {htonl(payload + 70 + 4), htonl(number)}; /* as long as the relayed JSON */
        memcpy(frame->bytes, head, 8);
        memset(frame->bytes + 8, 'A', payload + 70);
        frame->size = 8 + payload + 70;
        frame->stamp = 8;
    } else {
        int front = sprintf(text, "{\"action\":\"%s\",\"messagePayload\":\"", action);
        size_t size = front + sprintf(text + front, "%s\",\"recipientClientId\":\"%s\",\"correlationId\":\"1700000000000\"}",
                                      filling, recipient);
        frame->size = framed(frame->bytes, text, size);
        frame->stamp = frame->size - size + front;
    }
    free(text);
    free(filling);
}

static void stamp(struct frame *frame, double when) {
    uint64_t ns = (uint64_t)(when * 1e9);
    size_t body = is_raw ? 0 : (frame->bytes[1] & 0x7f) == 126 ? 8 : 6;
    for (int i = 0; i < STAMP; i++) {
        unsigned char letter = 'A' + (ns >> (4 * (STAMP - 1 - i)) & 15);
        frame->bytes[frame->stamp + i] = is_raw ? letter : letter ^ MASK[(frame->stamp - body + i) & 3];
    }
}

static double stamped(const unsigned char *payload) {
    uint64_t ns = 0;
    for (int i = 0; i < STAMP; i++) ns = ns << 4 | (uint64_t)(payload[i] - 'A');
    return ns / 1e9;
}

/* Sockets */

static void watch(struct client *client, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(poller, operation, client->socket, &event)) fail("epoll_ctl");
}

static void flush(struct client *client) {
    size_t at = 0;
    while (at < client->out_size) {
        ssize_t sent = write(client->socket, client->out + at, client->out_size - at);
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) fail("write");
        at += sent;
    }
    memmove(client->out, client->out + at, client->out_size - at);
    client->out_size -= at;
    int waits = client->out_size > 0;
    if (waits != client->is_waiting) watch(client, EPOLL_CTL_MOD, waits ? EPOLLIN | EPOLLOUT : EPOLLIN);
    client->is_waiting = waits;
}

static void add(struct client *client, const struct frame *frame) {
    if (client->out_size + frame->size > client->out_room) {
        client->out_room = 2 * (client->out_size + frame->size);
        client->out = realloc(client->out, client->out_room);
    }
    memcpy(client->out + client->out_size, frame->bytes, frame->size);
    client->out_size += frame->size;
}

static void join(struct client *client, const char *target) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[LINE + 512], answer[8192];
    int size, on = 1;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->socket < 0) fail("socket");
    if (connect(client->socket, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (is_raw) {
        size = snprintf(request, sizeof request, "%c %d %d\n", client->is_master ? 'M' : 'V', client->channel, client->number);
        if (write(client->socket, request, size) != size) fail("write");
    } else {
        size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        target, port);
        if (write(client->socket, request, size) != size) fail("write");
        int filled = 0;
        while (filled < 4 || memcmp(answer + filled - 4, "\r\n\r\n", 4)) { /* byte by byte: no frame may be lost */
            if (filled == sizeof answer || read(client->socket, answer + filled, 1) != 1) {
                fprintf(stderr, "refused: %.*s\n", filled, answer);
                exit(1);
            }
            filled++;
        }
        if (strncmp(answer, "HTTP/1.1 101", 12)) {
            fprintf(stderr, "refused: %.*s\n", filled, answer);
            exit(1);
        }
    }
    fcntl(client->socket, F_SETFL, O_NONBLOCK);
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
}

static void read_targets(const char *path, int payload) {
    static char line[LINE];
    struct client *master = NULL;
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    while (fgets(line, sizeof line, file)) client_count++;
    rewind(file);
    clients = calloc(client_count, sizeof *clients);
    viewers = calloc(client_count, sizeof *viewers);
    for (struct client *client = clients; fgets(line, sizeof line, file); client++) {
        char *rest = line + 2, *word;
        line[strcspn(line, "\n")] = 0;
        client->is_master = line[0] == 'M';
        client->channel = atoi(strsep(&rest, " "));
        if (client->is_master) {
            master = client;
            client->viewers = calloc(client_count, sizeof *client->viewers);
        } else {
            word = strsep(&rest, " ");
            snprintf(client->id, sizeof client->id, "%s", word);
            client->master = master;
            client->number = master->viewer_count;
            master->viewers[master->viewer_count++] = client;
            viewers[viewer_count++] = client;
            make_frame(&client->offer, "SDP_OFFER", "", client->number, payload);
            make_frame(&client->answer, "SDP_ANSWER", client->id, client->number, payload);
        }
        join(client, rest);
    }
    fclose(file);
}

/* Messages */

static void note_time(double sent) {
    double at = now();
    if (sent < measured_from) return;
    if (time_count == time_room) {
        time_room = time_room ? 2 * time_room : 1 << 16;
        times_us = realloc(times_us, time_room * sizeof *times_us);
    }
    times_us[time_count++] = (at - sent) * 1e6;
}

static struct client *sender_of(struct client *master, const unsigned char *message, size_t size) {
    if (is_raw) {
        uint32_t number;
        memcpy(&number, message, 4);
        return master->viewers[ntohl(number)];
    }
    size_t tail = size < 100 ? size : 100;
    const unsigned char *found = memmem(message + size - tail, tail, SENDER, sizeof SENDER - 1);
    if (!found) return NULL;
    const char *id = (const char *)found + sizeof SENDER - 1;
    size_t length = strcspn(id, "\"");
    for (int i = 0; i < master->viewer_count; i++) /* short lists */
        if (strlen(master->viewers[i]->id) == length && !memcmp(master->viewers[i]->id, id, length)) return master->viewers[i];
    return NULL;
}

static void hear(struct client *client, const unsigned char *message, size_t size) {
    static const char FRONT[] = "{\"messagePayload\":\"";
    if (!is_raw && (size < sizeof FRONT + STAMP || memcmp(message, FRONT, sizeof FRONT - 1) || message[sizeof FRONT - 1] == '"')) {
        if (!statuses++) fprintf(stderr, "not relayed: %.*s\n", (int)(size < 300 ? size : 300), message);
        return;
    }
    relayed++;
    if (is_open_loop) {
        note_time(stamped(message + (is_raw ? 4 : sizeof FRONT - 1)));
    } else if (client->is_master) {
        struct client *viewer = sender_of(client, message, size);
        if (viewer) add(client, &viewer->answer);
    } else {
        add(client, &client->offer);
    }
}

/* The message that begins at `at`, or NULL while it is not all there; `at` is moved behind it. */
static const unsigned char *next(const unsigned char *data, size_t size, size_t *at, size_t *length) {
    size_t left = size - *at, head;
    const unsigned char *start = data + *at;
    if (is_raw) {
        uint32_t said;
        if (left < 4) return NULL;
        memcpy(&said, start, 4);
        head = 4;
        *length = ntohl(said);
    } else {
        if (left < 4) return NULL;
        head = start[1] == 126 ? 4 : start[1] == 127 ? 10 : 2;
        if (left < head) return NULL;
        *length = start[1] < 126 ? start[1] : start[1] == 126 ? (size_t)(start[2] << 8 | start[3]) : 1 << 30;
    }
    if (left < head + *length) return NULL;
    *at += head + *length;
    return start + head;
}

static void receive(struct client *client) {
    ssize_t got = read(client->socket, buffer + client->in_size, READ - client->in_size);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        fprintf(stderr, "the relay closed %s of channel %d\n", client->is_master ? "the master" : client->id, client->channel);
        exit(1);
    }
    if (client->in_size) memcpy(buffer, client->in, client->in_size);
    size_t size = client->in_size + got, at = 0, length = 0, before;
    const unsigned char *message;
    while (before = at, (message = next(buffer, size, &at, &length)))
        if (is_raw || buffer[before] == 0x81) hear(client, message, length); /* else a ping: it has other things to do */
    client->in_size = size - at;
    if (client->in_size > client->in_room) client->in = realloc(client->in, client->in_room = client->in_size);
    memcpy(client->in, buffer + at, client->in_size);
    if (client->out_size) flush(client);
}

static void turn(int wait_ms) {
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, wait_ms);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) flush(client);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(client);
    }
}

static void closed_loop(int in_flight, double until) {
    static int is_begun;
    for (int i = 0; !is_begun && i < in_flight; i++) {
        struct client *viewer = viewers[i % viewer_count];
        add(viewer, &viewer->offer);
        flush(viewer);
    }
    is_begun = 1;
    while (now() < until) turn(10);
}

static void open_loop(double rate, double until) {
    double planned = now();
    while (planned < until) {
        planned += -log(1.0 - drand48()) / rate;
        while (now() < planned) turn(0);
        struct client *viewer = viewers[lrand48() % viewer_count];
        int is_up = lrand48() & 64;
        struct frame *frame = is_up ? &viewer->offer : &viewer->answer;
        struct client *from = is_up ? viewer : viewer->master;
        stamp(frame, planned);
        late += now() - planned > 100e-6;
        add(from, frame);
        flush(from);
    }
}

static double cpu_of(const char *pids) {
    double total = 0;
    char *copy = strdup(pids), *rest = copy, *word;
    while ((word = strsep(&rest, ","))) {
        clockid_t clock;
        struct timespec time;
        if (clock_getcpuclockid(atoi(word), &clock) || clock_gettime(clock, &time)) fail("clock_getcpuclockid");
        total += time.tv_sec + time.tv_nsec / 1e9;
    }
    free(copy);
    return total;
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return a < b ? -1 : a > b;
}

static double quantile(double q) { return time_count ? times_us[(size_t)(q * (time_count - 1))] : 0; }

int main(int argc, char **argv) {
    if (argc != 11) return 2;
    is_raw = !strcmp(argv[1], "raw");
    port = atoi(argv[2]);
    const char *pids = argv[3];
    int core = atoi(argv[4]), payload = atoi(argv[6]);
    double warm_s = atof(argv[7]), run_s = atof(argv[8]), amount = atof(argv[10]);
    is_open_loop = !strcmp(argv[9], "open");
    signal(SIGPIPE, SIG_IGN);
    if (core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(core, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores)) fail("sched_setaffinity");
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    read_targets(argv[5], payload);
    double begin = now() + warm_s;
    if (is_open_loop) open_loop(amount, begin);
    else closed_loop((int)amount, begin);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    measured_from = begin = now();
    double cpu = cpu_of(pids);
    long count = relayed;
    late = 0;
    if (is_open_loop) open_loop(amount, begin + run_s);
    else closed_loop((int)amount, begin + run_s);
    cpu = cpu_of(pids) - cpu;
    count = relayed - count;
    double seconds = now() - begin;
    getrusage(RUSAGE_SELF, &after);
    double own = after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec +
                 (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
    if (is_open_loop) {
        double end = now() + 0.5; /* what is under way still arrives */
        while (now() < end) turn(1);
    }
    qsort(times_us, time_count, sizeof *times_us, by_size);
    printf("{\"messages\":%ld,\"seconds\":%.6f,\"cpu_s\":%.6f,\"client_cpu_s\":%.6f,\"not_relayed\":%ld,\"late\":%ld,"
           "\"timed\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f}\n",
           count, seconds, cpu, own, statuses, late, time_count, quantile(0.5), quantile(0.99), quantile(0.999));
    return 0;
}
