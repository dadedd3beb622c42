/* The door to the operating system. */
#define _GNU_SOURCE
#include "check.h"
#include "core/memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void
on_signal(int signal_number)
{
    (void)signal_number;
}

static void
test_futex_tells_what_happened(void)
{
    fp_a32 word = 1;
    CHECK_EQ(fp_futex_wait(&word, 0, FP_NEVER, false), FP_AGAIN);
    u64 deadline = fp_now() + 2000000;
    CHECK_EQ(fp_futex_wait(&word, 1, deadline, false), FP_TIMEDOUT);
    CHECK(fp_now() >= deadline);
    CHECK_EQ(fp_futex_wait(&word, 1, fp_now() - 1, true), FP_TIMEDOUT);
}

typedef struct {
    fp_a32 word, result;
} sleeper;

static void *
sleep_once(void *arg)
{
    sleeper *s = arg;
    fp_store_seq_cst(&s->result, (u32)fp_futex_wait(&s->word, 0, BOUND, false));
    return NULL;
}

static void
test_futex_returns_on_a_signal(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    sleeper s = {0, 1};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, sleep_once, &s), 0);
    while (fp_load_seq_cst(&s.result) == 1) {
        pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    CHECK_EQ((int)fp_load_seq_cst(&s.result), FP_INTR);
    pthread_join(thread, NULL);
}

static void
test_futex_wakes_another_process(void)
{
    fp_a32 *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(word != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        fp_store_seq_cst(word, 1);
        fp_futex_wake(word, 1, true);
        _exit(0);
    }
    while (fp_load_seq_cst(word) == 0) {
        CHECK(fp_futex_wait(word, 0, BOUND, true) != FP_TIMEDOUT);
    }
    waitpid(pid, NULL, 0);
    munmap(word, 4096);
}

static void
test_bell_rings_until_it_is_cleared(void)
{
    int fd = fp_eventfd_create();
    u64 count = UINT64_MAX - 1;
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    fp_eventfd_clear(fd);   /* does not block */
    CHECK_EQ(write(fd, &count, sizeof count), sizeof count);
    fp_eventfd_ring(fd);    /* full, and does not block either */
    fp_eventfd_clear(fd);
    CHECK(read(fd, &count, sizeof count) < 0);
    fp_eventfd_ring(fd);
    CHECK_EQ(read(fd, &count, sizeof count), sizeof count);
    CHECK_EQ(count, 1);
    close(fd);
}

static void
test_pidfd_tells_the_end(void)
{
    int gate[2];
    CHECK_EQ(pipe(gate), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(gate[1]);
        _exit(read(gate[0], &c, 1) != 0);
    }
    int fd = fp_pidfd_open(pid);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(!fp_pidfd_ended(fd));
    close(gate[1]);
    EVENTUALLY(fp_pidfd_ended(fd));   /* before anybody has waited for it */
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(fp_pidfd_ended(fd));
    close(fd);
    close(gate[0]);
    CHECK_EQ(fp_pidfd_open(0x3fffffff), FP_SYSTEM);
}

static u64
pages_of(int fd)
{
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    return (u64)st.st_blocks * 512;
}

static void
test_pages_are_reserved_and_given_back(void)
{
    int fd = fp_memfd_create("check");
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(ftruncate(fd, 1 << 22), 0);
    CHECK_EQ(pages_of(fd), 0);
    CHECK_EQ(fp_reserve(fd, 1 << 20, 1 << 20), FP_OK);
    CHECK_EQ(pages_of(fd), 1 << 20);
    fp_release_pages(fd, 1 << 20, 1 << 20);
    CHECK_EQ(pages_of(fd), 0);
    close(fd);
}

static void
test_machine_has_cpus_and_memory(void)
{
    cpu_set_t all, one;
    CHECK(fp_cpus() >= 1);
    CHECK(fp_memory_total() >= 1 << 24);
    CHECK(fp_memory_available() >= 1 << 20 && fp_memory_available() <= fp_memory_total());
    CHECK(fp_memory_suffices(1) && !fp_memory_suffices(UINT64_MAX));
    CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) {
        first++;
    }
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    CHECK_EQ(fp_cpus(), 1);
    CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

/* In new memory: of the pages that `size` bytes from `shift` on touch, those that are there when these are prepared. */
static u64
prepared_pages(u64 shift, u64 size, bool at_once)
{
    u64 whole = 8u << 20, page = (u64)sysconf(_SC_PAGESIZE), n = 0;
    unsigned char resident[2048];   /* for pages of 4 KiB */
    u8 *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    madvise(memory, whole, MADV_NOHUGEPAGE);   /* where all memory comes in huge pages, one would reach beyond what is prepared */
    fp_prepare_memory(memory + shift, size, at_once);
    CHECK_EQ(mincore(memory, whole, resident), 0);
    for (u64 i = 0; i < whole / page; i++) {
        bool is_touched = (i + 1) * page > shift && i * page < shift + size;
        CHECK(is_touched || !(resident[i] & 1));
        n += resident[i] & 1;
    }
    for (u64 i = 0; i < whole; i++) {
        CHECK_EQ(memory[i], 0);
    }
    CHECK_EQ(munmap(memory, whole), 0);
    return n;
}

static void
test_memory_is_prepared(void)
{
    u64 page = (u64)sysconf(_SC_PAGESIZE), size = 1u << 20;
    CHECK_EQ(prepared_pages(32, size, false), 0);
    CHECK_EQ(prepared_pages(32, size, true), size / page - 1);   /* but for those at its ends, which others use, too */
    CHECK_EQ(prepared_pages(0, 5 * size, true), 5 * size / page);
    CHECK_EQ(prepared_pages(page - 1, 2, true), 1);   /* the one of its middle */
}

static void
test_fork_generation_counts_forks(void)
{
    fp_fork_watch();
    fp_fork_watch();
    unsigned mine = fp_fork_generation();
    pid_t pid = fork();
    if (pid == 0) {
        _exit(fp_fork_generation() == mine + 1 ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(fp_fork_generation(), mine);
}

int
main(void)
{
    check_within(60);
    test_futex_tells_what_happened();
    test_futex_returns_on_a_signal();
    test_futex_wakes_another_process();
    test_bell_rings_until_it_is_cleared();
    test_pidfd_tells_the_end();
    test_pages_are_reserved_and_given_back();
    test_machine_has_cpus_and_memory();
    test_memory_is_prepared();
    test_fork_generation_counts_forks();
    return 0;
}
