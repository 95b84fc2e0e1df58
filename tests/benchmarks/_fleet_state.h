/* What `_fleet_cameras.c` knows of its cameras, their connections and what it saw, and how it tells it. Used by
 * benchmarks only. */
#include "_fleet_clock.h"

#include <stdbool.h>
#include <sys/resource.h>

#define LINE 16384
#define NODES 8
#define CANDIDATES 5
#define PAYLOAD_OFFER 1200
#define PAYLOAD_CANDIDATE 200
#define PING_S 10.0
#define CALL_S 5.0
#define JOIN_S 15.0
#define VISIT_LIMIT_S 10.0
#define GHOST_S 5.0

enum stage { NONE, CALLING, JOINING, OPEN };
enum failure { REFUSED, ENDED, LATE, S429, S503, OTHER, FAILURES };
static const char *FAILURE[] = {"refused", "ended", "late", "429", "503", "other"};
/* `away`: it came while the camera was away, or one of both lost its connection; `unanswered` is the service's fault. */
static struct {
    long connects, calls, sent, received, statuses, visits, complete, away, unanswered, drops, freezes, ghosts, ghosts_left;
    long failures[FAILURES], viewer_failures[FAILURES];
    double first_open, last_open;
    struct histogram latency, back;
    char first_other[128];
} seen;

struct link {
    int socket, node;
    enum stage stage;
    bool is_viewer;
    struct camera *camera;
    char *rest;
    int rest_size;
};

struct camera {
    char *arn, *token, *viewer_token;
    struct link link, viewer, ghost; /* ghost: what it left behind when it was frozen */
    int attempts, first_node, heard, answered;
    bool is_owed, was_away, is_watched;
    unsigned visit;
    double lost;
};

static int ports[NODES], nodes, poller;
static struct camera *cameras;
static long camera_count, open_count, owed_count, viewer_count, commands;
static double all_back;
static bool on_duty;
static double rate = 500, visit_every, visit_for = 5, drop_every, freeze_every, freeze_for = 10;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void tell_failures(const char *name, const long *counts) {
    printf("\"%s\":{", name);
    for (int i = 0; i < FAILURES; i++) printf("%s\"%s\":%ld", i ? "," : "", FAILURE[i], counts[i]);
    printf("},");
}

static void tell(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"commands\":%ld,\"cpu_s\":%.3f,\"open\":%ld,\"viewers\":%ld,\"owed\":%ld,\"all_back\":%.4f,", commands,
           cpu, open_count, viewer_count, owed_count, all_back);
    printf("\"first_open\":%.4f,\"last_open\":%.4f,\"connects\":%ld,\"calls\":%ld,", seen.first_open, seen.last_open,
           seen.connects, seen.calls);
    printf("\"sent\":%ld,\"received\":%ld,\"statuses\":%ld,\"latency_p50\":%.7f,\"latency_p99\":%.7f,", seen.sent,
           seen.received, seen.statuses, quantile(&seen.latency, 0.5), quantile(&seen.latency, 0.99));
    printf("\"back_p50\":%.4f,\"back_p99\":%.4f,\"back_most\":%.4f,", quantile(&seen.back, 0.5),
           quantile(&seen.back, 0.99), seen.back.most);
    printf("\"visits\":%ld,\"complete\":%ld,\"away\":%ld,\"unanswered\":%ld,\"drops\":%ld,\"freezes\":%ld,", seen.visits,
           seen.complete, seen.away, seen.unanswered, seen.drops, seen.freezes);
    tell_failures("failures", seen.failures);
    tell_failures("viewer_failures", seen.viewer_failures);
    printf("\"ghosts\":%ld,\"ghosts_left\":%ld,\"first_other\":\"%s\"}\n", seen.ghosts, seen.ghosts_left, seen.first_other);
    fflush(stdout);
}
