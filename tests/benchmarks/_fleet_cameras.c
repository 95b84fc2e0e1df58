/* A fleet of cameras and those who watch them, in one process. Used by benchmarks only: `fleet_cameras CAMERAS PORTS
 * NAME=VALUE...`. CAMERAS has a line for each: ARN, token of the master, token of its viewers. PORTS are those of the
 * nodes on loopback, separated by commas; each attempt takes the next one. Every camera has an address of its own, so
 * that ports do not run out.
 *
 * A camera does what KVS's SDK for C does: GetIceServerConfig, ConnectAsMaster, a ping after 10 s of silence; when the
 * connection ends it waits for a random part of 100 ms, then of 200 ms and so on to 10 s, and does both again.
 *
 * It obeys lines of standard input (see `obey`), says how things are with a line of JSON five times a second and once
 * after each command, and ends with its input. Figures are of the time since the last `mark` or `watch`. */
#define _GNU_SOURCE
#include "_fleet_link.h"

#include <errno.h>

static void arm(struct camera *camera, enum timer timer, double in_s) { timer_arm(camera - cameras, timer, in_s); }

static void arm_often(struct camera *camera, enum timer timer, double mean_s) {
    if (on_duty && mean_s > 0) arm(camera, timer, -mean_s * log(1 - chance()));
}

/* Cameras come and go */

static void join(struct camera *camera) {
    camera->link.stage = CALLING;
    dial(&camera->link, (camera->first_node + camera->attempts) % nodes);
    arm(camera, LIMIT, CALL_S);
}

static void retry(struct camera *camera) {
    double most = 0.1 * (1 << (camera->attempts < 7 ? camera->attempts : 7));
    camera->attempts++;
    timer_drop(camera - cameras, LIMIT);
    arm(camera, JOIN, chance() * (most < 10 ? most : 10));
}

static void lose(struct camera *camera) {
    hang_up(&camera->link);
    open_count--;
    camera->was_away = true;
    camera->attempts = 0;
    camera->first_node = chance() * nodes;
    timer_drop(camera - cameras, PING);
}

static void opened(struct camera *camera) {
    double at = now();
    open_count++;
    if (!seen.first_open) seen.first_open = at;
    seen.last_open = at;
    camera->attempts = 0;
    timer_drop(camera - cameras, LIMIT);
    arm(camera, PING, PING_S);
    arm_often(camera, DROP, drop_every);
    arm_often(camera, FREEZE, freeze_every);
    if (camera->ghost.socket >= 0) arm(camera, GHOST, GHOST_S);
    if (!camera->is_owed) return;
    camera->is_owed = false;
    record(&seen.back, at - camera->lost);
    if (!--owed_count) all_back = at;
}

/* Its link is left without a reader, as when a router forgets it; the camera comes back by another one. */
static void freeze(struct camera *camera) {
    if (camera->ghost.socket >= 0) return;
    camera->ghost.socket = camera->link.socket;
    epoll_ctl(poller, EPOLL_CTL_DEL, camera->ghost.socket, NULL);
    camera->link.socket = -1;
    lose(camera);
    seen.freezes++;
    arm(camera, JOIN, chance() * freeze_for);
}

static void bury(struct camera *camera) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    seen.ghosts++;
    if (!getsockopt(camera->ghost.socket, IPPROTO_TCP, TCP_INFO, &info, &size) && info.tcpi_state == TCP_ESTABLISHED) seen.ghosts_left++;
    hang_up(&camera->ghost);
}

static void drop(struct camera *camera) {
    struct linger at_once = {.l_onoff = chance() < 0.5};
    setsockopt(camera->link.socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* a reset, or an end */
    lose(camera);
    seen.drops++;
    retry(camera);
}

/* Visits */

static void leave(struct camera *camera, bool is_over) {
    if (camera->viewer.stage == JOINING && !is_over && !camera->was_away) {
        seen.viewer_failures[LATE]++;
        camera->was_away = true;
    }
    if (camera->viewer.stage == OPEN) {
        viewer_count--;
        put_frame(&camera->viewer, 8, "\x03\xe8", 2);
    }
    hang_up(&camera->viewer);
    timer_drop(camera - cameras, LEAVE);
    if (camera->is_watched) {
        if (!is_over && !camera->was_away) seen.unanswered++;
        else if (!is_over) seen.away++;
    }
    camera->is_watched = false;
    arm_often(camera, VISIT, visit_every);
}

static void visit(struct camera *camera) {
    if (!on_duty) return;
    camera->visit++;
    camera->heard = camera->answered = 0;
    camera->was_away = camera->link.stage != OPEN;
    camera->is_watched = true;
    seen.visits++;
    camera->viewer.stage = JOINING;
    dial(&camera->viewer, chance() * nodes);
    arm(camera, LEAVE, VISIT_LIMIT_S);
}

static void describe(struct link *link, const char *action, const char *recipient) {
    say(link, action, PAYLOAD_OFFER, recipient);
    for (int i = 0; i < CANDIDATES; i++) say(link, "ICE_CANDIDATE", PAYLOAD_CANDIDATE, recipient);
}

static const char *find(const char *text, int size, const char *what) {
    const char *found = memmem(text, size, what, strlen(what));
    return found ? found + strlen(what) : NULL;
}

static void hear(struct link *link, const char *text, int size) {
    struct camera *camera = link->camera;
    char viewer[32];
    const char *sent = find(text, size, "\"messagePayload\":\""), *from = find(text, size, "\"senderClientId\":\"");
    if (find(text, size, "STATUS_RESPONSE")) {
        seen.statuses++;
        return;
    }
    if (!sent) return;
    seen.received++;
    record(&seen.latency, now() - strtoll(sent, NULL, 10) / 1e9);
    if (link->is_viewer) camera->answered++;
    else if (from) {
        snprintf(viewer, sizeof viewer, "v-%u", camera->visit);
        bool is_current = !strncmp(from, viewer, strlen(viewer)) && from[strlen(viewer)] == '"';
        if (is_current) camera->heard++;
        if (is_current && find(text, size, "SDP_OFFER")) describe(link, "SDP_ANSWER", viewer);
    }
    if (!camera->is_watched || camera->heard <= CANDIDATES || camera->answered <= CANDIDATES) return;
    camera->is_watched = false;
    seen.complete++;
    arm(camera, LEAVE, visit_for);
}

/* What the service says */

static void failed(struct link *link, enum failure why) {
    (link->is_viewer ? seen.viewer_failures : seen.failures)[why]++;
    hang_up(link);
    if (!link->is_viewer) retry(link->camera);
    else {
        link->camera->was_away = true;
        leave(link->camera, false);
    }
}

static void ended(struct link *link) {
    if (link->stage != OPEN) failed(link, ENDED);
    else if (link->is_viewer) {
        link->camera->was_away = true;
        leave(link->camera, !link->camera->is_watched);
    } else {
        lose(link->camera);
        retry(link->camera);
    }
}

static int refused(struct link *link, const char *answer) {
    int status = atoi(answer + 9), line = strcspn(answer, "\r\n");
    if (status != 429 && status != 503 && !seen.first_other[0])
        snprintf(seen.first_other, sizeof seen.first_other, "%s: %.*s", link->stage == CALLING ? "call" : "join", line, answer);
    failed(link, status == 429 ? S429 : status == 503 ? S503 : OTHER);
    return -1;
}

/* The answer to a call or a handshake: how many bytes of it were used, -1 when the connection is another one now. */
static int take_answer(struct link *link, const char *answer, int size) {
    const char *end = memmem(answer, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (link->stage == CALLING) {
        if (strncmp(answer, "HTTP/1.1 200", 12)) return refused(link, answer);
        if (!memmem(end, size - (end - answer), "IceServerList", 13)) return 0;
        seen.calls++;
        hang_up(link);
        link->stage = JOINING;
        dial(link, link->node);
        arm(link->camera, LIMIT, JOIN_S);
        return -1;
    }
    if (strncmp(answer, "HTTP/1.1 101", 12)) return refused(link, answer);
    link->stage = OPEN;
    seen.connects++;
    if (!link->is_viewer) opened(link->camera);
    else {
        viewer_count++;
        describe(link, "SDP_OFFER", "");
    }
    return end + 4 - answer;
}

static int take_frame(struct link *link, const char *data, int left) {
    const unsigned char *frame = (const unsigned char *)data;
    int head = left < 2 ? 2 : frame[1] == 126 ? 4 : 2;
    if (left < head) return 0;
    int size = head == 4 ? frame[2] << 8 | frame[3] : frame[1];
    if (left < head + size) return 0;
    int opcode = frame[0] & 15;
    if (opcode == 1) hear(link, data + head, size);
    else if (opcode == 9) put_frame(link, 10, data + head, size);
    else if (opcode == 8) put_frame(link, 8, data + head, size);
    return head + size;
}

static void receive(struct link *link) {
    static char data[1 << 17];
    int size = link->rest_size, used = 0, step = 1;
    if (size) memcpy(data, link->rest, size);
    int got = recv(link->socket, data + size, sizeof data - 1 - size, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        ended(link);
        return;
    }
    size += got;
    data[size] = 0;
    if (link->stage < OPEN && (used = take_answer(link, data, size)) < 0) return;
    while (link->stage == OPEN && step && used < size) used += step = take_frame(link, data + used, size - used);
    if (link->stage == OPEN && !link->is_viewer) arm(link->camera, PING, PING_S);
    free(link->rest);
    link->rest_size = size - used;
    link->rest = link->rest_size ? memcpy(malloc(link->rest_size), data + used, link->rest_size) : NULL;
}

static void ready(struct link *link, unsigned events) {
    if (link->socket < 0 || link->stage == NONE) return;
    if (events & EPOLLOUT || (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN))) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(link->socket, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error && link->stage != OPEN) {
            failed(link, error == ECONNREFUSED ? REFUSED : error == ETIMEDOUT ? LATE : ENDED);
            return;
        }
        epoll_ctl(poller, EPOLL_CTL_MOD, link->socket, &event);
        if (events & EPOLLOUT && !(events & EPOLLERR)) ask(link);
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(link);
}

static void due(struct camera *camera, enum timer timer) {
    struct link *link = &camera->link;
    bool is_open = link->stage == OPEN;
    if (timer == JOIN) join(camera);
    else if (timer == LIMIT) failed(link, LATE);
    else if (timer == PING && is_open) {
        put_frame(link, 9, "", 0);
        arm(camera, PING, PING_S);
    } else if (timer == DROP && is_open && on_duty) drop(camera);
    else if (timer == FREEZE && is_open && on_duty) freeze(camera);
    else if (timer == GHOST) bury(camera);
    else if (timer == VISIT) visit(camera);
    else if (timer == LEAVE) leave(camera, !camera->is_watched);
}

/* Commands */

static void start(void) {
    for (long i = 0; i < camera_count; i++) arm(&cameras[i], JOIN, i / rate);
}

static void work(bool is_on) {
    on_duty = is_on;
    for (long i = 0; i < camera_count; i++) {
        struct camera *camera = &cameras[i];
        arm_often(camera, VISIT, visit_every);
        if (camera->link.stage != OPEN) continue;
        arm_often(camera, DROP, drop_every);
        arm_often(camera, FREEZE, freeze_every);
    }
}

static void watch(int node) {
    all_back = 0;
    owed_count = 0;
    for (long i = 0; i < camera_count; i++) {
        struct camera *camera = &cameras[i];
        camera->is_owed = camera->link.stage == OPEN && camera->link.node == node;
        camera->lost = now();
        owed_count += camera->is_owed;
    }
}

/* tell: nothing but to tell. open: the cameras connect, `rate` a second. duty, calm: visits and faults begin, or no more
 * do. mark: count anew. watch N: so, too, and those connected to the Nth node are owed from now on; it is about to be killed. */
static void obey(const char *line) {
    commands++;
    if (!strncmp(line, "open", 4)) start();
    else if (!strncmp(line, "duty", 4)) work(true);
    else if (!strncmp(line, "calm", 4)) work(false);
    else if (strncmp(line, "tell", 4)) memset(&seen, 0, sizeof seen);
    if (!strncmp(line, "watch ", 6)) watch(atoi(line + 6));
}

/* The beginning */

static void configure(const char *word) {
    static const struct { const char *name; double *value; } OPTIONS[] = {
        {"rate", &rate}, {"visit_every", &visit_every}, {"visit_for", &visit_for}, {"drop_every", &drop_every},
        {"freeze_every", &freeze_every}, {"freeze_for", &freeze_for}};
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++) {
        size_t size = strlen(OPTIONS[i].name);
        if (strncmp(word, OPTIONS[i].name, size) || word[size] != '=') continue;
        *OPTIONS[i].value = atof(word + size + 1);
        return;
    }
    fprintf(stderr, "no such option: %s\n", word);
    exit(2);
}

static void load(const char *path) {
    static char line[LINE];
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    while (fgets(line, sizeof line, file)) {
        char *rest = line;
        cameras = realloc(cameras, (camera_count + 1) * sizeof *cameras);
        struct camera *camera = memset(&cameras[camera_count++], 0, sizeof *camera);
        line[strcspn(line, "\n")] = 0;
        camera->arn = strdup(strsep(&rest, " "));
        camera->token = strdup(strsep(&rest, " "));
        camera->viewer_token = strdup(rest);
    }
    timer_owners(camera_count);
    for (long i = 0; i < camera_count; i++) {
        struct camera *camera = &cameras[i];
        camera->link.socket = camera->viewer.socket = camera->ghost.socket = -1;
        camera->link.camera = camera->viewer.camera = camera->ghost.camera = camera;
        camera->viewer.is_viewer = true;
        camera->first_node = i % nodes;
    }
}

static void take_commands(void) {
    static char line[256];
    static size_t filled;
    ssize_t got = read(0, line + filled, sizeof line - 1 - filled);
    if (got <= 0) exit(0);
    line[filled += got] = 0;
    for (char *end; (end = strchr(line, '\n')); filled -= end + 1 - line, memmove(line, end + 1, filled + 1)) {
        obey(line);
        tell();
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[256], input = {.events = EPOLLIN};
    struct rlimit files;
    struct entry entry;
    if (argc < 3) return 2;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (char *word = strtok(argv[2], ","); word && nodes < NODES; word = strtok(NULL, ",")) ports[nodes++] = atoi(word);
    for (int i = 3; i < argc; i++) configure(argv[i]);
    srand48(1);
    load(argv[1]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input)) fail("standard input");
    for (double next = now();;) {
        int count = epoll_wait(poller, events, 256, timer_wait_ms(100));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) ready(events[i].data.ptr, events[i].events);
            else take_commands();
        }
        for (int i = 0; i < 256 && timer_take(now(), &entry); i++) due(&cameras[entry.owner], entry.timer);
        if (now() < next) continue;
        tell();
        next = now() + 0.2;
    }
}
