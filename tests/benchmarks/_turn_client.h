/* The TURN client of the load generator: STUN messages, the handshake, an allocation and the way to a peer. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 2048, BINDING = 1, ALLOCATE = 3, REFRESH = 4, SEND = 6, PERMIT = 8, BIND = 9, INDICATION = 0x10 };
enum {
    USERNAME = 6, INTEGRITY = 8, CODE = 9, NUMBER = 12, LIFETIME = 13, PEER = 0x12, DATA = 0x13, REALM = 0x14, NONCE = 0x15,
    RELAYED = 0x16, TRANSPORT = 0x19
};

struct client {
    int fd, step, filled, realm_length, nonce_length;
    SSL *ssl;
    struct sockaddr_in relayed;
    unsigned char realm[128], nonce[128], *stream;
};

struct message {
    unsigned char bytes[BUFFER];
    int length;
};

static struct sockaddr_in server = {.sin_family = AF_INET};
static const char *user = "", *password = "";
static SSL_CTX *context; /* none: plain */
static int is_stream;
static uint32_t serial;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Messages */

static void begin(struct message *m, int type) {
    memset(m->bytes, 0, 20);
    *(uint16_t *)m->bytes = htons(type);
    *(uint32_t *)(m->bytes + 4) = htonl(0x2112a442);
    *(uint32_t *)(m->bytes + 8) = htonl(getpid());
    *(uint32_t *)(m->bytes + 16) = htonl(++serial);
    m->length = 20;
}

static void add(struct message *m, int type, const void *value, int length) {
    unsigned char *at = m->bytes + m->length;
    *(uint16_t *)at = htons(type);
    *(uint16_t *)(at + 2) = htons(length);
    memset(at + 4 + length, 0, -length & 3);
    memcpy(at + 4, value, length);
    m->length += 4 + ((length + 3) & ~3);
    *(uint16_t *)(m->bytes + 2) = htons(m->length - 20);
}

static void add_number(struct message *m, int type, uint32_t value) {
    value = htonl(value);
    add(m, type, &value, 4);
}

static void add_peer(struct message *m, const struct sockaddr_in *address) {
    unsigned char value[8] = {0, 1};
    *(uint16_t *)(value + 2) = address->sin_port ^ htons(0x2112);
    *(uint32_t *)(value + 4) = address->sin_addr.s_addr ^ htonl(0x2112a442);
    add(m, PEER, value, 8);
}

static void sign(struct message *m, const struct client *client) {
    unsigned char text[1024], key[16], sum[20];
    add(m, USERNAME, user, strlen(user));
    add(m, REALM, client->realm, client->realm_length);
    add(m, NONCE, client->nonce, client->nonce_length);
    int length = snprintf((char *)text, sizeof text, "%s:%.*s:%s", user, client->realm_length, client->realm,
                          password);
    EVP_Digest(text, length, key, NULL, EVP_md5(), NULL);
    *(uint16_t *)(m->bytes + 2) = htons(m->length + 4);
    HMAC(EVP_sha1(), key, 16, m->bytes, m->length, sum, NULL);
    add(m, INTEGRITY, sum, 20);
}

static const unsigned char *find(const unsigned char *bytes, int got, int type, int *length) {
    for (int at = 20; at + 4 <= got; at += 4 + ((*length + 3) & ~3)) {
        *length = ntohs(*(uint16_t *)(bytes + at + 2));
        if (ntohs(*(uint16_t *)(bytes + at)) == type) return bytes + at + 4;
    }
    return NULL;
}

/* 0 when the reply is no challenge: an earlier client had the same port and left its allocation behind. */
static int take_challenge(struct client *client, const unsigned char *bytes, int got) {
    int realm_length = 0, nonce_length = 0;
    const unsigned char *realm = find(bytes, got, REALM, &realm_length), *nonce = find(bytes, got, NONCE, &nonce_length);
    if (!realm || !nonce || realm_length > 128 || nonce_length > 128) return 0;
    memcpy(client->realm, realm, client->realm_length = realm_length);
    memcpy(client->nonce, nonce, client->nonce_length = nonce_length);
    return 1;
}

static int is_error(const unsigned char *reply) { return (reply[0] & 1) && (reply[1] & 0x10); }

/* Clients */

static int open_socket(int type) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), bytes = 4 << 20;
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (bind(fd, (struct sockaddr *)&any, sizeof any)) fail("bind");
    return fd;
}

static struct sockaddr_in own_address(int fd) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &length);
    return address;
}

static void open_client(struct client *client) {
    client->fd = open_socket(is_stream ? SOCK_STREAM : SOCK_DGRAM);
    if (connect(client->fd, (struct sockaddr *)&server, sizeof server)) fail("connect");
    if (!context) return;
    client->ssl = SSL_new(context);
    client->stream = malloc(2 << 16);
    if (is_stream) {
        SSL_set_fd(client->ssl, client->fd);
    } else {
        struct timeval limit = {.tv_sec = 2};
        BIO *bio = BIO_new_dgram(client->fd, BIO_NOCLOSE);
        BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &server);
        BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_RECV_TIMEOUT, 0, &limit);
        SSL_set_bio(client->ssl, bio, bio);
    }
    if (SSL_connect(client->ssl) != 1) fail("handshake");
}

static int write_to(struct client *client, const void *bytes, int length) {
    return client->ssl ? SSL_write(client->ssl, bytes, length) : (int)send(client->fd, bytes, length, 0);
}

/* Send and wait for the reply, with up to 5 attempts; the length of the reply. */
static int ask(struct client *client, struct message *request, unsigned char *reply) {
    struct pollfd ready = {.fd = client->fd, .events = POLLIN};
    for (int attempt = 0; attempt < 5; attempt++) {
        if (!attempt || !is_stream) write_to(client, request->bytes, request->length);
        while ((client->ssl && SSL_pending(client->ssl)) || poll(&ready, 1, 500) > 0) {
            int got = client->ssl ? SSL_read(client->ssl, reply, BUFFER) : (int)recv(client->fd, reply, BUFFER, 0);
            if (got >= 20 && !memcmp(reply + 4, request->bytes + 4, 16)) return got;
            if (got <= 0 && is_stream) fail("connection ended");
        }
    }
    fail("no reply");
    return 0;
}

static int must(struct client *client, struct message *request, unsigned char *reply) {
    int length, got = ask(client, request, reply);
    if (is_error(reply)) {
        const unsigned char *code = find(reply, got, CODE, &length);
        fprintf(stderr, "request %02x got %d\n", request->bytes[1], code ? code[2] * 100 + code[3] : 0);
        exit(1);
    }
    return got;
}

static void begin_allocate(struct message *request, const struct client *client) {
    begin(request, ALLOCATE);
    add_number(request, TRANSPORT, 17 << 24);
    if (client) sign(request, client);
}

static void begin_end(struct message *request, const struct client *client) {
    begin(request, REFRESH);
    add_number(request, LIFETIME, 0);
    sign(request, client);
}

static void close_client(struct client *client) {
    if (client->ssl) SSL_free(client->ssl);
    close(client->fd);
    client->ssl = NULL;
}

static void allocate(struct client *client) {
    struct message request;
    unsigned char reply[BUFFER];
    const unsigned char *value = NULL;
    for (int attempt = 0, length; !value; attempt++) {
        if (attempt == 9) fail("no allocation");
        if (attempt) close_client(client);
        open_client(client);
        begin_allocate(&request, NULL);
        if (!take_challenge(client, reply, ask(client, &request, reply))) continue;
        begin_allocate(&request, client);
        int got = ask(client, &request, reply);
        value = is_error(reply) ? NULL : find(reply, got, RELAYED, &length);
    }
    client->relayed = server;
    client->relayed.sin_port = *(uint16_t *)(value + 2) ^ htons(0x2112);
    client->relayed.sin_addr.s_addr = *(uint32_t *)(value + 4) ^ htonl(0x2112a442);
}

/* The reply is waited for: it must not reach the next client that gets this port. */
static void end_allocation(struct client *client) {
    struct message request;
    unsigned char reply[BUFFER];
    begin_end(&request, client);
    ask(client, &request, reply);
    close_client(client);
}

static void open_way(struct client *client, int channel, const struct sockaddr_in *peer) {
    struct message request;
    unsigned char reply[BUFFER];
    begin(&request, channel ? BIND : PERMIT);
    if (channel) add_number(&request, NUMBER, channel << 16);
    add_peer(&request, peer);
    sign(&request, client);
    must(client, &request, reply);
}
