/* Copies of every size around the limits, with helpers and without. */
#define _GNU_SOURCE
#include "check.h"
#include "core/copy.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#define MIB (1u << 20)
#define ROOM (70ull * MIB)

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
    static const u64 sizes[] = {0, 1, 4095, 4096, 4159, MIB, 32 * MIB - 1, 32 * MIB, 32 * MIB + 1, 33 * MIB, 65 * MIB + 12345};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (u64 shift = 0; shift <= 66; shift += 33) {
            check_copy(sizes[i], shift);
        }
    }
}

/* Somebody else touches the new memory, too, and no signal goes there. */
static volatile sig_atomic_t strays;
static pthread_t own;

static void
on_alarm(int number)
{
    (void)number;
    strays += !pthread_equal(pthread_self(), own);
}

static long
faults(int who)
{
    struct rusage r;
    CHECK_EQ(getrusage(who, &r), 0);
    return r.ru_minflt;
}

static bool
is_helped(void)
{
    u8 *fresh = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(fresh != MAP_FAILED);
    long all = faults(RUSAGE_SELF), mine = faults(RUSAGE_THREAD);
    fp_copy(fresh, from, ROOM);
    long others = faults(RUSAGE_SELF) - all - (faults(RUSAGE_THREAD) - mine);
    CHECK_EQ(munmap(fresh, ROOM), 0);
    return others > 1000;
}

static void
test_helpers(void)
{
    if (fp_cpus() < 2) {
        return;
    }
    own = pthread_self();
    CHECK(signal(SIGALRM, on_alarm) != SIG_ERR);
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < 20; i++) {
        is_helped();
    }
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQ(strays, 0);
    EVENTUALLY(is_helped());   /* on a busy machine one may come too late */
}

/* Of the copy itself, in whatever thread: whoever wants to know of it hears of it. */
static void
on_fault(int number)
{
    (void)number;
    _exit(42);
}

static void
test_faults_are_told(void)
{
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            int fd = memfd_create("short", 0);
            CHECK(fd >= 0 && ftruncate(fd, ROOM) == 0 && signal(SIGBUS, on_fault) != SIG_ERR);
            void *gone = mmap(NULL, ROOM, PROT_READ, MAP_SHARED, fd, 0);
            CHECK(gone != MAP_FAILED && ftruncate(fd, MIB) == 0);
            fp_copy(to, gone, ROOM);
            _exit(1);
        }
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 42);
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
    to = aligned_alloc(2 * MIB, ROOM);   /* a huge page begins at a shift of 0 */
    CHECK(from != NULL && to != NULL);
    for (u64 i = 0; i < ROOM; i++) {
        from[i] = (u8)(i * 7 + i / 4096);
    }
    test_every_size();
    test_helpers();
    test_faults_are_told();
    in_child(lose_cpus);
    in_child(lose_threads);
    free(from);
    free(to);
    return 0;
}
