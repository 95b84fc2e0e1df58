/* A client of a signaling channel, for benchmarks: its frames, its socket, with or without TLS, and how it joins. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE 16384
#define STAMP 16 /* characters at the front of a payload: when it was to be sent */

static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d}; /* that of RFC 6455, 5.7; some skip one of zeros */

struct frame {
    unsigned char *bytes; /* ready to send but for its stamp */
    size_t size, stamp;   /* where the stamp is */
};

struct client {
    int socket, is_master, is_deaf, channel, number, is_waiting;
    SSL *tls;
    char id[64];
    struct client *master, **viewers; /* a viewer's master; a master's viewers by number */
    int viewer_count;
    struct frame offer, answer; /* of a viewer: what it sends, and what its master sends it */
    unsigned char *in, *out;
    size_t in_size, in_room, out_size, out_room;
};

static int poller, is_raw, master_port, viewer_port;
static SSL_CTX *context; /* with TLS */

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

static ssize_t take(struct client *client, void *to, size_t room) {
    if (!client->tls) return read(client->socket, to, room);
    int got = SSL_read(client->tls, to, (int)room);
    if (got > 0) return got;
    errno = SSL_get_error(client->tls, got) == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
    return errno == EAGAIN ? -1 : 0;
}

static ssize_t give(struct client *client, const void *data, size_t size) {
    if (!client->tls) return write(client->socket, data, size);
    int sent = SSL_write(client->tls, data, (int)size);
    if (sent > 0) return sent;
    errno = SSL_get_error(client->tls, sent) == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

static void flush(struct client *client) {
    size_t at = 0;
    while (at < client->out_size) {
        ssize_t sent = give(client, client->out + at, client->out_size - at);
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

static void put(struct client *client, const unsigned char *bytes, size_t size) {
    if (client->out_size + size > client->out_room) {
        client->out_room = 2 * (client->out_size + size);
        client->out = realloc(client->out, client->out_room);
    }
    memcpy(client->out + client->out_size, bytes, size);
    client->out_size += size;
}

static void add(struct client *client, const struct frame *frame) { put(client, frame->bytes, frame->size); }

static void secure(struct client *client) {
    client->tls = SSL_new(context);
    SSL_set_mode(client->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_fd(client->tls, client->socket);
    if (SSL_connect(client->tls) != 1) fail("TLS");
}

static void join(struct client *client, const char *target) {
    int port = client->is_master ? master_port : viewer_port;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[LINE + 512], answer[8192];
    int size, on = 1, little = 4096;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->socket < 0) fail("socket");
    if (client->is_deaf) setsockopt(client->socket, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    if (connect(client->socket, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context) secure(client);
    if (is_raw) {
        size = snprintf(request, sizeof request, "%c %d %d\n", client->is_master ? 'M' : 'V', client->channel, client->number);
        if (write(client->socket, request, size) != size) fail("write");
    } else {
        size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        target, port);
        if (give(client, request, size) != size) fail("write");
        int filled = 0;
        while (filled < 4 || memcmp(answer + filled - 4, "\r\n\r\n", 4)) { /* byte by byte: no frame may be lost */
            if (filled == sizeof answer || take(client, answer + filled, 1) != 1) {
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
    if (!client->is_deaf) watch(client, EPOLL_CTL_ADD, EPOLLIN);
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
        if (left < 2) return NULL;
        head = start[1] == 126 ? 4 : start[1] == 127 ? 10 : 2;
        if (left < head) return NULL;
        *length = start[1] < 126 ? start[1] : start[1] == 126 ? (size_t)(start[2] << 8 | start[3]) : 1 << 30;
    }
    if (left < head + *length) return NULL;
    *at += head + *length;
    return start + head;
}
