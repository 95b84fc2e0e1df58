/* Opens a websocket for each target, lets each viewer and its master exchange one message, then holds them all. Used by
 * benchmarks only: `signaling_idle PORT TARGETS plain|tls` (TARGETS as for _signaling_load.c) prints {"open": N} once
 * all are open and have spoken, and ends with its input. Certificates are not checked: the server is on loopback. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE 16384

struct client {
    int socket;
    SSL *tls;
    char id[64];
};

static int port;
static SSL_CTX *context;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int take(struct client *client, void *to, int size) {
    return client->tls ? SSL_read(client->tls, to, size) : (int)read(client->socket, to, size);
}

static void give(struct client *client, const void *data, int size) {
    int sent = client->tls ? SSL_write(client->tls, data, size) : (int)write(client->socket, data, size);
    if (sent != size) fail("write");
}

static void take_all(struct client *client, unsigned char *to, int size) {
    for (int at = 0, got; at < size; at += got)
        if ((got = take(client, to + at, size - at)) <= 0) fail("the server closed");
}

static void hear(struct client *client) {
    unsigned char head[4], body[65536];
    take_all(client, head, 2);
    int size = head[1];
    if (size == 126) {
        take_all(client, head + 2, 2);
        size = head[2] << 8 | head[3];
    }
    take_all(client, body, size);
    if (!memmem(body, size, "SDP_", 4)) {
        fprintf(stderr, "not relayed: %.*s\n", size, body);
        exit(1);
    }
}

static void say(struct client *client, const char *action, const char *recipient) {
    unsigned char frame[256] = {0x81, 0x80, 0, 0, 0, 0};
    int size = snprintf((char *)frame + 6, 120, "{\"action\":\"%s\",\"messagePayload\":\"YQ==\",\"recipientClientId\":\"%s\"}", action, recipient);
    if (size > 125) exit(3);
    frame[1] |= size; /* masked with zeros */
    give(client, frame, 6 + size);
}

static void join(struct client *client, const char *target) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[LINE + 512], answer[8192];
    int filled = 0, on = 1;
    client->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (client->socket < 0) fail("socket");
    if (connect(client->socket, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context) {
        client->tls = SSL_new(context);
        SSL_set_fd(client->tls, client->socket);
        if (SSL_connect(client->tls) != 1) fail("TLS");
    }
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        target, port);
    give(client, request, size);
    while (filled < 4 || memcmp(answer + filled - 4, "\r\n\r\n", 4)) {
        if (filled == sizeof answer || take(client, answer + filled, 1) != 1) break;
        filled++;
    }
    if (strncmp(answer, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "refused: %.*s\n", filled, answer);
        exit(1);
    }
}

int main(int argc, char **argv) {
    static char line[LINE];
    struct client *master = NULL;
    long open = 0;
    if (argc != 4) return 2;
    port = atoi(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (!strcmp(argv[3], "tls")) context = SSL_CTX_new(TLS_client_method());
    FILE *targets = fopen(argv[2], "r");
    if (!targets) fail(argv[2]);
    for (; fgets(line, sizeof line, targets); open++) {
        struct client *client = calloc(1, sizeof *client);
        char *rest = line + 2;
        int is_master = line[0] == 'M';
        line[strcspn(line, "\n")] = 0;
        strsep(&rest, " ");
        if (is_master) master = client;
        else snprintf(client->id, sizeof client->id, "%s", strsep(&rest, " "));
        join(client, rest);
        if (is_master) continue;
        say(client, "SDP_OFFER", "");
        hear(master);
        say(master, "SDP_ANSWER", client->id);
        hear(client);
    }
    printf("{\"open\": %ld}\n", open);
    fflush(stdout);
    while (read(0, line, sizeof line) > 0) continue;
    return 0;
}
