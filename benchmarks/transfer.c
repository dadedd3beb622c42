/* transfer SIZE: what SIZE bytes cost two processes on two CPUs, without any pool: "WRITE READ", medians in ns.
 *
 * One copies them into shared memory, the other, when it is told that they are there, copies them out; then the first may
 * write again, into the next of a few places. So each place has been read by the other CPU last when it is written, and
 * written by the other CPU last when it is read, as with the calls of a pool. Both copy with fastpool's own loop.
 */
#define _GNU_SOURCE
#include "../csrc/core/copy.h"
#include "../csrc/core/os.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 8
#define TIMES 4000

/* Shared. Each number is written by one side alone. */
typedef struct {
    _Alignas(64) fp_a64 written;
    _Alignas(64) fp_a64 read;
    _Alignas(64) u64 reading[TIMES];   /* ns */
} shared;

static void *
map_shared(u64 size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return at;
}

/* The n-th CPU that this process may use. */
static void
pin(int n)
{
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n-- == 0) {
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
    fprintf(stderr, "this needs two CPUs\n");
    exit(1);
}

static void
await(const fp_a64 *number, u64 value)
{
    while (fp_load_acquire(number) < value) {
        fp_relax();
    }
}

static u64
timed_copy(u8 *to, const u8 *from, u64 size)
{
    u64 start = fp_now();
    fp_copy(to, from, size);
    return fp_now() - start;
}

static int
compare(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;
    return x < y ? -1 : x > y;
}

static u64
median(u64 *ns)
{
    qsort(ns, TIMES, sizeof *ns, compare);
    return ns[TIMES / 2];
}

int
main(int argc, char **argv)
{
    u64 size = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    if (size == 0) {
        fprintf(stderr, "usage: transfer SIZE\n");
        return 2;
    }
    static u64 writing[TIMES];
    shared *s = map_shared(sizeof *s);
    u8 *places = map_shared(PLACES * size), *own = malloc(size);
    if (own == NULL) {
        return 1;
    }
    memset(own, 1, size);
    pid_t reader = fork();
    pin(reader == 0);
    for (u64 i = 0; i < TIMES; i++) {
        u8 *place = places + i % PLACES * size;
        if (reader == 0) {
            await(&s->written, i + 1);
            s->reading[i] = timed_copy(own, place, size);
            fp_store_release(&s->read, i + 1);
        }
        else {
            writing[i] = timed_copy(place, own, size);
            fp_store_release(&s->written, i + 1);
            await(&s->read, i + 1);
        }
    }
    if (reader == 0) {
        _exit(0);
    }
    waitpid(reader, NULL, 0);
    printf("%llu %llu\n", (unsigned long long)median(writing), (unsigned long long)median(s->reading));
    return 0;
}
