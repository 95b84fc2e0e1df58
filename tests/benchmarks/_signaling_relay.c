/* The ceiling of any relay in user space: bytes from socket to socket, no websocket, no JSON, no limits, no rights.
 * Used by benchmarks only: `signaling_relay` prints {"port": N} and ends with its input. A connection says
 * `M CHANNEL 0\n` or `V CHANNEL NUMBER\n`, then sends messages of a length, a viewer's number and bytes; what a viewer
 * sends goes to its master, under its number, and what a master sends to the viewer of that number. One write a message. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ (256 * 1024)
#define CHANNELS 16384
#define VIEWERS 1024

struct peer {
    int socket, is_master, channel, number;
    char hello[64];
    size_t hello_size, in_size, in_room, out_size, out_room;
    unsigned char *in, *out;
};

static struct peer *masters[CHANNELS], **members[CHANNELS];
static unsigned char buffer[READ];
static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(struct peer *peer, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(poller, operation, peer->socket, &event)) fail("epoll_ctl");
}

static void keep(struct peer *peer, const unsigned char *data, size_t size) {
    if (peer->out_size + size > peer->out_room) {
        peer->out_room = 2 * (peer->out_size + size);
        peer->out = realloc(peer->out, peer->out_room);
    }
    memcpy(peer->out + peer->out_size, data, size);
    if (!peer->out_size) watch(peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    peer->out_size += size;
}

static void give(struct peer *peer, const unsigned char *data, size_t size) {
    ssize_t sent = 0;
    if (!peer) return;
    if (!peer->out_size) sent = write(peer->socket, data, size);
    if (sent < 0) {
        if (errno != EAGAIN) return;
        sent = 0;
    }
    if ((size_t)sent < size) keep(peer, data + sent, size - sent);
}

static void drain(struct peer *peer) {
    ssize_t sent = write(peer->socket, peer->out, peer->out_size);
    if (sent <= 0) return;
    memmove(peer->out, peer->out + sent, peer->out_size - sent);
    peer->out_size -= sent;
    if (!peer->out_size) watch(peer, EPOLL_CTL_MOD, EPOLLIN);
}

static size_t greet(struct peer *peer, const unsigned char *data, size_t size) {
    size_t at = 0;
    char role;
    while (at < size) {
        peer->hello[peer->hello_size++] = data[at++];
        if (peer->hello[peer->hello_size - 1] != '\n') continue;
        if (sscanf(peer->hello, "%c %d %d", &role, &peer->channel, &peer->number) != 3) exit(3);
        peer->is_master = role == 'M';
        if (!members[peer->channel]) members[peer->channel] = calloc(VIEWERS, sizeof **members);
        if (peer->is_master) masters[peer->channel] = peer;
        else members[peer->channel][peer->number] = peer;
        peer->hello_size = sizeof peer->hello;
        break;
    }
    return at;
}

static int relay(struct peer *peer) {
    ssize_t got = read(peer->socket, buffer + peer->in_size, READ - peer->in_size);
    if (got < 0 && errno == EAGAIN) return 1;
    if (got <= 0) return 0;
    if (peer->in_size) memcpy(buffer, peer->in, peer->in_size);
    size_t size = peer->in_size + got, at = 0;
    if (peer->hello_size < sizeof peer->hello) at = greet(peer, buffer, size);
    while (size - at >= 8) {
        uint32_t head[2];
        memcpy(head, buffer + at, 8);
        size_t length = 4 + ntohl(head[0]);
        if (size - at < length) break;
        if (peer->is_master) {
            give(members[peer->channel][ntohl(head[1])], buffer + at, length);
        } else {
            head[1] = htonl(peer->number);
            memcpy(buffer + at, head, 8);
            give(masters[peer->channel], buffer + at, length);
        }
        at += length;
    }
    peer->in_size = size - at;
    if (peer->in_size > peer->in_room) peer->in = realloc(peer->in, peer->in_room = peer->in_size);
    memcpy(peer->in, buffer + at, peer->in_size);
    return 1;
}

static void leave(struct peer *peer) { /* its memory stays: a message may be on its way to it */
    if (masters[peer->channel] == peer) masters[peer->channel] = NULL;
    if (members[peer->channel] && members[peer->channel][peer->number] == peer) members[peer->channel][peer->number] = NULL;
    close(peer->socket);
}

int main(void) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    struct peer listener = {.socket = socket(AF_INET, SOCK_STREAM, 0)}, input = {.socket = 0};
    struct epoll_event events[256];
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    if (bind(listener.socket, (struct sockaddr *)&place, size) || listen(listener.socket, 4096)) fail("listen");
    getsockname(listener.socket, (struct sockaddr *)&place, &size);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    watch(&input, EPOLL_CTL_ADD, EPOLLIN);
    printf("{\"port\": %d}\n", ntohs(place.sin_port));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, events, 256, -1), on = 1;
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer == &input) {
                if (read(0, buffer, READ) <= 0) return 0;
                continue;
            }
            if (peer == &listener) {
                struct peer *fresh = calloc(1, sizeof *fresh);
                fresh->socket = accept4(listener.socket, NULL, NULL, SOCK_NONBLOCK);
                setsockopt(fresh->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                watch(fresh, EPOLL_CTL_ADD, EPOLLIN);
                continue;
            }
            if (events[i].events & EPOLLOUT) drain(peer);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !relay(peer)) leave(peer);
        }
    }
}
