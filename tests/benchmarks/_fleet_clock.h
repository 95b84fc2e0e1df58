/* Time, chance, timers and histograms of `_fleet_cameras.c`. Used by benchmarks only. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* One of each for every camera; arming one again replaces it. */
enum timer { JOIN, LIMIT, PING, DROP, FREEZE, GHOST, VISIT, LEAVE, TIMERS };

struct entry {
    double at;
    uint32_t owner, turn;
    enum timer timer;
};

static struct entry *heap;
static size_t heap_size, heap_room;
static uint32_t (*turns)[TIMERS];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double chance(void) { return drand48(); } /* 0 to 1, the same row in every run */

static void timer_owners(size_t count) { turns = calloc(count, sizeof *turns); }

static void timer_drop(uint32_t owner, enum timer timer) { turns[owner][timer]++; }

static void timer_arm(uint32_t owner, enum timer timer, double in_s) {
    struct entry entry = {now() + in_s, owner, ++turns[owner][timer], timer};
    if (heap_size == heap_room) heap = realloc(heap, sizeof *heap * (heap_room = heap_room * 2 + 1024));
    size_t at = heap_size++;
    for (; at && heap[(at - 1) / 2].at > entry.at; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
}

/* The next entry that is due by `time`; 0 when none is. */
static int timer_take(double time, struct entry *found) {
    while (heap_size && heap[0].at <= time) {
        struct entry last = heap[--heap_size];
        size_t at = 0, child;
        *found = heap[0];
        for (; (child = 2 * at + 1) < heap_size; at = child) {
            if (child + 1 < heap_size && heap[child + 1].at < heap[child].at) child++;
            if (heap[child].at >= last.at) break;
            heap[at] = heap[child];
        }
        heap[at] = last;
        if (turns[found->owner][found->timer] == found->turn) return 1;
    }
    return 0;
}

/* Milliseconds until something is due, `most` at most. */
static int timer_wait_ms(int most) {
    double wait = heap_size ? (heap[0].at - now()) * 1000 : most;
    return wait < 0 ? 0 : wait < most ? (int)wait + 1 : most;
}

/* Seconds in steps of 2 %, from 1 us to a quarter of an hour. */
#define STEPS 1050
struct histogram {
    long count, steps[STEPS];
    double most;
};

static void record(struct histogram *histogram, double seconds) {
    int step = seconds > 1e-6 ? log(seconds * 1e6) / log(1.02) : 0;
    histogram->steps[step < STEPS ? step : STEPS - 1]++;
    histogram->count++;
    if (seconds > histogram->most) histogram->most = seconds;
}

static double quantile(const struct histogram *histogram, double share) {
    long rest = histogram->count * share;
    for (int step = 0; step < STEPS; step++)
        if ((rest -= histogram->steps[step]) < 0) return fmin(pow(1.02, step + 0.5) / 1e6, histogram->most);
    return histogram->most;
}
