/* Copies of every size around the limits, with helpers and without. */
#define _GNU_SOURCE
#include "check.h"
#include "core/copy.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MIB (1u << 20)
#define ROOM (11u * MIB)

static u8 *from, *to;

static void
check_copy(u64 size, u64 shift)
{
    memset(to, 0xee, ROOM);
    fp_copy(to + shift, from + shift / 2, size);
    CHECK(memcmp(to + shift, from + shift / 2, size) == 0);
    for (u64 i = 0; i < shift; i++) {
        CHECK_EQ(to[i], 0xee);
    }
    CHECK_EQ(to[shift + size], 0xee);
}

static void
test_every_size(void)
{
    static const u64 sizes[] = {0, 1, 4096, MIB, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 5 * MIB, 9 * MIB + 12345};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (u64 shift = 0; shift <= 66; shift += 33) {
            check_copy(sizes[i], shift);
        }
    }
}

/* In a process of its own: what it lacks, the others need. */
static void
in_child(void (*lose)(void))
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        lose();
        test_every_size();
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void
lose_cpus(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
}

/* root has as many threads as it likes, so it becomes somebody else */
static void
lose_threads(void)
{
    struct rlimit none = {0, 0};
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    CHECK(getuid() != 0 || setresuid(65534, 65534, 65534) == 0);
}

int
main(void)
{
    from = malloc(ROOM);
    to = malloc(ROOM);
    CHECK(from != NULL && to != NULL);
    for (u64 i = 0; i < ROOM; i++) {
        from[i] = (u8)(i * 7 + i / 4096);
    }
    test_every_size();
    in_child(lose_cpus);
    in_child(lose_threads);
    free(from);
    free(to);
    return 0;
}
