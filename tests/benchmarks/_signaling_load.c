/* Masters and viewers of signaling channels that send each other messages through a relay on loopback, and what that
 * cost the relay. Used by benchmarks only.
 *
 *   signaling_load KIND PORTS PIDS CORE TARGETS PAYLOAD
 *
 * KIND     ws (websockets with the JSON of KVS), wss (the same over TLS, whose certificate is not checked) or raw
 *          (length, number, bytes: what _signaling_relay.c relays)
 * PORTS    where masters connect and, after a comma, where viewers do if that is elsewhere
 * PIDS     processes of the relay, by commas: the CPU time of each is read at both ends of a run
 * CORE     where this program runs; -1 is anywhere
 * TARGETS  a file with a connection a line: `M CHANNEL TARGET` and `V CHANNEL CLIENT_ID TARGET`, channels by number from
 *          0, each master before its viewers; TARGET is what GET asks for (any word for raw). A viewer that begins with
 *          D for V is deaf: it never reads, and is sent to as often as all others together
 *
 * Prints {"open": N} once all are connected. Then each line of its input, `MODE AMOUNT WARM_S RUN_S`, is a run over the
 * same connections, of which one line of JSON tells; it answers pings in between, and ends with its input.
 *
 * MODE     closed: AMOUNT messages are under way at any time, offer -> answer -> offer of the same viewer
 *          open:   AMOUNT messages a second set off at random (Poisson), half of them to masters, half to viewers, and
 *                  each is timed from when it was to be sent; this program never sleeps meanwhile
 *          once:   each viewer sends an offer and gets an answer, AMOUNT of them at a time, within RUN_S
 *
 * A message counts once: it came in at the relay and went out. */
#include "_signaling_client.h"
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#define READ (256 * 1024)
#define PROCESSES 16
#define MOST_VIEWERS 1024 /* of a channel */
#define SENDER "\"senderClientId\":\""

static struct client *clients, **viewers, **deaf;
static int client_count, viewer_count, deaf_count, is_open_loop, is_once, is_resting, is_told;
static unsigned char buffer[READ];
static long relayed, statuses, late;
static int offered, answered; /* viewers, when each is once */
static float *times_us;
static size_t time_count, time_room;
static double measured_from = INFINITY;

static void turn(int wait_ms);

static void read_targets(const char *path, int payload) {
    static char line[LINE];
    struct client *master = NULL;
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    while (fgets(line, sizeof line, file)) client_count++;
    rewind(file);
    clients = calloc(client_count, sizeof *clients);
    viewers = calloc(client_count, sizeof *viewers);
    deaf = calloc(client_count, sizeof *deaf);
    for (struct client *client = clients; fgets(line, sizeof line, file); client++) {
        char *rest = line + 2, *word;
        line[strcspn(line, "\n")] = 0;
        client->is_master = line[0] == 'M';
        client->channel = atoi(strsep(&rest, " "));
        if (client->is_master) {
            master = client;
            client->viewers = calloc(MOST_VIEWERS, sizeof *client->viewers);
        } else {
            word = strsep(&rest, " ");
            if (master->viewer_count == MOST_VIEWERS) exit(3);
            snprintf(client->id, sizeof client->id, "%s", word);
            client->master = master;
            client->is_deaf = line[0] == 'D';
            client->number = master->viewer_count;
            master->viewers[master->viewer_count++] = client;
            if (client->is_deaf) deaf[deaf_count++] = client;
            else viewers[viewer_count++] = client;
            make_frame(&client->offer, "SDP_OFFER", "", client->number, payload);
            make_frame(&client->answer, "SDP_ANSWER", client->id, client->number, payload);
        }
        join(client, rest);
        turn(0); /* the first may be pinged before the last are there */
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

static void offer(struct client *viewer) {
    add(viewer, &viewer->offer);
    flush(viewer);
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
    } else if (is_resting) {
        return;
    } else if (client->is_master) {
        struct client *viewer = sender_of(client, message, size);
        if (viewer) add(client, &viewer->answer);
    } else if (!is_once) {
        add(client, &client->offer);
    } else {
        answered++;
        if (offered < viewer_count) offer(viewers[offered++]);
    }
}

static void pong(struct client *client, const unsigned char *message, size_t size) {
    unsigned char frame[6 + 125] = {0x8a, 0x80 | size, MASK[0], MASK[1], MASK[2], MASK[3]};
    for (size_t i = 0; i < size; i++) frame[6 + i] = message[i] ^ MASK[i & 3];
    put(client, frame, 6 + size);
}

static void receive(struct client *client) {
    ssize_t got = take(client, buffer + client->in_size, READ - client->in_size);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        fprintf(stderr, "the relay closed %s of channel %d\n", client->is_master ? "the master" : client->id, client->channel);
        exit(1);
    }
    if (client->in_size) memcpy(buffer, client->in, client->in_size);
    size_t size = client->in_size + got, at = 0, length = 0, before;
    const unsigned char *message;
    while (before = at, (message = next(buffer, size, &at, &length)))
        if (!is_raw && buffer[before] == 0x89) pong(client, message, length);
        else if (is_raw || buffer[before] == 0x81) hear(client, message, length);
        else fprintf(stderr, "frame %02x: %.*s\n", buffer[before], (int)(length > 2 ? length - 2 : 0), message + 2);
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
        if (!client) {
            is_told = 1;
            continue;
        }
        if (events[i].events & EPOLLOUT) flush(client);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(client);
    }
}

static void closed_loop(int in_flight, double until) {
    if (is_resting) {
        is_resting = 0;
        for (int i = 0; i < in_flight; i++) offer(viewers[i % viewer_count]);
    }
    while (now() < until) turn(10);
}

static void open_loop(double rate, double until) {
    double planned = now();
    is_resting = 0;
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
        if (!deaf_count) continue;
        viewer = deaf[lrand48() % deaf_count];
        add(viewer->master, &viewer->answer);
        flush(viewer->master);
    }
}

static void each_once(int in_flight, double until) {
    is_resting = answered = offered = 0;
    while (offered < viewer_count && offered < in_flight) offer(viewers[offered++]);
    while (answered < viewer_count && now() < until) turn(10);
}

/* Until nothing comes any more: what is under way still arrives. */
static void rest(void) {
    long before;
    is_resting = 1;
    do {
        before = relayed + statuses;
        for (double end = now() + 0.1; now() < end;) turn(1);
    } while (before != relayed + statuses);
}

static int cpu_of(const char *pids, double *seconds) {
    char *copy = strdup(pids), *rest = copy, *word;
    int count = 0;
    while (count < PROCESSES && (word = strsep(&rest, ","))) {
        clockid_t clock;
        struct timespec time;
        if (clock_getcpuclockid(atoi(word), &clock) || clock_gettime(clock, &time)) fail("clock_getcpuclockid");
        seconds[count++] = time.tv_sec + time.tv_nsec / 1e9;
    }
    free(copy);
    return count;
}

static double cpu_of_self(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return a < b ? -1 : a > b;
}

static double quantile(double q) { return time_count ? times_us[(size_t)(q * (time_count - 1))] : 0; }

static void loop(double amount, double until) {
    if (is_open_loop) open_loop(amount, until);
    else if (is_once) each_once((int)amount, until);
    else closed_loop((int)amount, until);
}

static void run(const char *pids, double amount, double warm_s, double run_s) {
    double before[PROCESSES], after[PROCESSES], begin;
    measured_from = INFINITY;
    statuses = time_count = 0;
    if (!is_once) loop(amount, now() + warm_s);
    measured_from = begin = now();
    int processes = cpu_of(pids, before);
    double own = cpu_of_self();
    long count = relayed;
    late = 0;
    loop(amount, begin + run_s);
    cpu_of(pids, after);
    count = relayed - count;
    double seconds = now() - begin;
    own = cpu_of_self() - own;
    rest();
    qsort(times_us, time_count, sizeof *times_us, by_size);
    printf("{\"messages\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.6f,\"not_relayed\":%ld,\"late\":%ld,\"timed\":%zu,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"cpu_s\":[",
           count, seconds, own, statuses, late, time_count, quantile(0.5), quantile(0.99), quantile(0.999));
    for (int i = 0; i < processes; i++) printf("%s%.6f", i ? "," : "", after[i] - before[i]);
    printf("]}\n");
    fflush(stdout);
}

static void place(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    if (sched_setaffinity(0, sizeof cores, &cores)) fail("sched_setaffinity");
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    const char *pids = argv[3], *second = strchr(argv[2], ',');
    char line[LINE], mode[16];
    double amount, warm_s, run_s;
    struct epoll_event told = {.events = EPOLLIN, .data.ptr = NULL};
    is_raw = !strcmp(argv[1], "raw");
    master_port = atoi(argv[2]);
    viewer_port = second ? atoi(second + 1) : master_port;
    if (!strcmp(argv[1], "wss")) context = SSL_CTX_new(TLS_client_method());
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (atoi(argv[4]) >= 0) place(atoi(argv[4]));
    poller = epoll_create1(EPOLL_CLOEXEC);
    read_targets(argv[5], atoi(argv[6]));
    printf("{\"open\":%d}\n", client_count);
    fflush(stdout);
    setvbuf(stdin, NULL, _IONBF, 0); /* what is left of the input shows at the poller */
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &told)) fail("epoll_ctl");
    is_resting = 1;
    for (;;) {
        is_told = 0;
        while (!is_told) turn(1000);
        if (!fgets(line, sizeof line, stdin)) return 0;
        if (sscanf(line, "%15s %lf %lf %lf", mode, &amount, &warm_s, &run_s) != 4) return 2;
        is_open_loop = !strcmp(mode, "open");
        is_once = !strcmp(mode, "once");
        run(pids, amount, warm_s, run_s);
    }
}
