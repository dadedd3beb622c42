#include "pool_parts.h"
#include "error.h"
#include "limits.h"
#include "os.h"
#include "ring.h"
#include "wake.h"

#include <stdlib.h>
#include <string.h>

static void
fill_slot_locked(fp_pool *p, const fp_task *t, u32 s)
{
    fp_slot_shm *sl = &p->shm.slots[s];
    sl->sl_offset = t->block;
    if (t->block == 0) {
        memcpy(sl->sl_inline, t->small, t->size);
    }
    bool once = t->terms == NULL || t->terms->retries == 0;
    sl->sl_kind = t->kind | (once ? FP_CALL_ONCE : 0);
    sl->sl_fn = t->fn;
    sl->sl_len = t->size;
    sl->sl_stream = t->stream;
}

/* 0: it is in the ring. FP_FULL: not now. FP_CORRUPT: shared memory is damaged. */
static int
send_locked(fp_pool *p, fp_task *t)
{
    if (p->nfree == 0 || t->unplaced) {
        return FP_FULL;
    }
    u32 s = p->free_slots[p->nfree - 1];
    fill_slot_locked(p, t, s);
    u32 generation = p->slots[s].generation + 1;
    int rc = fp_publish(&p->shm, &p->tail, s, generation);
    if (rc != FP_OK) {
        return rc;
    }
    p->nfree--;
    p->slots[s] = (fp_slot){t, generation, true};
    t->slot = s;
    t->generation = generation;
    if (fp_task_limit(t) != 0) {
        fp_limits_expect_locked(p, fp_now() + fp_task_limit(t));
    }
    /* keeps COURIER, which may be there already */
    atomic_fetch_or(&t->state, FP_TASK_SENT);
    return FP_OK;
}

/* ---------------------------------------------------------------- backlog */

static void
to_backlog_locked(fp_pool *p, fp_task *t)
{
    t->next = NULL;
    if (p->backlog_last != NULL) {
        p->backlog_last->next = t;
    }
    else {
        p->backlog_first = t;
    }
    p->backlog_last = t;
    p->nbacklog++;
}

fp_task *
fp_take_backlog_locked(fp_pool *p)
{
    fp_task *t = p->backlog_first;
    p->backlog_first = t->next;
    if (p->backlog_first == NULL) {
        p->backlog_last = NULL;
    }
    t->next = NULL;
    return t;
}

void
fp_refill_locked(fp_pool *p)
{
    bool sent = false;
    while (p->backlog_first != NULL) {
        fp_task *t = p->backlog_first;
        if (fp_task_is_done(t)) {   /* cancelled meanwhile */
            fp_pool_drop_task(p, fp_take_backlog_locked(p));
            continue;
        }
        int rc = send_locked(p, t);
        if (rc == FP_FULL) {
            break;
        }
        if (rc == FP_CORRUPT) {
            fp_break_damaged_locked(p);
            break;
        }
        fp_take_backlog_locked(p);
        p->nbacklog--;
        sent = true;
    }
    if (sent) {
        fp_wake_for_task(&p->shm);   /* who claims wakes more (fp_wake_helper) */
    }
}

void
fp_send_again_locked(fp_pool *p, fp_task *t)
{
    t->terms->retries--;
    t->seen = 0;
    atomic_fetch_and(&t->state, ~(u32)FP_TASK_SENT);
    t->next = p->backlog_first;
    p->backlog_first = t;
    if (p->backlog_last == NULL) {
        p->backlog_last = t;
    }
    p->nbacklog++;
    fp_refill_locked(p);
    fp_arm_bell_locked(p);
}

/* ----------------------------------------------------------------- submit */

/* Into the ring if it may overtake nobody, else into the backlog. */
static int
accept_locked(fp_pool *p, fp_task *t, bool *in_ring)
{
    int rc = p->backlog_first == NULL ? send_locked(p, t) : FP_FULL;
    *in_ring = rc == FP_OK;
    if (rc == FP_CORRUPT) {
        fp_break_damaged_locked(p);
        return FP_BROKEN;
    }
    if (rc == FP_FULL) {
        to_backlog_locked(p, t);
        fp_arm_bell_locked(p);
    }
    fp_task_incref(t);
    p->demanded++;
    p->ntimed += fp_task_limit(t) != 0;
    fp_count_call_locked(p, t);
    atomic_fetch_add(&p->unfinished, 1);
    return FP_OK;
}

int
fp_pool_submit(fp_pool *p, fp_task *t)
{
    bool in_ring = false;
    pthread_mutex_lock(&p->lock);
    if (p->nfree == 0) {
        fp_pool_pump_locked(p);
    }
    int rc = p->broken ? FP_BROKEN : p->closed ? FP_CLOSED : accept_locked(p, t, &in_ring);
    pthread_mutex_unlock(&p->lock);
    if (in_ring) {
        fp_wake_for_task(&p->shm);
    }
    return rc;
}

bool
fp_pool_place(fp_pool *p, fp_task *t, const fp_placement *placement)
{
    pthread_mutex_lock(&p->lock);
    bool wanted = !fp_task_is_done(t);
    if (wanted) {
        t->block = placement->block;
        t->size = placement->size;
        t->stream = placement->stream;
        t->holds = placement->holds;
        t->call = placement->call;
        t->hands_over = placement->hands_over;
        fp_count_call_locked(p, t);
        t->unplaced = false;
        fp_refill_locked(p);
        fp_arm_bell_locked(p);
    }
    else if (placement->block) {
        fp_free_room_locked(p, placement->block, placement->size);
    }
    pthread_mutex_unlock(&p->lock);
    if (!wanted) {
        fp_holds_free(placement->holds);
    }
    return wanted;
}

void
fp_pool_fail_unplaced(fp_pool *p, fp_task *t, fp_death *death, u64 size)
{
    pthread_mutex_lock(&p->lock);
    if (!fp_task_is_done(t)) {
        t->death = death;
        t->reply_size = size;
        p->nbacklog--;
        p->served++;
        fp_task_incref(t);   /* the backlog lets go of it later, in refill */
        fp_settle_locked(p, t, death ? FP_OUTCOME_BROKEN : FP_OUTCOME_NOMEM);
        fp_refill_locked(p);
        fp_arm_bell_locked(p);
    }
    else if (death != NULL) {
        fp_death_clear(death);
        free(death);
    }
    pthread_mutex_unlock(&p->lock);
}
