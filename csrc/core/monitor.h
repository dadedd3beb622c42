/* What the manager thread sleeps on: the pool's bell and every worker's end.
 *
 * Memory    private to the parent. Added to by the thread that starts a worker (epoll is safe for that).
 * Death     is the worker's pidfd, never the pipe that multiprocessing calls the sentinel alone: a
 *           grandchild can hold that open. Where pidfds are forbidden the sentinel must do.
 * Blocking  fp_monitor_wait, without any lock.
 */
#ifndef FP_MONITOR_H
#define FP_MONITOR_H

#include "os.h"

typedef struct {
    int epoll;
    u32 nworkers;
    int *ends;           /* [nworkers] a descriptor of our own that turns readable, or -1 */
} fp_monitor;

int fp_monitor_init(fp_monitor *m, u32 nworkers, int bell);
void fp_monitor_fini(fp_monitor *m);
/* Worker w is process `pid`; `sentinel` is multiprocessing's. 0 or FP_SYSTEM. */
int fp_monitor_add(fp_monitor *m, u32 w, int pid, int sentinel);
void fp_monitor_remove(fp_monitor *m, u32 w);
/* Is the end of a worker w waited for? */
bool fp_monitor_has(const fp_monitor *m, u32 w);
/* Has worker w, which is watched, not ended? */
bool fp_monitor_lives(const fp_monitor *m, u32 w);
/* Sleep until something happens, at most until then (fp_now, or FP_NEVER). The number of ended workers, their
 * indices in `ended` (room for `most`); 0 with or without a ring of the bell; FP_INTR. */
int fp_monitor_wait(fp_monitor *m, u32 *ended, int most, u64 until);

#endif
