/* What the manager sleeps on: the bell and the ends of workers. */
#define _GNU_SOURCE
#include "check.h"
#include "core/monitor.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#define N 5u

static pid_t
start_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    return pid;
}

static void
test_bell_and_ends(void)
{
    fp_monitor m;
    int bell = fp_eventfd_create();
    u32 ended[N];
    pid_t pids[N];
    CHECK_EQ(fp_monitor_init(&m, N, bell), FP_OK);
    for (u32 w = 0; w < N; w++) {
        pids[w] = start_child();
        CHECK_EQ(fp_monitor_add(&m, w, pids[w], -1), FP_OK);
    }
    fp_eventfd_ring(bell);
    CHECK_EQ(fp_monitor_wait(&m, ended, N, FP_NEVER), 0);
    fp_eventfd_clear(bell);
    kill(pids[3], SIGKILL);
    CHECK_EQ(fp_monitor_wait(&m, ended, N, FP_NEVER), 1);
    CHECK_EQ(ended[0], 3);
    CHECK_EQ(waitpid(pids[3], NULL, 0), pids[3]);
    fp_monitor_remove(&m, 3);
    fp_monitor_remove(&m, 3);   /* once is enough */
    for (u32 w = 0; w < N; w++) {
        if (w != 3) {
            kill(pids[w], SIGKILL);
            CHECK_EQ(waitpid(pids[w], NULL, 0), pids[w]);
        }
    }
    fp_eventfd_ring(bell);
    CHECK_EQ(fp_monitor_wait(&m, ended, N, FP_NEVER), N - 1);   /* all that there are, and the bell is none of them */
    CHECK_EQ(ended[0] + ended[1] + ended[2] + ended[3], 0 + 1 + 2 + 4);
    fp_monitor_fini(&m);
    close(bell);
}

/* A grandchild that holds copies of everything open does not hide the end. */
static void
test_a_forked_copy_does_not_keep_it_alive(void)
{
    fp_monitor m;
    int bell = fp_eventfd_create();
    u32 ended[1];
    CHECK_EQ(fp_monitor_init(&m, 1, bell), FP_OK);
    pid_t pid = start_child();
    CHECK_EQ(fp_monitor_add(&m, 0, pid, -1), FP_OK);
    pid_t copy = start_child();
    kill(pid, SIGKILL);
    CHECK_EQ(fp_monitor_wait(&m, ended, 1, FP_NEVER), 1);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    fp_monitor_remove(&m, 0);
    fp_eventfd_ring(bell);
    CHECK_EQ(fp_monitor_wait(&m, ended, 1, FP_NEVER), 0);   /* removed: not told again */
    kill(copy, SIGKILL);
    waitpid(copy, NULL, 0);
    fp_monitor_fini(&m);
    close(bell);
}

/* Where there is no pidfd, the sentinel must do. */
static void
test_the_sentinel_instead(void)
{
    fp_monitor m;
    int bell = fp_eventfd_create(), ends[2];
    u32 ended[1];
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(fp_monitor_init(&m, 1, bell), FP_OK);
    CHECK_EQ(fp_monitor_add(&m, 0, 0x3fffffff, ends[0]), FP_OK);
    close(ends[0]);   /* the monitor has its own */
    close(ends[1]);
    CHECK_EQ(fp_monitor_wait(&m, ended, 1, FP_NEVER), 1);
    CHECK_EQ(ended[0], 0);
    fp_monitor_remove(&m, 0);
    CHECK_EQ(fp_monitor_add(&m, 0, 0x3fffffff, -1), FP_SYSTEM);
    fp_monitor_fini(&m);
    close(bell);
}

int
main(void)
{
    check_within(60);
    test_bell_and_ends();
    test_a_forked_copy_does_not_keep_it_alive();
    test_the_sentinel_instead();
    return 0;
}
