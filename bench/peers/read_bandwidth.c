// Read bandwidth: T threads, one on each core named, sum an array far larger than the caches.
// cc -O3 -march=native -pthread read_bandwidth.c && ./a.out 0,1   prints GB/s, the median of 9 rounds.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, MAX_THREADS = 64 };
static const size_t BYTES = (size_t)1 << 29;

static uint64_t *data;
static int cores[MAX_THREADS], threads;
static pthread_barrier_t barrier;
static volatile uint64_t sink[MAX_THREADS * 8];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *read_part(void *argument) {
    int thread = (int)(intptr_t)argument;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cores[thread], &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    size_t count = BYTES / sizeof *data / threads, start = count * thread;
    memset(data + start, 1, count * sizeof *data); // pages of this thread's own
    double seconds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&barrier);
        double started = now();
        uint64_t sum = 0;
        for (size_t i = start; i < start + count; i++) sum += data[i];
        sink[thread * 8] = sum;
        pthread_barrier_wait(&barrier);
        seconds[round] = now() - started;
    }
    if (thread == 0) {
        qsort(seconds, ROUNDS, sizeof *seconds, ascending);
        printf("%.2f\n", BYTES / seconds[ROUNDS / 2] * 1e-9);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (char *core = strtok(argv[1], ","); core && threads < MAX_THREADS; core = strtok(NULL, ","))
        cores[threads++] = atoi(core);
    data = aligned_alloc(1 << 21, BYTES);
    if (!threads || !data) return 1;
    pthread_barrier_init(&barrier, NULL, threads);
    pthread_t handles[MAX_THREADS];
    for (int i = 0; i < threads; i++) pthread_create(&handles[i], NULL, read_part, (void *)(intptr_t)i);
    for (int i = 0; i < threads; i++) pthread_join(handles[i], NULL);
    return 0;
}
