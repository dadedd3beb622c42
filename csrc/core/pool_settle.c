#include "pool_parts.h"
#include "error.h"
#include "limits.h"
#include "os.h"
#include "ring.h"
#include "spans.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_REPLY (256u << 10)   /* up to here a reply is copied out of shared memory at once */

/* --------------------------------------------------------------- settling */

static void
free_call_block_locked(fp_pool *p, fp_task *t)
{
    if (t->block) {
        fp_free_room_locked(p, t->block, t->size);
        t->block = 0;
    }
}

static void
to_courier_locked(fp_pool *p, fp_task *t)
{
    fp_task_incref(t);
    t->next_for_courier = NULL;
    if (p->courier_last != NULL) {
        p->courier_last->next_for_courier = t;
    }
    else {
        p->courier_first = t;
    }
    p->courier_last = t;
    atomic_fetch_add(&p->courier.nready, 1);
    fp_wait_notify_locked(p, &p->courier);
}

bool
fp_pool_tell_courier(fp_pool *p, fp_task *t, bool though_done)
{
    pthread_mutex_lock(&p->lock);
    bool done = atomic_fetch_or(&t->state, FP_TASK_COURIER) & FP_TASK_DONE;
    if (!done) {
        p->told++;
        p->has_told = true;
        fp_wait_courier_is_needed_locked(p);
    }
    else if (though_done) {
        to_courier_locked(p, t);
    }
    pthread_mutex_unlock(&p->lock);
    return !done;
}

/* What it has kept alive; the last reference to much memory is for the manager to drop, which has time. */
static void
drop_holds_locked(fp_pool *p, fp_task *t)
{
    fp_holds *holds = t->holds;
    t->holds = NULL;
    if (holds != NULL && fp_holds_is_last(holds)) {
        holds->next = p->dropped;
        p->dropped = holds;
        fp_eventfd_ring(p->bell);
    }
    else {
        fp_holds_free(holds);
    }
}

void
fp_free_dropped(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_holds *dropped = p->dropped;
    p->dropped = NULL;
    pthread_mutex_unlock(&p->lock);
    fp_holds_free(dropped);
}

void
fp_settle_locked(fp_pool *p, fp_task *t, u32 outcome)
{
    free_call_block_locked(p, t);   /* if it was never sent, or lost with its worker */
    drop_holds_locked(p, t);
    fp_uncount_call_locked(p, t);
    t->outcome = outcome;
    u32 old = atomic_fetch_or(&t->state, FP_TASK_DONE);   /* publishes the outcome */
    if (t->nodes != NULL) {
        fp_wait_fire_locked(p, t);
    }
    if (old & FP_TASK_COURIER) {
        p->told--;
        to_courier_locked(p, t);
    }
    p->ntimed -= fp_task_limit(t) != 0;
    fp_pool_drop_task(p, t);
    if (atomic_fetch_sub(&p->unfinished, 1) == 1 && p->draining) {
        fp_eventfd_ring(p->bell);
    }
}

fp_task *
fp_empty_slot_locked(fp_pool *p, u32 s)
{
    fp_task *t = p->slots[s].task;
    p->slots[s].task = NULL;
    if (t != NULL) {
        free_call_block_locked(p, t);
    }
    return t;
}

void
fp_free_slot_locked(fp_pool *p, u32 s)
{
    fp_store_relaxed(&p->shm.slots[s].sl_state, fp_word(p->slots[s].generation, 0, FP_FREE));
    p->slots[s].out = false;
    p->free_slots[p->nfree++] = s;
}

/* ---------------------------------------------------------------- replies */

/* Advance the worker's ring past this reply; false if it is not in the ring as the protocol has it. */
static bool
ring_release(fp_pool *p, u32 w, u64 offset, u64 size, u32 end)
{
    fp_a32 *head = &p->shm.workers[w].wk_ring_head;
    u64 ring = (u64)(p->shm.rings - (u8 *)p->shm.head) + (u64)w * FP_RING;
    if (end - fp_load_relaxed(head) > FP_RING || offset < ring || size > FP_RING ||
        offset - ring + size > FP_RING) {
        return false;
    }
    fp_store_release(head, end);
    return true;
}

static bool
copy_reply(fp_task *t, const u8 *from, u64 size)
{
    t->reply = malloc(size ? size : 1);
    if (t->reply == NULL) {
        return false;
    }
    memcpy(t->reply, from, size);
    t->reply_size = size;
    return true;
}

/* A reply in spans becomes the parent's: they are the worker's, or the call's own. */
static int
take_spans_locked(fp_pool *p, u32 w, fp_task *t, u64 offset, u64 size)
{
    if (offset != t->block || !fp_blocks_is_run(t->size)) {
        return fp_spans_take_over(&p->shm, w, offset, size);
    }
    if (size == 0 || size > fp_spans_room(t->size)) {
        return FP_CORRUPT;
    }
    fp_keep_room_locked(p, t->block, t->size, size);
    t->block = 0;
    return FP_OK;
}

/* Take the reply of worker w out of slot s. Everything in the slot may be a lie. */
static u32
collect_reply_locked(fp_pool *p, u32 s, u32 w, fp_task *t)
{
    const volatile fp_slot_shm *sl = &p->shm.slots[s];   /* volatile: what was checked is not read again */
    u32 kind = sl->sl_kind, ring_end = sl->sl_ring_end;
    u64 size = sl->sl_len, offset = sl->sl_offset;
    t->at_once = kind == FP_REPLY_HANDED || kind == FP_REPLY_HANDED_ERROR;
    t->reply_kind = kind == FP_REPLY_HANDED ? FP_REPLY_VALUE : kind == FP_REPLY_HANDED_ERROR ? FP_REPLY_ERROR : kind;
    t->reply_stream = sl->sl_stream;
    switch (kind) {
    case FP_REPLY_NONE: return FP_OUTCOME_REPLY;
    case FP_REPLY_NOMEM: t->reply_size = size; return FP_OUTCOME_NOMEM;
    case FP_REPLY_VALUE:
    case FP_REPLY_ERROR:
    case FP_REPLY_HANDED:
    case FP_REPLY_HANDED_ERROR: break;
    default: return FP_OUTCOME_CORRUPT;
    }
    if (offset == 0) {
        if (size > FP_INLINE) {
            return FP_OUTCOME_CORRUPT;
        }
        return copy_reply(t, p->shm.slots[s].sl_inline, size) ? FP_OUTCOME_REPLY : FP_OUTCOME_NOMEM;
    }
    if (offset < p->shm.spans) {
        bool copied = size <= FP_RING && offset <= p->shm.spans - size &&
                      copy_reply(t, fp_shm_at(&p->shm, offset), size);
        if (!ring_release(p, w, offset, size, ring_end)) {
            return FP_OUTCOME_CORRUPT;
        }
        return copied ? FP_OUTCOME_REPLY : FP_OUTCOME_NOMEM;
    }
    if (take_spans_locked(p, w, t, offset, size) != FP_OK) {
        return FP_OUTCOME_CORRUPT;
    }
    if (size <= SMALL_REPLY) {
        bool copied = copy_reply(t, fp_shm_at(&p->shm, offset), size);
        fp_spans_free(&p->shm, offset, size);
        fp_spans_came_free(p);
        return copied ? FP_OUTCOME_REPLY : FP_OUTCOME_NOMEM;
    }
    t->reply_offset = offset;
    t->reply_size = size;
    return FP_OUTCOME_REPLY;
}

void
fp_pool_forget_reply(fp_pool *p, fp_task *t)
{
    if (t->reply_offset) {
        fp_spans_free(&p->shm, t->reply_offset, t->reply_size);
        fp_spans_came_free(p);
        t->reply_offset = 0;
    }
    free(t->reply);
    t->reply = NULL;
}

void
fp_pool_drop_task(fp_pool *p, fp_task *t)
{
    if (fp_task_decref(t)) {
        fp_pool_forget_reply(p, t);
        fp_task_free(t);
    }
}

void
fp_finish_slot_locked(fp_pool *p, u32 s, u32 w)
{
    fp_task *t = p->slots[s].task;
    p->slots[s].task = NULL;   /* its payload stays until it is settled: the reply may be there */
    if (t != NULL) {
        u32 outcome = collect_reply_locked(p, s, w, t);
        if (outcome == FP_OUTCOME_CORRUPT) {
            fp_limits_condemn_locked(p, w);
        }
        fp_free_slot_locked(p, s);
        p->served++;
        t->at_once &= outcome == FP_OUTCOME_REPLY;
        if (t->at_once) {
            free_call_block_locked(p, t);
            fp_read_at_once_locked(p, t);
        }
        else {
            fp_settle_locked(p, t, outcome);
        }
    }
    else {
        fp_free_slot_locked(p, s);
    }
}

/* ------------------------------------------------------------------- bell */

/* Must the manager hear of progress, even if no thread waits? To refill the ring, or to see the last task end. */
static bool
progress_matters_locked(const fp_pool *p)
{
    return p->backlog_first != NULL || (p->draining && fp_load_relaxed(&p->unfinished) != 0);
}

/* Have the bell rung when the ring's head gets to `position`. */
static void
arm_ring_locked(fp_pool *p, u64 head, u64 position)
{
    fp_head_shm *h = p->shm.head;
    u64 armed = fp_load_relaxed(&h->rg_bell);
    if (armed > head && armed <= position) {
        return;
    }
    fp_store_seq_cst(&h->rg_bell, position);
    if (fp_load_seq_cst(&h->rg_head) >= position) {
        fp_eventfd_ring(p->bell);   /* it went by while we looked */
    }
}

/* Have the bell rung at the next completion. */
static void
arm_list_locked(fp_pool *p)
{
    fp_a32 *list = &p->shm.head->cq_head;
    u32 old = fp_load_seq_cst(list);
    do {
        if (old & FP_CQ_SLOT) {
            fp_eventfd_ring(p->bell);
            return;
        }
    } while (!atomic_compare_exchange_weak(list, &old, old | FP_CQ_BELL));
}

/* Half-way through the ring if more waits behind it; at its end; then, with only the running tasks
 * to come, at each completion: seldom while there is much to do, always in time. */
void
fp_arm_bell_locked(fp_pool *p)
{
    if (p->let_go == FP_LET_GO_AT_NEXT_END) {
        arm_list_locked(p);
    }
    if (!progress_matters_locked(p)) {
        return;
    }
    u64 head = fp_load_acquire(&p->shm.head->rg_head), tail = fp_load_relaxed(&p->shm.head->rg_tail);
    if (head == tail || p->broken) {
        arm_list_locked(p);
    }
    else {
        arm_ring_locked(p, head, p->backlog_first != NULL ? head + (tail - head + 1) / 2 : tail);
    }
}

/* ------------------------------------------------------------------- pump */

/* Settle what is in the completed list. */
static int
take_completed_locked(fp_pool *p)
{
    int n = fp_take_completed(&p->shm, p->completed_slots);
    for (int i = 0; i < n; i++) {
        u32 s = p->completed_slots[i];
        u64 word = fp_load_acquire(&p->shm.slots[s].sl_state);
        u32 w = fp_word_owner(word);
        if (fp_word_state(word) != FP_DONE || fp_word_generation(word) != p->slots[s].generation ||
            !p->slots[s].out || w >= p->shm.nworkers) {
            return FP_CORRUPT;
        }
        fp_finish_slot_locked(p, s, w);
    }
    return n < 0 ? n : FP_OK;
}

void
fp_pool_pump_locked(fp_pool *p)
{
    if (take_completed_locked(p) != FP_OK || !fp_ring_is_sound(&p->shm, p->tail)) {
        fp_break_damaged_locked(p);
    }
    if (p->backlog_first != NULL) {
        fp_refill_locked(p);
    }
    fp_arm_bell_locked(p);
}

void
fp_pool_pump(fp_pool *p)
{
    if ((fp_load_relaxed(&p->shm.head->cq_head) & FP_CQ_SLOT) == 0) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    pthread_mutex_unlock(&p->lock);
}

bool
fp_pool_is_running(fp_pool *p, fp_task *t)
{
    bool running = false;
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    if (fp_load_relaxed(&t->state) & FP_TASK_SENT && !fp_task_is_done(t)) {
        u64 word = fp_load_acquire(&p->shm.slots[t->slot].sl_state);
        running = t->at_once || fp_word_state(word) != FP_READY;
    }
    pthread_mutex_unlock(&p->lock);
    return running;
}
