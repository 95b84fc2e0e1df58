/* Opens and closes one websocket per line of standard input (a request target), PARALLEL at a time, and says how that
 * went as a line of JSON. Used by benchmarks only: `connects PORT PARALLEL CORE < targets`; CORE -1 is any. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD 4096
#define LINE 16384

/* 1000, masked with zeros (RFC 6455, 5.5.1) */
static const unsigned char CLOSE[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};

struct slot {
    int socket, is_open;
    size_t filled;
    char head[HEAD + 1];
};

static struct sockaddr_in server = {.sin_family = AF_INET};
static int poller;
static long opened, refused, failed;
static char first_refusal[128];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int start(struct slot *slot) {
    static char line[LINE], request[LINE + 512];
    if (!fgets(line, sizeof line, stdin)) return 0;
    line[strcspn(line, "\n")] = 0;
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
                        line, ntohs(server.sin_port));
    slot->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (slot->socket < 0) fail("socket");
    if (connect(slot->socket, (struct sockaddr *)&server, sizeof server)) fail("connect");
    if (write(slot->socket, request, size) != size) fail("write");
    fcntl(slot->socket, F_SETFL, O_NONBLOCK);
    slot->is_open = 0;
    slot->filled = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, slot->socket, &event)) fail("epoll_ctl");
    return 1;
}

/* Reads what is there; 1 when the connection has ended, as it should or not. */
static int progress(struct slot *slot) {
    char *end = slot->head + slot->filled;
    ssize_t got = read(slot->socket, end, slot->is_open ? HEAD : HEAD - slot->filled);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) {
        if (!slot->is_open) failed++;
        return 1;
    }
    if (slot->is_open) return 0; /* its close frame; the end of the connection follows */
    slot->filled += got;
    slot->head[slot->filled] = 0;
    if (!strstr(slot->head, "\r\n\r\n")) return slot->filled == HEAD ? failed++, 1 : 0;
    if (strncmp(slot->head, "HTTP/1.1 101", 12)) {
        if (!refused++) snprintf(first_refusal, sizeof first_refusal, "%.*s", (int)strcspn(slot->head, "\r\n"), slot->head);
        return 1;
    }
    opened++;
    slot->is_open = 1;
    slot->filled = 0;
    if (write(slot->socket, CLOSE, sizeof CLOSE) != sizeof CLOSE) return 1;
    return 0;
}

static double seconds(struct timespec *time) { return time->tv_sec + time->tv_nsec / 1e9; }

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int parallel = atoi(argv[2]), core = atoi(argv[3]), live = 0;
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(core, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores)) fail("sched_setaffinity");
    }
    struct slot *slots = calloc(parallel, sizeof *slots);
    struct epoll_event events[64];
    struct timespec begin, end;
    poller = epoll_create1(EPOLL_CLOEXEC);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    while (live < parallel && start(&slots[live])) live++;
    while (live) {
        int count = epoll_wait(poller, events, 64, 20000);
        if (count == 0) {
            failed += live;
            break;
        }
        for (int i = 0; i < count; i++) {
            struct slot *slot = events[i].data.ptr;
            if (!progress(slot)) continue;
            close(slot->socket);
            if (!start(slot)) live--;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"opened\":%ld,\"refused\":%ld,\"failed\":%ld,\"seconds\":%.6f,\"cpu_s\":%.6f,\"first_refusal\":\"%s\"}\n",
           opened, refused, failed, seconds(&end) - seconds(&begin), cpu, first_refusal);
    return 0;
}
