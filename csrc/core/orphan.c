#define _GNU_SOURCE
#include "orphan.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <sys/prctl.h>
#include <unistd.h>

/* --------------------------------------------------------------- the owner */

static pthread_mutex_t lifeline_lock = PTHREAD_MUTEX_INITIALIZER;
static int lifeline[2] = {-1, -1};   /* read, write */

static void
before_fork(void)
{
    pthread_mutex_lock(&lifeline_lock);
}

static void
after_fork(void)
{
    pthread_mutex_unlock(&lifeline_lock);
}

static void
in_child(void)
{
    if (lifeline[1] >= 0) {
        close(lifeline[1]);
        /* the reading end stays open: this child may be a worker, which has its number */
        lifeline[0] = lifeline[1] = -1;
    }
    after_fork();
}

static void
watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

int
fp_lifeline(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lifeline_lock);
    if (lifeline[0] < 0 && pipe2(lifeline, O_CLOEXEC) != 0) {
        lifeline[0] = lifeline[1] = -1;
    }
    int fd = lifeline[0];
    pthread_mutex_unlock(&lifeline_lock);
    return fd < 0 ? FP_SYSTEM : fd;
}

/* -------------------------------------------------------------- the worker */

static int owner_pidfd = -1;
static int owner_pid;

static bool
owner_is_gone(void)
{
    if (owner_pidfd >= 0) {
        return fp_pidfd_ended(owner_pidfd);
    }
    return kill(owner_pid, 0) != 0 && errno == ESRCH;
}

static void
on_doorbell(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)context;
    int saved = errno;
    /* Either bell rings, once, a moment before the process counts as ended. A closed pipe (si_code of
     * polling: positive) leaves no doubt; the parent-death signal may only mean that a thread ended. */
    int tries = info->si_code > 0 ? 1000 : 10;
    for (int i = 0; i < tries && !owner_is_gone(); i++) {
        struct timespec moment = {.tv_nsec = 100000};
        nanosleep(&moment, NULL);
    }
    if (owner_is_gone()) {
        _exit(1);
    }
    errno = saved;
}

/* The signal's target belongs to the open file, which all workers share: each needs one of its own. */
static void
listen_to(int fd, int doorbell)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    close(fd);
    if (own >= 0) {
        fcntl(own, F_SETSIG, doorbell);
        fcntl(own, F_SETOWN, getpid());
        fcntl(own, F_SETFL, O_NONBLOCK | O_ASYNC);
    }
}

int
fp_orphan_watch(int owner, int fd)
{
    int doorbell = SIGRTMAX - 3;   /* not one that programs use, or that is ignored by default */
    struct sigaction action = {.sa_sigaction = on_doorbell, .sa_flags = SA_RESTART | SA_ONSTACK | SA_SIGINFO};
    owner_pid = owner;
    owner_pidfd = fp_pidfd_open(owner);
    if (sigaction(doorbell, &action, NULL) != 0 || prctl(PR_SET_PDEATHSIG, doorbell) != 0) {
        return FP_SYSTEM;
    }
    listen_to(fd, doorbell);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, doorbell);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    if (owner_is_gone()) {   /* before the doorbells were set */
        _exit(1);
    }
    return FP_OK;
}
