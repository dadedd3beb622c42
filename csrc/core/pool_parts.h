/* What the files that make up fp_pool share: not for others. */
#ifndef FP_POOL_PARTS_H
#define FP_POOL_PARTS_H

#include "pool.h"

/* The one place where a task ends. Drops the pool's reference. */
void fp_settle_locked(fp_pool *p, fp_task *t, u32 outcome);
/* True if it had not started: it is settled as cancelled. */
bool fp_cancel_locked(fp_pool *p, fp_task *t);
/* From the backlog into the ring, as much as there is room for. */
void fp_refill_locked(fp_pool *p);

static inline u64
fp_task_limit(const fp_task *t)
{
    return t->terms ? t->terms->limit : 0;
}

#endif
