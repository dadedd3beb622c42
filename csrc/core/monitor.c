#define _GNU_SOURCE
#include "monitor.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BELL UINT32_MAX
#define EVENTS 64

static int
watch(fp_monitor *m, int fd, u32 tag)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = tag};
    return epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e) == 0 ? FP_OK : FP_SYSTEM;
}

int
fp_monitor_init(fp_monitor *m, u32 nworkers, int bell)
{
    *m = (fp_monitor){.epoll = -1, .nworkers = nworkers};
    m->ends = malloc(nworkers * sizeof *m->ends);
    if (m->ends == NULL) {
        return FP_NOMEM;
    }
    for (u32 w = 0; w < nworkers; w++) {
        m->ends[w] = -1;
    }
    m->epoll = epoll_create1(EPOLL_CLOEXEC);
    return m->epoll < 0 ? FP_SYSTEM : watch(m, bell, BELL);
}

void
fp_monitor_fini(fp_monitor *m)
{
    for (u32 w = 0; m->ends != NULL && w < m->nworkers; w++) {
        fp_monitor_remove(m, w);
    }
    free(m->ends);
    m->ends = NULL;
    if (m->epoll >= 0) {
        close(m->epoll);
        m->epoll = -1;
    }
}

int
fp_monitor_add(fp_monitor *m, u32 w, int pid, int sentinel)
{
    int fd = fp_pidfd_open(pid);
    if (fd < 0) {
        fd = fcntl(sentinel, F_DUPFD_CLOEXEC, 3);
    }
    if (fd < 0) {
        return FP_SYSTEM;
    }
    m->ends[w] = fd;
    int rc = watch(m, fd, w);
    if (rc < 0) {
        fp_monitor_remove(m, w);
    }
    return rc;
}

void
fp_monitor_remove(fp_monitor *m, u32 w)
{
    if (m->ends[w] >= 0) {
        /* before the close: a copy of the descriptor in a forked child would keep it in the set */
        epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->ends[w], NULL);
        close(m->ends[w]);
        m->ends[w] = -1;
    }
}

bool
fp_monitor_has(const fp_monitor *m, u32 w)
{
    return m->ends[w] >= 0;
}

bool
fp_monitor_lives(const fp_monitor *m, u32 w)
{
    return m->ends[w] >= 0 && !fp_pidfd_ended(m->ends[w]);
}

/* For epoll: rounded up, -1 for ever. */
static int
milliseconds_to(u64 until)
{
    u64 now = fp_now();
    if (until == FP_NEVER) {
        return -1;
    }
    u64 left = until > now ? (until - now + 999999u) / 1000000u : 0;
    return left < INT_MAX ? (int)left : INT_MAX;
}

int
fp_monitor_wait(fp_monitor *m, u32 *ended, int most, u64 until)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(m->epoll, events, most < EVENTS ? most : EVENTS, milliseconds_to(until));
    if (n < 0) {
        return errno == EINTR ? FP_INTR : FP_SYSTEM;
    }
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 != BELL) {
            ended[count++] = events[i].data.u32;
        }
    }
    return count;
}
