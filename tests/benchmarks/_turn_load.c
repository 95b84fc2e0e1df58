/* Plays TURN clients and their peers on loopback against one server, and says what it cost as a line of JSON. Used by
 * benchmarks only: `turn_load key=value...`. One thread; the processor time of the server is read here,
 * right before and after the load. Every relayed payload begins with its flow, a sequence number and the instant at
 * which it was due, so that loss, order, doubles and latency are seen. */
#include "_turn_client.h"

#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { MOST_FLOWS = 512, MOST_BURST = 16, BATCH = 64, STAMP = 16, MOST_US = 100000, PEERS = 20 };

/* up, down: flows each way; indications: Send and Data in the place of channels; rate: packets per second, 0 is a closed
 * loop of `window` packets on their way; count: clients of the modes binding, allocations (at once) and memory. */
static struct {
    const char *mode;
    int port, pid, core, up, down, burst, size, window, indications, count;
    double seconds, rate;
} settings = {.mode = "relay", .core = -1, .burst = 1, .size = 1200, .window = 160, .count = 32, .seconds = 1};

struct flow {
    struct client *client;
    int peer, is_down, head_length;
    uint32_t next, expected;
    unsigned char head[64];
};

static struct flow flows[MOST_FLOWS];
static struct client *clients;
static int peers[PEERS], poller, outstanding;
static long sent, received, wrong, pss[2];
static uint32_t micros[MOST_US], run;

static int has_mode(const char *mode) { return !strcmp(settings.mode, mode); }

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Traffic */

static void watch(int fd, struct client *client) {
    struct epoll_event event = {.events = EPOLLIN};
    event.data.u64 = (uint64_t)(client ? client - clients + 1 : 0) << 32 | (uint32_t)fd;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void make_head(struct flow *flow, const struct sockaddr_in *peer, int channel) {
    struct message head;
    if (flow->is_down || has_mode("direct")) return;
    if (channel) {
        head.length = 4;
        *(uint16_t *)head.bytes = htons(channel);
        *(uint16_t *)(head.bytes + 2) = htons(settings.size);
    } else {
        begin(&head, SEND | INDICATION);
        add_peer(&head, peer);
        *(uint16_t *)(head.bytes + head.length) = htons(DATA);
        *(uint16_t *)(head.bytes + head.length + 2) = htons(settings.size);
        head.length += 4;
        *(uint16_t *)(head.bytes + 2) = htons(head.length - 20 + settings.size);
    }
    memcpy(flow->head, head.bytes, flow->head_length = head.length);
}

static void open_flows(void) {
    int most = settings.up > settings.down ? settings.up : settings.down, is_direct = has_mode("direct");
    if (settings.up + settings.down > MOST_FLOWS) fail("too many flows");
    clients = calloc(settings.count = most, sizeof *clients);
    for (int i = 0; i < PEERS; i++) watch(peers[i] = open_socket(SOCK_DGRAM), NULL);
    for (int i = 0; i < most; i++) {
        struct sockaddr_in peer = own_address(peers[i % PEERS]);
        int channel = settings.indications ? 0 : 0x4000 + i % PEERS;
        if (is_direct) {
            clients[i].fd = open_socket(SOCK_DGRAM);
            if (connect(clients[i].fd, (struct sockaddr *)&peer, sizeof peer)) fail("connect");
            clients[i].relayed = own_address(clients[i].fd);
        } else {
            allocate(&clients[i]);
            open_way(&clients[i], channel, &peer);
        }
        watch(clients[i].fd, &clients[i]);
        struct flow *up = &flows[i], *down = &flows[settings.up + i];
        if (i < settings.up) *up = (struct flow){.client = &clients[i], .peer = peers[i % PEERS]};
        if (i < settings.up) make_head(up, &peer, channel);
        if (i < settings.down) *down = (struct flow){.client = &clients[i], .peer = peers[i % PEERS], .is_down = 1};
    }
}

static void send_burst(int index, int64_t due) {
    static unsigned char out[MOST_BURST][BUFFER];
    static struct mmsghdr messages[MOST_BURST];
    static struct iovec parts[MOST_BURST];
    struct flow *flow = &flows[index];
    int whole = flow->head_length + settings.size;
    for (int i = 0; i < settings.burst; i++) {
        unsigned char *at = out[i] + flow->head_length;
        memcpy(out[i], flow->head, flow->head_length);
        if (flow->head_length > 4) *(uint32_t *)(out[i] + 16) = ++serial;
        ((uint32_t *)at)[0] = run * MOST_FLOWS + index;
        ((uint32_t *)at)[1] = flow->next++;
        memcpy(at + 8, &due, 8);
        parts[i] = (struct iovec){out[i], whole};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        if (flow->is_down) messages[i].msg_hdr.msg_name = &flow->client->relayed, messages[i].msg_hdr.msg_namelen = sizeof server;
        if (flow->client->ssl && !flow->is_down && SSL_write(flow->client->ssl, out[i], whole) != whole) wrong++;
    }
    sent += settings.burst;
    outstanding += settings.burst;
    if (flow->client->ssl && !flow->is_down) return;
    int fd = flow->is_down ? flow->peer : flow->client->fd;
    for (int at = 0, got; at < settings.burst; at += got)
        if ((got = sendmmsg(fd, messages + at, settings.burst - at, 0)) <= 0) got = 1; /* a full buffer: lost */
}

static void take(const unsigned char *at, int length, int size) {
    uint32_t name = *(uint32_t *)at, number = ((uint32_t *)at)[1];
    struct flow *flow = &flows[name % MOST_FLOWS];
    int64_t due;
    if (length < STAMP || size != settings.size) {
        wrong++;
        return;
    }
    if (name / MOST_FLOWS != run) return; /* a straggler of another run, whose port we have now */
    if ((int32_t)(number - flow->expected) < 0) wrong++; /* late or doubled */
    flow->expected = number + 1;
    memcpy(&due, at + 8, 8);
    int64_t us = (now_ns() - due) / 1000;
    micros[us < MOST_US ? us : MOST_US - 1]++;
    received++;
    if (outstanding) outstanding--;
}

/* What came to a client: ChannelData, a Data indication, or (mode direct) nothing around the payload. */
static void unwrap(const unsigned char *bytes, int got, int whole) {
    int length = 0;
    if (*bytes >= 0x40 && !has_mode("direct")) {
        take(bytes + 4, got - 4, ntohs(*(uint16_t *)(bytes + 2)));
    } else if (settings.indications) {
        const unsigned char *data = find(bytes, got, DATA, &length);
        if (data) take(data, got - (data - bytes), length);
    } else {
        take(bytes, got, whole);
    }
}

static void read_secure(struct client *client) {
    int got;
    while ((got = SSL_read(client->ssl, client->stream + client->filled, (2 << 16) - client->filled)) > 0) {
        int at = 0, end = client->filled + got;
        while (end - at >= 4) {
            int whole = 4 + ((ntohs(*(uint16_t *)(client->stream + at + 2)) + 3) & ~3);
            if (end - at < whole && is_stream) break;
            unwrap(client->stream + at, end - at, whole);
            at += whole;
        }
        client->filled = is_stream ? end - at : 0;
        if (client->filled > 0) memmove(client->stream, client->stream + at, client->filled);
    }
}

static void read_datagrams(int fd, int is_client) {
    static unsigned char in[BATCH][128];
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    int got;
    do {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){in[i], sizeof in[i]};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        }
        got = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
        for (int i = 0; i < got; i++) {
            int whole = messages[i].msg_len, kept = whole < 128 ? whole : 128;
            if (has_mode("binding")) {
                received += in[i][0] == 1 && in[i][1] == 1;
                outstanding--;
            } else if (is_client) {
                unwrap(in[i], kept, whole);
            } else {
                take(in[i], kept, whole);
            }
        }
    } while (got == BATCH);
}

static int receive(int wait_ms) {
    struct epoll_event events[BATCH];
    int count = epoll_wait(poller, events, BATCH, wait_ms);
    for (int i = 0; i < count; i++) {
        int number = events[i].data.u64 >> 32, fd = (uint32_t)events[i].data.u64;
        if (number && clients[number - 1].ssl) read_secure(&clients[number - 1]);
        else read_datagrams(fd, number);
    }
    return count;
}

static void send_binding(int index, int64_t due) {
    struct message request;
    (void)due;
    begin(&request, BINDING);
    send(clients[index].fd, request.bytes, request.length, 0);
    sent++;
    outstanding++;
}

/* Keep `window` packets on their way, or send at Poisson's instants; what has not come after 50 ms is lost. */
static void load(void (*send_next)(int, int64_t), int count) {
    int64_t start = now_ns(), end = start + settings.seconds * 1e9, due = start, heard = start, now;
    int next = 0;
    while ((now = now_ns()) < end) {
        while (settings.rate && due <= now) {
            send_next(rand() % count, due);
            due += -log((rand() + 1.0) / (RAND_MAX + 2.0)) * settings.burst / settings.rate * 1e9;
        }
        while (!settings.rate && outstanding + settings.burst <= settings.window) {
            send_next(next, now_ns());
            next = (next + 1) % count;
        }
        if (receive(0)) heard = now;
        if (!settings.rate && now - heard > 50000000) outstanding = 0, heard = now;
    }
    while (receive(50) > 0) continue;
}

/* Allocations: 401, Allocate, Refresh to 0, again with a new socket; and how much memory they take */

static void start_allocation(struct client *client) {
    struct message request;
    open_client(client);
    watch(client->fd, client);
    begin_allocate(&request, NULL);
    write_to(client, request.bytes, request.length);
    client->step = 0;
}

static void step_allocation(struct client *client) {
    struct message request;
    unsigned char reply[BUFFER];
    int got = recv(client->fd, reply, sizeof reply, 0), is_good = got >= 20 && (!client->step || !is_error(reply));
    if (is_good && !client->step) is_good = take_challenge(client, reply, got);
    wrong += !is_good;
    if (!is_good || ++client->step == 3) {
        received += is_good;
        close_client(client);
        start_allocation(client);
        return;
    }
    if (client->step == 1) begin_allocate(&request, client);
    else begin_end(&request, client);
    write_to(client, request.bytes, request.length);
}

static void allocations(void) {
    struct epoll_event events[BATCH];
    int64_t end = now_ns() + settings.seconds * 1e9;
    for (int i = 0; i < settings.count; i++) start_allocation(&clients[i]);
    while (now_ns() < end) {
        int count = epoll_wait(poller, events, BATCH, 1000);
        if (!count) fail("no reply");
        for (int i = 0; i < count; i++) step_allocation(&clients[(events[i].data.u64 >> 32) - 1]);
    }
}

/* Proportional set size of the server in KiB. */
static long read_pss(void) {
    char name[64], line[256];
    long kib = 0;
    snprintf(name, sizeof name, "/proc/%d/smaps_rollup", settings.pid);
    FILE *file = fopen(name, "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "Pss: %ld", &kib);
    if (file) fclose(file);
    return kib;
}

static void hold_allocations(void) {
    int peer = open_socket(SOCK_DGRAM);
    struct sockaddr_in address = own_address(peer);
    pss[0] = read_pss();
    for (int i = 0; i < settings.count; i++) {
        allocate(&clients[i]);
        if (!settings.indications) open_way(&clients[i], 0x4000, &address);
    }
    pss[1] = read_pss();
}

/* The program */

static void read_setting(const char *text) {
    const char *value = strchr(text, '=') + 1;
    static const struct {
        const char *name;
        int *number;
    } numbers[] = {
        {"port", &settings.port}, {"pid", &settings.pid}, {"core", &settings.core}, {"up", &settings.up},
        {"down", &settings.down}, {"burst", &settings.burst}, {"size", &settings.size}, {"window", &settings.window},
        {"indications", &settings.indications}, {"count", &settings.count},
    };
    int length = value - text - 1;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strncmp(text, numbers[i].name, length) && !numbers[i].name[length]) *numbers[i].number = atoi(value);
    if (!strncmp(text, "mode=", 5)) settings.mode = value;
    if (!strncmp(text, "user=", 5)) user = value;
    if (!strncmp(text, "password=", 9)) password = value;
    if (!strncmp(text, "seconds=", 8)) settings.seconds = atof(value);
    if (!strncmp(text, "rate=", 5)) settings.rate = atof(value);
    if (!strcmp(text, "transport=tls")) is_stream = 1, context = SSL_CTX_new(TLS_client_method());
    if (!strcmp(text, "transport=dtls")) context = SSL_CTX_new(DTLS_client_method());
}

static double server_seconds(void) {
    struct timespec time = {0};
    clockid_t clock;
    if (settings.pid && !clock_getcpuclockid(settings.pid, &clock)) clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double own_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int percentile(double share) {
    int at = 0;
    for (long seen = 0; at < MOST_US && (seen += micros[at]) < share * received; at++) continue;
    return at;
}

static void prepare(void) {
    struct rlimit files;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(settings.core >= 0 ? settings.core : 0, &cores);
    if (settings.core >= 0 && sched_setaffinity(0, sizeof cores, &cores)) fail("sched_setaffinity");
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    server.sin_port = htons(settings.port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int is_traffic = has_mode("relay") || has_mode("direct");
    if (is_traffic) open_flows();
    else clients = calloc(settings.count, sizeof *clients);
    for (int i = 0; has_mode("binding") && i < settings.count; i++) {
        open_client(&clients[i]);
        watch(clients[i].fd, &clients[i]);
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) read_setting(argv[i]);
    run = getpid() % (1 << 22);
    prepare();
    double own = own_seconds(), cpu = server_seconds();
    int64_t start = now_ns();
    if (has_mode("binding")) load(send_binding, settings.count);
    else if (has_mode("allocations")) allocations();
    else if (has_mode("memory")) hold_allocations();
    else load(send_burst, settings.up + settings.down);
    cpu = server_seconds() - cpu;
    printf("{\"sent\":%ld,\"received\":%ld,\"wrong\":%ld,\"seconds\":%.6f,\"server_s\":%.6f,\"own_s\":%.6f,\"p50_us\":%d,"
           "\"p99_us\":%d,\"pss_kib\":%ld}\n",
           sent, received, wrong, (now_ns() - start) / 1e9, cpu, own_seconds() - own, percentile(0.5), percentile(0.99),
           pss[1] - pss[0]);
    for (int i = 0; !has_mode("direct") && i < settings.count; i++)
        if (clients[i].relayed.sin_port) end_allocation(&clients[i]);
    return 0;
}
