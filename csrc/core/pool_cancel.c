#include "pool_parts.h"
#include "ring.h"

bool
fp_withdraw_locked(fp_pool *p, fp_task *t)
{
    if (!fp_withdraw(&p->shm, t->slot, t->generation)) {
        return false;
    }
    u32 s = t->slot;
    fp_empty_slot_locked(p, s);
    fp_free_slot_locked(p, s);
    return true;
}

bool
fp_cancel_locked(fp_pool *p, fp_task *t)
{
    if (fp_task_is_done(t)) {
        return false;
    }
    if (fp_load_relaxed(&t->state) & FP_TASK_SENT) {
        if (!fp_withdraw_locked(p, t)) {
            return false;
        }
    }
    else {
        p->nbacklog--;
        fp_task_incref(t);   /* the backlog lets go of it later, in refill */
    }
    p->served++;
    fp_settle_locked(p, t, FP_OUTCOME_CANCELLED);
    return true;
}

bool
fp_pool_cancel(fp_pool *p, fp_task *t)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    bool cancelled = fp_cancel_locked(p, t);
    pthread_mutex_unlock(&p->lock);
    return cancelled;
}

static u32
workers_before_their_first_task(const fp_pool *p)
{
    u32 n = 0;
    for (u32 w = 0; w < p->shm.nworkers; w++) {
        n += p->seats[w].in_use && fp_load_relaxed(&p->shm.workers[w].wk_slot) == 0;
    }
    return n;
}

/* The tasks of the ring, oldest first, less the first `keep`. */
static void
cancel_ring_locked(fp_pool *p, u32 keep)
{
    u64 head = fp_load_acquire(&p->shm.head->rg_head);
    if (head > p->tail || p->tail - head > p->shm.ncells) {
        return;   /* damaged: the next pump breaks the pool */
    }
    for (; head != p->tail; head++) {
        u64 hint = fp_load_relaxed(&p->shm.cells[head & (p->shm.ncells - 1)]);
        u32 s = (u32)hint;
        fp_task *t = s < p->shm.nslots ? p->slots[s].task : NULL;
        if (t == NULL || t->generation != (u32)(hint >> 32)) {
            continue;
        }
        if (keep > 0) {
            keep--;
        }
        else {
            fp_cancel_locked(p, t);
        }
    }
}

void
fp_pool_cancel_pending(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    for (fp_task *t = p->backlog_first; t != NULL; t = t->next) {
        fp_cancel_locked(p, t);
    }
    cancel_ring_locked(p, workers_before_their_first_task(p));
    fp_pool_pump_locked(p);
    pthread_mutex_unlock(&p->lock);
}
