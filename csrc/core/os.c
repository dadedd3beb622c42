#define _GNU_SOURCE
#include "os.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

u64
fp_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static struct timespec
timespec_of(u64 then)
{
    return (struct timespec){.tv_sec = (time_t)(then / 1000000000u), .tv_nsec = (long)(then % 1000000000u)};
}

int
fp_nap_until(u64 then)
{
    struct timespec until = timespec_of(then);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR ? FP_INTR : FP_OK;
}

int
fp_futex_wait(fp_a32 *word, u32 expected, u64 deadline, bool shared)
{
    struct timespec until, *limit = NULL;
    if (deadline != FP_NEVER) {
        until = timespec_of(deadline);
        limit = &until;
    }
    /* WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC */
    int op = FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG);
    if (syscall(SYS_futex, word, op, expected, limit, NULL, FUTEX_BITSET_MATCH_ANY) == 0) {
        return FP_OK;
    }
    switch (errno) {
    case ETIMEDOUT: return FP_TIMEDOUT;
    case EINTR: return FP_INTR;
    default: return FP_AGAIN;
    }
}

void
fp_futex_wake(fp_a32 *word, int how_many, bool shared)
{
    int op = FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG);
    syscall(SYS_futex, word, op, how_many, NULL, NULL, 0);
}

int
fp_memfd_create(const char *name)
{
    int fd = (int)syscall(SYS_memfd_create, name, 3u /* MFD_CLOEXEC | MFD_ALLOW_SEALING */);
    return fd < 0 ? FP_SYSTEM : fd;
}

void
fp_seal_size(int fd)
{
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
}

int
fp_eventfd_create(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? FP_SYSTEM : fd;
}

void
fp_eventfd_ring(int fd)
{
    u64 one = 1;
    /* EAGAIN means that it rings already */
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void
fp_eventfd_clear(int fd)
{
    u64 count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int
fp_pidfd_open(int pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? FP_SYSTEM : fd;   /* close-on-exec by itself */
}

bool
fp_pidfd_ended(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

int
fp_reserve(int fd, u64 offset, u64 size)
{
    int rc;
    do {
        rc = fallocate(fd, 0, (off_t)offset, (off_t)size);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS) {
        return FP_OK;
    }
    return FP_NOMEM;
}

int
fp_write_at(int fd, u64 offset, const void *data, u64 size)
{
    for (u64 done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const u8 *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR) {
            return errno == ENOSPC || errno == ENOMEM ? FP_NOMEM : FP_SYSTEM;
        }
        done += n > 0 ? (u64)n : 0;
    }
    return FP_OK;
}

void
fp_release_pages(int fd, u64 offset, u64 size)
{
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23   /* since Linux 5.14 */
#endif

/* The pages that lie in it as a whole. Refused, nothing changes. */
static void
advise(void *memory, u64 size, u64 page, int advice)
{
    uintptr_t from = ((uintptr_t)memory + page - 1) & ~(uintptr_t)(page - 1);
    uintptr_t to = ((uintptr_t)memory + size) & ~(uintptr_t)(page - 1);
    if (from < to) {
        madvise((void *)from, to - from, advice);
    }
}

/* As far as its middle can tell. (mincore() would say so, too, but is a reason to kill a process under some filters.) */
static bool
has_pages(void *memory, u64 size)
{
    struct rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    ((volatile u8 *)memory)[size / 2] = 0;
    getrusage(RUSAGE_THREAD, &after);
    return after.ru_minflt == before.ru_minflt;
}

void
fp_prepare_memory(void *memory, u64 size, bool at_once)
{
    advise(memory, size, FP_HUGE_PAGE, MADV_HUGEPAGE);
    if (at_once && !has_pages(memory, size)) {
        advise(memory, size, (u64)sysconf(_SC_PAGESIZE), MADV_POPULATE_WRITE);
    }
}

/* "max 100000" or "150000 100000": quota and period in us; 0 = no quota. */
static unsigned
cgroup_quota_cpus(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f == NULL) {
        return 0;
    }
    unsigned long quota = 0, period = 0;
    int n = fscanf(f, "%lu %lu", &quota, &period);
    fclose(f);
    if (n != 2 || period == 0) {
        return 0;
    }
    return quota < period ? 1 : (unsigned)(quota / period);
}

unsigned
fp_cpus(void)
{
    cpu_set_t set;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        n = CPU_COUNT(&set);
    }
    unsigned quota = cgroup_quota_cpus();
    if (quota && (long)quota < n) {
        n = quota;
    }
    return n < 1 ? 1 : (unsigned)n;
}

u64
fp_rlimit(int resource)
{
    struct rlimit r;
    if (getrlimit(resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY) {
        return UINT64_MAX;
    }
    return r.rlim_cur;
}

static unsigned fork_generation;

int
fp_fork_sibling(void)
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        fork_generation++;
    }
    return pid < 0 ? FP_SYSTEM : (int)pid;
}

u64
fp_private_memory(void)
{
    unsigned long long resident = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) {
        return 0;
    }
    int n = fscanf(f, "%*u %llu %llu", &resident, &shared);
    fclose(f);
    return n == 2 && resident > shared ? (resident - shared) * (u64)sysconf(_SC_PAGESIZE) : 0;
}

u64
fp_peak_memory(int pid)
{
    siginfo_t info = {.si_pid = 0};
    struct rusage usage = {.ru_maxrss = 0};
    /* the library's waitid has no fifth argument */
    long rc = syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT | WNOHANG, &usage);
    return rc == 0 && info.si_pid == pid ? (u64)usage.ru_maxrss * 1024u : 0;
}


static void
in_child(void)
{
    fork_generation++;
}

unsigned
fp_fork_generation(void)
{
    return fork_generation;
}

static void
watch_once(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

void
fp_fork_watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_once);
}

bool
fp_is_main_thread(void)
{
    static _Thread_local struct {
        bool known, is;
        unsigned generation;
    } cache;   /* a fork makes the thread that forks the first one */
    if (!cache.known || cache.generation != fp_fork_generation()) {
        cache.is = getpid() == (pid_t)syscall(SYS_gettid);
        cache.generation = fp_fork_generation();
        cache.known = true;
    }
    return cache.is;
}
