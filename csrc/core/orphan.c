#define _GNU_SOURCE
#include "orphan.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

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
on_parent_death(int signal_number)
{
    (void)signal_number;
    int saved = errno;
    if (owner_is_gone()) {
        _exit(1);
    }
    errno = saved;
}

int
fp_orphan_watch(int owner)
{
    owner_pid = owner;
    owner_pidfd = fp_pidfd_open(owner);
    struct sigaction action = {.sa_handler = on_parent_death, .sa_flags = SA_RESTART | SA_ONSTACK};
    int doorbell = SIGRTMAX - 3;   /* not one that programs use, or that is ignored by default */
    if (sigaction(doorbell, &action, NULL) != 0 || prctl(PR_SET_PDEATHSIG, doorbell) != 0) {
        return FP_SYSTEM;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, doorbell);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    if (owner_is_gone()) {   /* before the doorbell was set */
        _exit(1);
    }
    return FP_OK;
}
