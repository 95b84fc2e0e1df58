/* A connection of `_fleet_cameras.c`: its requests and frames go out here; what comes back is the camera's. Used by
 * benchmarks only. */
#include "_fleet_state.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void hang_up(struct link *link) {
    if (link->socket >= 0) close(link->socket);
    link->socket = -1;
    link->stage = NONE;
    free(link->rest);
    link->rest = NULL;
    link->rest_size = 0;
}

static void put(struct link *link, const char *data, int size) {
    /* What does not fit belongs to a peer that reads nothing: the connection ends when that shows. */
    if (send(link->socket, data, size, MSG_NOSIGNAL) != size) shutdown(link->socket, SHUT_RDWR);
}

static void put_text(struct link *link, const char *format, ...) {
    char text[LINE];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put(link, text, size);
}

static void put_frame(struct link *link, int opcode, const char *data, int size) {
    static const unsigned char MASK[] = {0x5a, 0xc3, 0x17, 0x99};
    unsigned char frame[LINE + 8] = {0x80 | opcode};
    int head = size < 126 ? 2 : 4;
    frame[1] = 0x80 | (size < 126 ? size : 126);
    if (head == 4) frame[2] = size >> 8, frame[3] = size;
    memcpy(frame + head, MASK, 4);
    for (int i = 0; i < size; i++) frame[head + 4 + i] = data[i] ^ MASK[i & 3];
    put(link, (char *)frame, head + 4 + size);
}

static void say(struct link *link, const char *action, int characters, const char *recipient) {
    char text[LINE];
    int size = snprintf(text, sizeof text, "{\"action\":\"%s\",\"recipientClientId\":\"%s\",\"messagePayload\":\"%020lld",
                        action, recipient, (long long)(now() * 1e9));
    memset(text + size, 'A', characters - 20);
    size += characters - 20;
    text[size++] = '"', text[size++] = '}';
    put_frame(link, 1, text, size);
    seen.sent++;
}

static void dial(struct link *link, int node) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(ports[node]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    long number = link->camera - cameras;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010001 + number / 250 * 256 + number % 250)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = link};
    int on = 1;
    link->node = node;
    link->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->socket < 0) fail("socket");
    setsockopt(link->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(link->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(link->socket, (struct sockaddr *)&from, sizeof from)) fail("bind");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, link->socket, &event)) fail("epoll_ctl");
    connect(link->socket, (struct sockaddr *)&to, sizeof to); /* what comes of it the poller tells */
}

static void ask(struct link *link) {
    struct camera *camera = link->camera;
    char body[256];
    if (link->stage == CALLING) {
        int size = snprintf(body, sizeof body, "{\"ChannelARN\":\"%s\"}", camera->arn);
        put_text(link, "POST /v1/get-ice-server-config HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
                 "Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
                 ports[link->node], camera->token, size, body);
        return;
    }
    snprintf(body, sizeof body, link->is_viewer ? "&X-Amz-ClientId=v-%u" : "", camera->visit);
    put_text(link, "GET /%s?X-Amz-ChannelARN=%s%s&token=%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
             link->is_viewer ? "viewer" : "master", camera->arn, body,
             link->is_viewer ? camera->viewer_token : camera->token, ports[link->node]);
}
