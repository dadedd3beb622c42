/* Stopping a task that runs: its worker is condemned, then killed. So is one that has been caught writing nonsense.
 *
 * How       CLAIMED|w -> DOOMED|w decides: from then on the worker cannot complete, and what it runs has no other task's
 *           future at stake. Only then is it killed, by the manager, which alone knows which process has index w now.
 * Limits    of running time. The worker notes when it began (wk_started); the manager looks when the first can be due. A
 *           task that still waits cannot be due before its limit has passed from now on: so nobody has to tell the
 *           manager when a task begins. A worker that has noted nothing is unpickling the call, which may mean many imports,
 *           or was stopped, or lies: it has ALLOWANCE more, from when the manager first saw it at the task.
 * Locking   the pool's lock.
 * Death     a condemned worker may die by itself at any moment: its fate goes with it (fp_limits_reap_locked).
 */
#ifndef FP_LIMITS_H
#define FP_LIMITS_H

#include "pool.h"

/* True if the task had not ended: it is settled as cancelled. */
bool fp_pool_kill(fp_pool *p, fp_task *t);

/* The manager's: condemn who runs for too long. When to call it again (fp_now), or FP_NEVER; 0: fp_pool_next_fate has
 * something. */
u64 fp_pool_enforce_limits(fp_pool *p);

/* The manager's: worker w has become too large. True if it ran a task, for which it is condemned now. */
bool fp_pool_condemn_for_memory(fp_pool *p, u32 w);

enum { FP_FATE_NONE, FP_FATE_TIME, FP_FATE_MEMORY };

/* What to do to a condemned worker: */
typedef struct {
    u32 w;
    bool gently;           /* SIGTERM, SIGKILL comes later; else SIGKILL */
    u32 why;               /* FP_FATE_*; unless NONE, fp_pool_fail_overdue settles its task */
    u64 ran, limit;        /* ns */
    const char *label;     /* of that task, or NULL; valid until then */
} fp_sentence;
/* False: nothing now. */
bool fp_pool_next_fate(fp_pool *p, fp_sentence *sentence);
/* The overdue task of worker w, if there is one, ends with `death` (its memory is taken over). */
void fp_pool_fail_overdue(fp_pool *p, u32 w, fp_death death);

/* Take its running task from worker w; false: it has just completed it. The room of the payload stays until w is dead: it may
 * still read that, and would run a call that got the room, or write its reply there. */
bool fp_doom_locked(fp_pool *p, fp_task *t, u32 w);
/* Worker w has been caught writing nonsense. */
void fp_limits_condemn_locked(fp_pool *p, u32 w);
/* A task that may be due then has been handed to the workers. */
void fp_limits_expect_locked(fp_pool *p, u64 then);
/* Worker w is dead: had it been condemned? */
bool fp_limits_reap_locked(fp_pool *p, u32 w);
/* All workers are dead. */
void fp_limits_bury_locked(fp_pool *p);

#endif
