#define _GNU_SOURCE
#include "pool_parts.h"
#include "audit.h"
#include "error.h"
#include "limits.h"
#include "os.h"
#include "ring.h"
#include "spans.h"
#include "warm.h"

#include <string.h>

/* ------------------------------------------------------------------- reap */

/* Whatever slot s has to do with the dead worker w has an end. The task that w took along, or NULL. */
static fp_task *
reap_slot_locked(fp_pool *p, u32 w, u32 s)
{
    fp_task *t = NULL;
    if (!p->slots[s].out) {
        return NULL;   /* without a look: nothing may ever have touched its page */
    }
    u64 word = fp_load_acquire(&p->shm.slots[s].sl_state);
    if (fp_word_owner(word) != w || fp_word_generation(word) != p->slots[s].generation) {
        return NULL;
    }
    switch (fp_word_state(word)) {
    case FP_DONE:   /* died before it could list it: the result is kept */
        fp_finish_slot_locked(p, s, w);
        break;
    case FP_CLAIMED:   /* its payload stays: it may be sent again, if it was to be (FP_CALL_ONCE) */
    case FP_DOOMED:
        t = p->slots[s].task;
        p->slots[s].task = NULL;
        fp_free_slot_locked(p, s);
        break;
    }
    return t;
}

/* What it has claimed, or completed and not listed: one slot at most, the one that wk_slot names, unless somebody has
 * written over these words; so all are looked at, and a death is rare. */
static fp_task *
reap_slots_locked(fp_pool *p, u32 w)
{
    fp_task *first = NULL;
    for (u32 s = 0; s < p->shm.nslots; s++) {
        fp_task *t = reap_slot_locked(p, w, s);
        if (first == NULL) {
            first = t;
        }
        else if (t != NULL) {
            p->served++;
            fp_settle_locked(p, t, FP_OUTCOME_CORRUPT);
        }
    }
    return first;
}

/* What it hands over may have been fetched already. */
static bool
may_be_sent_again(const fp_task *t)
{
    return t->terms != NULL && t->terms->retries > 0 && !t->hands_over;
}

int
fp_pool_reap(fp_pool *p, u32 w, fp_task **task)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    u32 phase = fp_load_acquire(&p->shm.workers[w].wk_phase);
    *task = reap_slots_locked(p, w);
    fp_clear_worker_locked(p, w);
    bool condemned = fp_limits_reap_locked(p, w);
    int rc = condemned ? FP_CONDEMNED : phase == FP_WORKER_RETIRED && *task == NULL ? FP_OK : FP_BROKEN;
    if (p->retries && *task != NULL && may_be_sent_again(*task) && !p->broken) {
        fp_send_again_locked(p, *task);
        *task = NULL;
        rc = rc == FP_BROKEN ? FP_AGAIN : rc;
    }
    if (!p->broken && !fp_audit_locked(p)) {
        fp_break_damaged_locked(p);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void
fp_pool_fail(fp_pool *p, fp_task *t)
{
    pthread_mutex_lock(&p->lock);
    p->served++;
    fp_settle_locked(p, t, FP_OUTCOME_BROKEN);
    pthread_mutex_unlock(&p->lock);
}

/* ------------------------------------------------------------------ break */

/* Decide the task in slot s, unless its worker already has: a result that is DONE is kept, its worker
 * lists it or is reaped. */
static void
break_slot_locked(fp_pool *p, u32 s)
{
    fp_task *t = p->slots[s].task;
    if (!fp_withdraw_locked(p, t)) {
        u32 w = fp_word_owner(fp_load_acquire(&p->shm.slots[s].sl_state));
        if (!fp_doom_locked(p, t, w)) {
            return;
        }
    }
    fp_settle_locked(p, t, FP_OUTCOME_BROKEN);
}

static void
break_backlog_locked(fp_pool *p)
{
    while (p->backlog_first != NULL) {
        fp_task *t = fp_take_backlog_locked(p);
        if (fp_task_is_done(t)) {
            fp_pool_drop_task(p, t);
            continue;
        }
        p->nbacklog--;
        fp_settle_locked(p, t, FP_OUTCOME_BROKEN);
    }
}

static void
break_locked(fp_pool *p, fp_death death)
{
    if (p->broken) {
        fp_death_clear(&death);
        return;
    }
    p->death = death;
    p->broken = 1;
    p->closed = p->draining = true;
    break_backlog_locked(p);
    for (u32 s = 0; s < p->shm.nslots; s++) {
        if (p->slots[s].task != NULL) {
            break_slot_locked(p, s);
        }
    }
    fp_wait_rouse_leader(p);   /* the bit that says that it sleeps may be lost */
    fp_eventfd_ring(p->bell);
}

void
fp_break_damaged_locked(fp_pool *p)
{
    break_locked(p, (fp_death){.reason = strdup("A worker process damaged the shared memory of the pool.")});
}

void
fp_pool_break(fp_pool *p, fp_death death)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    break_locked(p, death);
    pthread_mutex_unlock(&p->lock);
}

/* ------------------------------------------------------------------- bury */

/* Its worker is dead, and was not reaped: a result that is there is kept. */
static void
bury_slot_locked(fp_pool *p, u32 s)
{
    if (p->slots[s].task == NULL) {
        return;   /* without a look: nothing may ever have touched its page */
    }
    u64 word = fp_load_acquire(&p->shm.slots[s].sl_state);
    u32 w = fp_word_owner(word);
    if (word == fp_word(p->slots[s].generation, w, FP_DONE) && w < p->shm.nworkers) {
        fp_finish_slot_locked(p, s, w);
    }
    else {
        fp_settle_locked(p, fp_empty_slot_locked(p, s), FP_OUTCOME_BROKEN);
    }
}

void
fp_pool_bury(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    break_backlog_locked(p);
    for (u32 s = 0; s < p->shm.nslots; s++) {
        bury_slot_locked(p, s);
    }
    fp_limits_bury_locked(p);
    while (fp_spans_trim(&p->shm, 0)) {
        /* only results that nobody has asked for keep their memory from now on */
    }
    fp_wait_rouse_leader(p);   /* who is dead and was not reaped may have owed it a wake */
    pthread_mutex_unlock(&p->lock);
    fp_free_dropped(p);
    fp_warm_rest();
}
