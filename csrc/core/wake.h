/* Who sleeps, who watches, whom to wake: the workers' side.
 *
 * Memory    shared: wk_futex and the idle map (one bit per worker: idempotent, unlike a count),
 *           wk_watch (the watch token: worker + 1, or 0).
 * Sleep     wk_futex = 1; idle bit; give up the token; look for a task ONCE MORE; FUTEX_WAIT.
 * Wake      a task is published first; then take the token from its holder (who spins and will
 *           see the task); else rely on a wake under way; else promise one in wk_waking, clear that worker's
 *           idle bit, wk_futex = 0, FUTEX_WAKE.
 * Under way one wake at a time (wk_waking): whoever was woken looks for a task, and after its claim wakes
 *           the next if there is more to do. So a burst of tasks costs the submitter one system call, and as
 *           many workers get up as there is work for. It clears wk_waking BEFORE it looks, so who relied on
 *           it has published before that look. A worker that was stopped on its way up is relied on for a
 *           millisecond at most.
 * Ordering  these accesses are seq_cst: either the sleeper's last look sees the task (rg_tail),
 *           or the waker sees the bit. A token once relied on is gone, so a watcher that is
 *           stopped or dead delays one task at most, and a claimer that sees more work,
 *           sleepers and no watcher wakes one (fp_wake_helper).
 * Blocking  fp_worker_sleep, without any lock.
 * Death     a sleeper's bit and token are cleared by reap, which also wakes everybody: whoever
 *           died between its promise, clearing a bit and FUTEX_WAKE owed that wake.
 */
#ifndef FP_WAKE_H
#define FP_WAKE_H

#include "shm.h"

/* Wake one sleeping worker, unless one is on its way; true if one was woken. */
bool fp_wake_one(const fp_shm *m);
void fp_wake_all(const fp_shm *m);
/* Parent, after fp_publish: make sure that somebody will look. */
void fp_wake_for_task(const fp_shm *m);
/* Worker, before each look for a task: a wake that was under way to it has arrived. */
void fp_wake_arrived(const fp_shm *m, u32 w);
/* Worker, after a claim: pass the word on if there is more to do. */
void fp_wake_helper(const fp_shm *m);

bool fp_watch_take(const fp_shm *m, u32 w);   /* is the token mine now? */
void fp_watch_drop(const fp_shm *m, u32 w);

/* Worker: announce the sleep. Then look for work once more, then fp_sleep or fp_sleep_cancel. */
void fp_sleep_announce(const fp_shm *m, u32 w);
/* FP_OK; FP_INTR, FP_TIMEDOUT: still announced */
int fp_sleep(const fp_shm *m, u32 w, u64 deadline);
bool fp_sleep_cancel(const fp_shm *m, u32 w); /* false: somebody has chosen to wake this worker */

/* Workers that are neither asleep nor watching. */
u32 fp_busy_workers(const fp_shm *m);

#endif
