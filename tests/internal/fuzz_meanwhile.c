/* A worker writes into shared memory WHILE the parent reads it: what was right when it was checked is not when it is used.
 *
 * The program of reader.h, stepped by ptrace: now and then one of the parent's calls is stopped after a random number of
 * instructions, and something is scribbled; then it goes on. The parent must not crash, nor hang, and its books must balance
 * (what its calls return may be nonsense).
 *
 * First short programs, each with one call that matters, which is stopped at one of its instructions, and everything is
 * written over with ones: "all" takes every instruction of this program's own (of the calls that look at all slots the
 * first few hundred), otherwise some of them. Then random programs.
 *
 * fuzz_meanwhile [all | TRIALS [SEED]]     by default 20 random ones; "fuzz_meanwhile 1 SEED" does one of these again
 */
#define _GNU_SOURCE
#include "check.h"
#include "reader.h"
#include "scribble.h"
#include "step.h"

#include <fcntl.h>
#include <sys/mman.h>

#define SIZE 400u
#define MOST 500u   /* instructions of a call: what has not ended by then goes round in circles, over all slots */

/* In memory that both processes share: where the parent's is, and whether it is at the begin of a call. */
static fp_shm *shown;
static bool *in_a_call;
static u64 scribbles, steps;

/* ------------------------------------------------------------------ the stepped process */

static void
stop_here(bool begins)
{
    *shown = reader_pool->shm;
    *in_a_call = begins;
    raise(SIGSTOP);
}

static void
run(const u8 *input, u64 size)
{
    CHECK_EQ(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
    reader_at_call = stop_here;
    reader_run(input, size);
    _exit(0);
}

/* ---------------------------------------------------------------------------- the tracer */

/* The same memory, here. */
static fp_shm
look_into(pid_t pid)
{
    char path[64];
    fp_shm m = *shown;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, m.fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    u8 *here = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *there = (u8 *)m.head;
    CHECK(here != MAP_FAILED);
    close(fd);
    m.head = (fp_head_shm *)here;
    m.workers = (fp_worker_shm *)(here + ((u8 *)m.workers - there));
    m.idle = (fp_a64 *)(here + ((u8 *)m.idle - there));
    m.functions = (fp_function_shm *)(here + ((u8 *)m.functions - there));
    m.cells = (fp_a64 *)(here + ((u8 *)m.cells - there));
    m.slots = (fp_slot_shm *)(here + ((u8 *)m.slots - there));
    m.owners = (fp_a32 *)(here + ((u8 *)m.owners - there));
    m.rings = here + (m.rings - there);
    return m;
}

/* One word, or all of them. */
static void
flood(const fp_shm *m)
{
    u64 value = some_value(m);
    for (u64 i = 0; i < m->spans; i += sizeof value) {
        memcpy(fp_shm_at(m, i), &value, sizeof value);
    }
}

static void
scribble_now(const fp_shm *m, u64 *seed)
{
    u8 nonsense[64];
    for (u32 i = 0; i < sizeof nonsense; i++) {
        nonsense[i] = (u8)check_random(seed);
    }
    at = nonsense;
    end = nonsense + sizeof nonsense;
    if (check_random(seed) % 2 == 0) {
        scribble(m);
    }
    else {
        flood(m);
    }
    scribbles++;
}

static pid_t
begin(const u8 *input, u64 size)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        run(input, size);
    }
    return pid;
}

/* Is it where a call begins, or ends? False: it has ended, as it should. */
static bool
is_at_stop(int status)
{
    if (WIFSTOPPED(status)) {
        CHECK_EQ(WSTOPSIG(status), SIGSTOP);   /* another signal would be a crash */
        return true;
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return false;
}

static int
go_on(pid_t pid)
{
    int status;
    CHECK_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

/* Into the call, for n instructions, or n of this program's own. False: it has not been that long, and something else has
 * happened. */
static bool
step_into(pid_t pid, u64 n, bool at_home, int *status)
{
    for (u64 i = 0; i < n; steps++) {
        step_registers r = step_where(pid);
        i += !at_home || step_is_at_home(&r) || step_is_at_call(&r);
        CHECK_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        CHECK_EQ(waitpid(pid, status, 0), pid);
        if (!WIFSTOPPED(*status) || WSTOPSIG(*status) != SIGTRAP) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------- every instruction */

/* Programs of reader.c, and which of the parent's calls is the one. */
static const struct {
    const char *name;
    u8 input[12], size, call;
} calls[] = {
    {"a function", {14, 0, 16}, 3, 1},
    {"a call in the slot", {0}, 1, 1},
    {"a call in a block", {1, 0, 4}, 3, 1},
    {"a call without its payload", {3, 0}, 2, 1},
    {"a reply in the slot", {0, 8, 0, 9, 0, 0, 100, 5}, 8, 2},
    {"a reply in the ring", {0, 8, 0, 9, 0, 1, 232, 3, 5}, 9, 2},
    {"a reply in spans", {0, 8, 0, 9, 0, 3, 0, 0, 6, 5}, 10, 2},
    {"the manager's turn", {0, 8, 0, 9, 0, 0, 100, 6}, 8, 2},
    {"cancelling", {0, 4, 0, 0}, 4, 2},
    {"is it running?", {0, 8, 0, 4, 1, 0}, 6, 2},
    {"waiting", {0, 8, 0, 4, 2, 0}, 6, 2},
    {"a death", {0, 8, 0, 11, 0}, 5, 2},
    {"cancelling all", {0, 0, 12}, 3, 3},
};

/* Stopped before its k-th instruction. False: it is over by then. */
static bool
flood_at(u32 which, u32 k)
{
    int status;
    bool reached;
    pid_t pid = begin(calls[which].input, calls[which].size);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    for (u32 i = 2; i < 2 * calls[which].call; i++) {
        CHECK(is_at_stop(status));
        status = go_on(pid);
    }
    CHECK(is_at_stop(status));
    fp_shm m = look_into(pid);
    if ((reached = step_into(pid, k, true, &status))) {
        memset(m.head, 0xff, m.spans);
        scribbles++;
        status = go_on(pid);
    }
    while (is_at_stop(status)) {
        status = go_on(pid);
    }
    munmap(m.head, m.size);
    return reached;
}

static void
flood_every(u32 stride)
{
    u32 n = 0, first = 1 + (u32)(fp_now() % stride);
    u64 began = fp_now();
    for (u32 which = 0; which < sizeof calls / sizeof *calls; which++) {
        for (u32 k = first; k <= MOST; k += stride, n++) {
            char text[64];
            snprintf(text, sizeof text, "%s, at %u", calls[which].name, k);
            check_doing(text);
            if (!flood_at(which, k)) {
                break;
            }
        }
    }
    printf("  written over at %u instructions (%.1f s)\n", n, (double)(fp_now() - began) / 1e9);
    fflush(stdout);
}

/* --------------------------------------------------------------------------- at random */

static void
one_trial(u64 seed)
{
    u8 input[SIZE];
    int status;
    fp_shm m = {0};
    for (u32 i = 0; i < SIZE; i++) {
        input[i] = (u8)check_random(&seed);
    }
    pid_t pid = begin(input, SIZE);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    while (is_at_stop(status)) {
        if (m.head == NULL) {
            m = look_into(pid);
        }
        if (*in_a_call && check_random(&seed) % 4 == 0) {
            u64 most = 4u << check_random(&seed) % 8;   /* calls are of all lengths */
            if (!step_into(pid, check_random(&seed) % most, false, &status)) {
                continue;
            }
            scribble_now(&m, &seed);
        }
        status = go_on(pid);
    }
    munmap(m.head, m.size);
}

int
main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "all") == 0;
    u64 trials = argc > 1 && !all ? strtoull(argv[1], NULL, 0) : 20;
    u64 first = argc > 2 ? strtoull(argv[2], NULL, 0) : fp_now(), began = fp_now();
    step_share_one_cpu();
    shown = mmap(NULL, sizeof *shown + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shown != MAP_FAILED);
    in_a_call = (bool *)(shown + 1);
    if (argc < 3) {
        check_within(all ? 1800 : 180);
        flood_every(all ? 1 : 31);
    }
    scribbles = steps = 0;
    for (u64 seed = first; seed < first + trials; seed++) {
        char text[64];
        snprintf(text, sizeof text, "seed %llu", (unsigned long long)seed);
        check_doing(text);
        check_within(3 * BOUND_S);
        one_trial(seed);
    }
    printf("  %llu programs from seed %llu on, %llu scribbles in the middle of a call, %llu instructions (%.1f s)\n",
           (unsigned long long)trials, (unsigned long long)first, (unsigned long long)scribbles, (unsigned long long)steps,
           (double)(fp_now() - began) / 1e9);
    return 0;
}
