#define _GNU_SOURCE
#include "pool.h"
#include "audit.h"
#include "error.h"
#include "memory.h"
#include "limits.h"
#include "os.h"
#include "pool_parts.h"
#include "ring.h"
#include "spans.h"
#include "wake.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIM_INTERVAL 1000000000u   /* ns: pages that were not used for so long go back to the system */
#define TRIM_KEEP ((16u << 20) / FP_SPAN)
#define PLACE_BUDGET (256u << 20)  /* bytes of calls that have been pickled and have not ended */
#define SMALL_REPLY (256u << 10)   /* up to here a reply is copied out of shared memory at once */

/* ------------------------------------------------------------------ life */

static int
alloc_private(fp_pool *p)
{
    u32 n = p->shm.nslots;
    p->slots = calloc(n, sizeof *p->slots);
    p->free_slots = malloc(n * sizeof *p->free_slots);
    p->completed_slots = malloc(n * sizeof *p->completed_slots);
    p->in_use = calloc(p->shm.nworkers, sizeof *p->in_use);
    p->fates = calloc(p->shm.nworkers, sizeof *p->fates);
    if (p->slots == NULL || p->free_slots == NULL || p->completed_slots == NULL || p->in_use == NULL ||
        p->fates == NULL) {
        return FP_NOMEM;
    }
    for (u32 i = 0; i < n; i++) {
        p->free_slots[i] = n - 1 - i;   /* a stack: the lowest, warm ones first */
    }
    p->nfree = n;
    return FP_OK;
}

static void
destroy(fp_pool *p)
{
    fp_holds_free(p->dropped);
    fp_blocks_fini(&p->blocks);
    fp_shm_close(&p->shm, true);
    if (p->bell >= 0) {
        close(p->bell);
    }
    for (u32 i = 0; i < p->nfunctions; i++) {
        free(p->labels[i]);
    }
    free(p->slots);
    free(p->free_slots);
    free(p->completed_slots);
    free(p->in_use);
    free(p->fates);
    fp_death_clear(&p->death);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int
fp_pool_new(fp_pool **pool, u32 nworkers, u64 bytes)
{
    fp_pool *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return FP_NOMEM;
    }
    fp_fork_watch();
    pthread_mutex_init(&p->lock, NULL);
    p->refs = 1;
    p->bell = -1;
    p->fork_generation = fp_fork_generation();
    p->look_at = FP_NEVER;
    fp_waiter_init(&p->courier);
    fp_waiter_init(&p->sender);
    fp_spin_init(&p->spin);
    fp_nap_init(&p->nap);
    if (bytes == 0) {   /* half of the memory: what is in transit must leave room for what it is made from */
        bytes = fp_memory_total() / 2;
    }
    int rc = fp_shm_create(&p->shm, nworkers, bytes);
    if (rc == FP_OK) {
        p->bell = fp_eventfd_create();
        rc = p->bell < 0 ? FP_SYSTEM : alloc_private(p);
    }
    if (rc != FP_OK) {
        destroy(p);
        return rc;
    }
    fp_blocks_init(&p->blocks, &p->shm);
    p->place_budget = bytes / 2 < PLACE_BUDGET ? bytes / 2 : PLACE_BUDGET;   /* results need room, too */
    *pool = p;
    return FP_OK;
}

void
fp_pool_incref(fp_pool *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
}

void
fp_pool_decref(fp_pool *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) {
        destroy(p);
    }
}

const char *
fp_pool_label(const fp_pool *p, const fp_task *t)
{
    if (t->label != NULL) {
        return t->label;
    }
    return t->fn ? p->labels[t->fn - 1] : NULL;
}

/* ------------------------------------------------------- functions, demand */

/* Where the pickle of a new entry goes. (What is written to shared memory is not read back: others write there, too.) */
static u8 *
function_room_locked(fp_pool *p, fp_function_shm *fn, u64 size)
{
    u64 offset = 0;
    if (size > FP_FUNCTION_MAX && fp_blocks_alloc(&p->blocks, size, &offset) != FP_OK) {
        return NULL;
    }
    fn->fn_len = (u32)size;
    fn->fn_offset = offset;
    return offset ? fp_shm_at(&p->shm, offset) : fn->fn_pickle;
}

static bool
table_has_room_locked(const fp_pool *p, u64 size, bool by_value)
{
    return p->nfunctions < FP_NFUNCTIONS &&
           (!by_value || (p->nby_value < FP_NFUNCTIONS / 2 && size <= FP_BY_VALUE_MAX - p->by_value_bytes));
}

static int
add_function(fp_pool *p, const u8 *data, u64 size, const char *label, bool by_value)
{
    char *copy = strdup(label);
    if (copy == NULL) {
        return FP_NOMEM;
    }
    int id = FP_FULL;
    u8 *room = NULL;
    pthread_mutex_lock(&p->lock);
    fp_function_shm *fn = &p->shm.functions[p->nfunctions];
    if (table_has_room_locked(p, size, by_value) && (room = function_room_locked(p, fn, size)) != NULL) {
        memcpy(room, data, size);
        fn->fn_by_value = by_value;
        p->nby_value += by_value;
        p->by_value_bytes += by_value ? size : 0;
        p->labels[p->nfunctions] = copy;
        id = (int)++p->nfunctions;
        copy = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    free(copy);
    return id;
}

int
fp_pool_add_function(fp_pool *p, const u8 *data, u64 size, const char *label)
{
    return size <= FP_FUNCTION_MAX ? add_function(p, data, size, label, false) : FP_FULL;
}

int
fp_pool_add_function_by_value(fp_pool *p, const u8 *data, u64 size, const char *label)
{
    return add_function(p, data, size, label, true);
}

void
fp_pool_count_demand(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->demanded++;
    pthread_mutex_unlock(&p->lock);
}

bool
fp_pool_wants_worker(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    bool wants = p->started < p->shm.nworkers && p->demanded - p->served >= p->started;
    pthread_mutex_unlock(&p->lock);
    return wants;
}

bool
fp_pool_lacks_worker(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool lacks = p->started < p->shm.nworkers && p->demanded - p->served > p->started;
    pthread_mutex_unlock(&p->lock);
    return lacks;
}

/* ------------------------------------------------------ room for payloads */

bool
fp_pool_is_crowded(const fp_pool *p)
{
    return fp_load_relaxed(&p->placed_bytes) >= p->place_budget && fp_load_relaxed(&p->placed) > p->shm.nworkers;
}

static void
wake_sender_locked(fp_pool *p)
{
    if (atomic_exchange(&p->room_wanted, 0)) {
        atomic_fetch_add(&p->sender.nready, 1);
        fp_wait_notify_locked(p, &p->sender);
    }
}

static void
count_room_locked(fp_pool *p, u64 size, int n)
{
    atomic_fetch_add(&p->placed, (u32)n);
    atomic_fetch_add(&p->placed_bytes, (u64)n * size);
    if (n < 0) {
        wake_sender_locked(p);
    }
}

/* There is idle memory from now on: the manager gives it back later, and tells the sender now if that waits for it. (This
 * is called with and without the lock. The sender first says that it waits, then tries once more.) */
static void
spans_came_free(fp_pool *p)
{
    bool first = !fp_load_relaxed(&p->trim_wanted) && atomic_exchange(&p->trim_wanted, 1) == 0;
    atomic_thread_fence(memory_order_seq_cst);
    if (first || fp_load_relaxed(&p->room_wanted)) {
        fp_eventfd_ring(p->bell);
    }
}

static void
free_room_locked(fp_pool *p, u64 block, u64 size)
{
    if (fp_blocks_free(&p->blocks, block, size)) {
        spans_came_free(p);
    }
    count_room_locked(p, size, -1);
}

static int
claim_room(fp_pool *p, u64 size, u64 *block)
{
    int rc;
    if (fp_blocks_is_run(size)) {   /* takes its time, and needs no lock */
        rc = fp_spans_claim(&p->shm, FP_SPAN_PARENT, 0, size, block);
        pthread_mutex_lock(&p->lock);
    }
    else {
        pthread_mutex_lock(&p->lock);
        if (!fp_blocks_has_room(&p->blocks, size)) {
            fp_pool_pump_locked(p);   /* what has ended meanwhile leaves memory that is warm */
        }
        rc = fp_blocks_alloc(&p->blocks, size, block);
    }
    if (rc == FP_OK) {
        count_room_locked(p, size, 1);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* How many payloads are placed, once those that have ended are gone. From before that look on the sender hears of free room:
 * the last of those that were counted may end right after it. */
static u32
count_placed(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->room_wanted, 1);
    fp_pool_pump_locked(p);
    u32 placed = p->placed;
    pthread_mutex_unlock(&p->lock);
    return placed;
}

int
fp_pool_room(fp_pool *p, u64 size, u64 *block)
{
    if (claim_room(p, size, block) == FP_OK) {
        return FP_OK;
    }
    u32 others = count_placed(p);
    if (claim_room(p, size, block) == FP_OK) {   /* once more: room may have come while nobody was told */
        atomic_store(&p->room_wanted, 0);
        return FP_OK;
    }
    return others > 0 ? FP_FULL : FP_NOMEM;
}

void
fp_pool_free_room(fp_pool *p, u64 block, u64 size)
{
    pthread_mutex_lock(&p->lock);
    free_room_locked(p, block, size);
    pthread_mutex_unlock(&p->lock);
}

bool
fp_pool_has_room(fp_pool *p, bool wake)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    bool has = !fp_pool_is_crowded(p);
    if (wake) {
        atomic_store(&p->room_wanted, !has);
    }
    pthread_mutex_unlock(&p->lock);
    return has;
}

static void
free_call_block_locked(fp_pool *p, fp_task *t)
{
    if (t->block) {
        free_room_locked(p, t->block, t->size);
        t->block = 0;
    }
}

/* ------------------------------------------------------------- settling */

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

static void
free_dropped(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_holds *dropped = p->dropped;
    p->dropped = NULL;
    pthread_mutex_unlock(&p->lock);
    fp_holds_free(dropped);
}

/* The one place where a task ends. Drops the pool's reference. */
void
fp_settle_locked(fp_pool *p, fp_task *t, u32 outcome)
{
    free_call_block_locked(p, t);   /* if it was never sent */
    drop_holds_locked(p, t);
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

/* The slot is nobody's from here on; its task, if it still had one, is returned. */
static fp_task *
empty_slot_locked(fp_pool *p, u32 s)
{
    fp_task *t = p->slots[s].task;
    p->slots[s].task = NULL;
    if (t != NULL) {
        free_call_block_locked(p, t);
    }
    return t;
}

static void
free_slot_locked(fp_pool *p, u32 s)
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

/* Take the reply of worker w out of slot s. Everything in the slot may be a lie. */
static u32
collect_reply_locked(fp_pool *p, u32 s, u32 w, fp_task *t)
{
    const volatile fp_slot_shm *sl = &p->shm.slots[s];   /* volatile: what was checked is not read again */
    u32 kind = sl->sl_kind, ring_end = sl->sl_ring_end;
    u64 size = sl->sl_len, offset = sl->sl_offset;
    t->reply_kind = kind;
    t->reply_stream = sl->sl_stream;
    switch (kind) {
    case FP_REPLY_NONE: return FP_OUTCOME_REPLY;
    case FP_REPLY_NOMEM: t->reply_size = size; return FP_OUTCOME_NOMEM;
    case FP_REPLY_VALUE:
    case FP_REPLY_ERROR: break;
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
    if (fp_spans_take_over(&p->shm, w, offset, size) != FP_OK) {
        return FP_OUTCOME_CORRUPT;
    }
    if (size <= SMALL_REPLY) {
        bool copied = copy_reply(t, fp_shm_at(&p->shm, offset), size);
        fp_spans_free(&p->shm, offset, size);
        spans_came_free(p);
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
        spans_came_free(p);
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

/* Slot s is DONE|w: settle its task and free it. */
static void
finish_slot_locked(fp_pool *p, u32 s, u32 w)
{
    fp_task *t = empty_slot_locked(p, s);
    if (t != NULL) {
        u32 outcome = collect_reply_locked(p, s, w, t);
        if (outcome == FP_OUTCOME_CORRUPT) {
            fp_limits_condemn_locked(p, w);
        }
        free_slot_locked(p, s);
        p->served++;
        fp_settle_locked(p, t, outcome);
    }
    else {
        free_slot_locked(p, s);
    }
}

/* -------------------------------------------------------- submit and refill */

static void
fill_slot_locked(fp_pool *p, const fp_task *t, u32 s)
{
    fp_slot_shm *sl = &p->shm.slots[s];
    sl->sl_offset = t->block;
    if (t->block == 0) {
        memcpy(sl->sl_inline, t->small, t->size);
    }
    sl->sl_kind = t->kind;
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

static fp_task *
take_backlog_locked(fp_pool *p)
{
    fp_task *t = p->backlog_first;
    p->backlog_first = t->next;
    if (p->backlog_first == NULL) {
        p->backlog_last = NULL;
    }
    t->next = NULL;
    return t;
}

static void break_locked(fp_pool *p, fp_death death);

/* Nobody can say any more what became of the tasks that are out. */
static void
break_damaged_locked(fp_pool *p)
{
    break_locked(p, (fp_death){.reason = strdup("A worker process damaged the shared memory of the pool.")});
}

void
fp_refill_locked(fp_pool *p)
{
    bool sent = false;
    while (p->backlog_first != NULL) {
        fp_task *t = p->backlog_first;
        if (fp_task_is_done(t)) {   /* cancelled meanwhile */
            fp_pool_drop_task(p, take_backlog_locked(p));
            continue;
        }
        int rc = send_locked(p, t);
        if (rc == FP_FULL) {
            break;
        }
        if (rc == FP_CORRUPT) {
            break_damaged_locked(p);
            break;
        }
        take_backlog_locked(p);
        p->nbacklog--;
        sent = true;
    }
    if (sent) {
        fp_wake_for_task(&p->shm);   /* who claims wakes more (fp_wake_helper) */
    }
}

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
static void
arm_bell_locked(fp_pool *p)
{
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

/* Into the ring if it may overtake nobody, else into the backlog. */
static int
accept_locked(fp_pool *p, fp_task *t, bool *in_ring)
{
    int rc = p->backlog_first == NULL ? send_locked(p, t) : FP_FULL;
    *in_ring = rc == FP_OK;
    if (rc == FP_CORRUPT) {
        break_damaged_locked(p);
        return FP_BROKEN;
    }
    if (rc == FP_FULL) {
        to_backlog_locked(p, t);
        arm_bell_locked(p);
    }
    fp_task_incref(t);
    p->demanded++;
    p->ntimed += fp_task_limit(t) != 0;
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
fp_pool_place(fp_pool *p, fp_task *t, u64 block, u64 size, u64 stream, fp_holds *holds)
{
    pthread_mutex_lock(&p->lock);
    bool wanted = !fp_task_is_done(t);
    if (wanted) {
        t->block = block;
        t->size = size;
        t->stream = stream;
        t->holds = holds;
        t->unplaced = false;
        fp_refill_locked(p);
        arm_bell_locked(p);
    }
    else if (block) {
        free_room_locked(p, block, size);
    }
    pthread_mutex_unlock(&p->lock);
    if (!wanted) {
        fp_holds_free(holds);
    }
    return wanted;
}

void
fp_pool_fail_unplaced(fp_pool *p, fp_task *t, fp_death *death)
{
    pthread_mutex_lock(&p->lock);
    if (!fp_task_is_done(t)) {
        t->death = death;
        p->nbacklog--;
        p->served++;
        fp_task_incref(t);   /* the backlog lets go of it later, in refill */
        fp_settle_locked(p, t, death ? FP_OUTCOME_BROKEN : FP_OUTCOME_NOMEM);
        fp_refill_locked(p);
        arm_bell_locked(p);
    }
    else if (death != NULL) {
        fp_death_clear(death);
        free(death);
    }
    pthread_mutex_unlock(&p->lock);
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
        finish_slot_locked(p, s, w);
    }
    return n < 0 ? n : FP_OK;
}

void
fp_pool_pump_locked(fp_pool *p)
{
    if (take_completed_locked(p) != FP_OK || !fp_ring_is_sound(&p->shm, p->tail)) {
        break_damaged_locked(p);
    }
    if (p->backlog_first != NULL) {
        fp_refill_locked(p);
    }
    arm_bell_locked(p);
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
        running = fp_word_state(word) != FP_READY;
    }
    pthread_mutex_unlock(&p->lock);
    return running;
}

/* ----------------------------------------------------------------- cancel */

/* Take a task back that no worker has claimed. */
static bool
withdraw_locked(fp_pool *p, fp_task *t)
{
    if (!fp_withdraw(&p->shm, t->slot, t->generation)) {
        return false;
    }
    u32 s = t->slot;
    empty_slot_locked(p, s);
    free_slot_locked(p, s);
    return true;
}

bool
fp_cancel_locked(fp_pool *p, fp_task *t)
{
    if (fp_task_is_done(t)) {
        return false;
    }
    if (fp_load_relaxed(&t->state) & FP_TASK_SENT) {
        if (!withdraw_locked(p, t)) {
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
        n += p->in_use[w] && fp_load_relaxed(&p->shm.workers[w].wk_slot) == 0;
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

/* --------------------------------------------------------- manager's calls */

void
fp_pool_close(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->closed = p->draining = true;
    pthread_mutex_unlock(&p->lock);
    fp_eventfd_ring(p->bell);
}

void
fp_pool_stop_workers(fp_pool *p)
{
    atomic_fetch_or(&p->shm.head->hd_flags, FP_STOP);
    fp_wake_all(&p->shm);
}

static bool
is_drained_locked(const fp_pool *p)
{
    return p->draining && fp_load_relaxed(&p->unfinished) == 0 && p->ncondemned == 0;
}

bool
fp_pool_is_drained(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool drained = is_drained_locked(p);
    pthread_mutex_unlock(&p->lock);
    return drained;
}

bool
fp_pool_manage(fp_pool *p)
{
    fp_eventfd_clear(p->bell);
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    wake_sender_locked(p);
    bool drained = is_drained_locked(p);
    pthread_mutex_unlock(&p->lock);
    free_dropped(p);
    return drained;
}

u64
fp_pool_trim(fp_pool *p)
{
    if (!fp_load_acquire(&p->trim_wanted)) {
        return FP_NEVER;
    }
    u64 now = fp_now();
    if (p->trim_at == 0) {
        p->trim_at = now + TRIM_INTERVAL;
    }
    if (now >= p->trim_at) {
        p->trim_at = 0;
        fp_store_seq_cst(&p->trim_wanted, 0);   /* first: what is freed from here on wants the next one */
        if (!fp_spans_trim(&p->shm, TRIM_KEEP)) {
            return FP_NEVER;
        }
        fp_store_seq_cst(&p->trim_wanted, 1);
        p->trim_at = now + TRIM_INTERVAL;
    }
    return p->trim_at;
}

/* ------------------------------------------------------------------ death */

/* For the workers to see. (One that leaves just now may be counted as one that can be spared: whoever starts workers
 * looks that there are enough.) */
static void
count_workers_locked(fp_pool *p)
{
    fp_store_relaxed(&p->shm.head->hd_live, p->started);
    fp_store_seq_cst(&p->shm.head->hd_spare, p->started > p->min_workers ? p->started - p->min_workers : 0);
}

int
fp_pool_new_worker(fp_pool *p)
{
    int found = FP_FULL;
    pthread_mutex_lock(&p->lock);
    for (u32 w = 0; w < p->shm.nworkers && found < 0; w++) {
        fp_worker_shm *k = &p->shm.workers[w];
        if (!p->in_use[w]) {
            p->in_use[w] = true;
            fp_store_relaxed(&k->wk_slot, 0);
            fp_store_relaxed(&k->wk_ring_head, 0);
            fp_store_relaxed(&k->wk_note, 0);
            fp_store_release(&k->wk_phase, FP_WORKER_STARTED);
            found = (int)w;
            p->started++;
            count_workers_locked(p);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Whatever slot s has to do with the dead worker w has an end. The task that w took along, or NULL. */
static fp_task *
reap_slot_locked(fp_pool *p, u32 w, u32 s)
{
    u64 word = fp_load_acquire(&p->shm.slots[s].sl_state);
    fp_task *t = NULL;
    if (!p->slots[s].out || fp_word_owner(word) != w || fp_word_generation(word) != p->slots[s].generation) {
        return NULL;
    }
    switch (fp_word_state(word)) {
    case FP_DONE:   /* died before it could list it: the result is kept */
        finish_slot_locked(p, s, w);
        break;
    case FP_CLAIMED:   /* its payload stays: it may be sent again */
    case FP_DOOMED:
        t = p->slots[s].task;
        p->slots[s].task = NULL;
        free_slot_locked(p, s);
        break;
    }
    return t;
}

/* It was lost with its worker: it comes before all that the workers have not been given yet. */
static void
send_again_locked(fp_pool *p, fp_task *t)
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
    arm_bell_locked(p);
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

static void
clear_worker_locked(fp_pool *p, u32 w)
{
    fp_worker_shm *k = &p->shm.workers[w];
    atomic_fetch_and(&p->shm.idle[w / 64], ~(1ull << (w % 64)));
    fp_cas32(&p->shm.head->wk_watch, w + 1, 0);
    fp_store_seq_cst(&p->shm.head->wk_waking, 0);
    fp_spans_free_of(&p->shm, w);
    spans_came_free(p);
    fp_store_relaxed(&k->wk_slot, 0);
    fp_store_relaxed(&k->wk_started, 0);
    p->started--;
    count_workers_locked(p);
    fp_wake_all(&p->shm);             /* it may have owed somebody a wake */
    fp_wait_rouse_leader(p);
    fp_store_release(&k->wk_phase, FP_WORKER_NONE);
    p->in_use[w] = false;
}

u64
fp_pool_waiting(fp_pool *p)
{
    if (p->fork_generation != fp_fork_generation()) {
        return 0;
    }
    pthread_mutex_lock(&p->lock);
    u64 head = fp_load_acquire(&p->shm.head->rg_head);
    u64 waiting = p->nbacklog + (head < p->tail ? p->tail - head : 0);
    pthread_mutex_unlock(&p->lock);
    return waiting;
}

u32
fp_pool_ready_workers(const fp_pool *p)
{
    u32 n = 0;
    for (u32 w = 0; w < p->shm.nworkers; w++) {
        n += fp_load_acquire(&p->shm.workers[w].wk_phase) == FP_WORKER_RUNNING;
    }
    return n;
}

u32
fp_pool_last_words(const fp_pool *p, u32 w, fp_death *death)
{
    const fp_worker_shm *k = &p->shm.workers[w];
    u32 phase = fp_load_acquire(&k->wk_phase), size = fp_load_relaxed(&k->wk_note);
    if (phase == FP_WORKER_UNFIT && size <= FP_RING && (death->error = malloc(size ? size : 1)) != NULL) {
        memcpy(death->error, p->shm.rings + (u64)w * FP_RING, size);
        death->error_size = size;
    }
    return phase;
}

int
fp_pool_reap(fp_pool *p, u32 w, fp_task **task)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    u32 phase = fp_load_acquire(&p->shm.workers[w].wk_phase);
    *task = reap_slots_locked(p, w);
    clear_worker_locked(p, w);
    bool condemned = fp_limits_reap_locked(p, w);
    int rc = condemned ? FP_CONDEMNED : phase == FP_WORKER_RETIRED && *task == NULL ? FP_OK : FP_BROKEN;
    if (p->retries && *task != NULL && (*task)->terms != NULL && (*task)->terms->retries > 0 && !p->broken) {
        send_again_locked(p, *task);
        *task = NULL;
        rc = rc == FP_BROKEN ? FP_AGAIN : rc;
    }
    if (!p->broken && !fp_audit_locked(p)) {
        break_damaged_locked(p);
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

/* Decide the task in slot s, unless its worker already has: a result that is DONE is kept, its worker
 * lists it or is reaped. */
static void
break_slot_locked(fp_pool *p, u32 s)
{
    fp_task *t = p->slots[s].task;
    if (!withdraw_locked(p, t)) {
        u32 w = fp_word_owner(fp_load_acquire(&p->shm.slots[s].sl_state));
        if (!fp_doom(&p->shm, s, t->generation, w)) {
            return;
        }
        empty_slot_locked(p, s);
    }
    fp_settle_locked(p, t, FP_OUTCOME_BROKEN);
}

static void
break_backlog_locked(fp_pool *p)
{
    while (p->backlog_first != NULL) {
        fp_task *t = take_backlog_locked(p);
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
fp_pool_break(fp_pool *p, fp_death death)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    break_locked(p, death);
    pthread_mutex_unlock(&p->lock);
}

/* Its worker is dead, and was not reaped: a result that is there is kept. */
static void
bury_slot_locked(fp_pool *p, u32 s)
{
    u64 word = fp_load_acquire(&p->shm.slots[s].sl_state);
    u32 w = fp_word_owner(word);
    if (p->slots[s].task == NULL) {
        return;
    }
    if (word == fp_word(p->slots[s].generation, w, FP_DONE) && w < p->shm.nworkers) {
        finish_slot_locked(p, s, w);
    }
    else {
        fp_settle_locked(p, empty_slot_locked(p, s), FP_OUTCOME_BROKEN);
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
    free_dropped(p);
}
