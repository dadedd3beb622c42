#include "worker.h"
#include "blocks.h"
#include "error.h"
#include "os.h"
#include "spans.h"
#include "wake.h"
#include "warm.h"

#include <string.h>
#include <unistd.h>

int
fp_worker_attach(fp_worker *k, int memfd, int bell, u32 w)
{
    *k = (fp_worker){.w = w, .bell = bell};
    int rc = fp_shm_attach(&k->shm, memfd);
    if (rc != FP_OK) {
        return rc;
    }
    if (w >= k->shm.nworkers) {
        fp_shm_close(&k->shm, false);
        return FP_CORRUPT;
    }
    k->ring_tail = fp_load_acquire(&k->shm.workers[w].wk_ring_head);
    fp_spin_init(&k->spin);
    return FP_OK;
}

void
fp_worker_detach(fp_worker *k)
{
    fp_view_drop(&k->call);
    fp_view_drop(&k->function);
    fp_view_drop(&k->reply);
    fp_shm_close(&k->shm, false);
    close(k->bell);
}

void
fp_worker_phase(fp_worker *k, u32 phase)
{
    fp_store_release(&k->shm.workers[k->w].wk_phase, phase);
}

void
fp_worker_resign(fp_worker *k, const u8 *data, u32 size)
{
    memcpy(k->shm.rings + (u64)k->w * FP_RING, data, size);
    fp_store_relaxed(&k->shm.workers[k->w].wk_note, size);
    fp_worker_phase(k, FP_WORKER_UNFIT);
}

static bool
stopped(const fp_worker *k)
{
    return fp_load_seq_cst(&k->shm.head->hd_flags) & FP_STOP;
}

static void
read_call(fp_worker *k, fp_call *call)
{
    const fp_slot_shm *sl = &k->shm.slots[call->slot];
    call->kind = sl->sl_kind;
    call->fn = sl->sl_fn;
    call->size = sl->sl_len;
    call->stream = sl->sl_stream;
    call->offset = sl->sl_offset;
    call->data = call->offset ? fp_view_at(&k->shm, &k->call, call->offset, call->size) : sl->sl_inline;
}

void
fp_worker_begin(const fp_worker *k, const fp_call *call)
{
    if (call->kind & FP_CALL_TIMED) {
        fp_store_relaxed(&k->shm.workers[k->w].wk_started, fp_now());
    }
}

int
fp_worker_next(fp_worker *k, fp_call *call)
{
    bool bell = false;
    fp_wake_arrived(&k->shm, k->w);
    int rc = fp_claim(&k->shm, k->w, &call->slot, &call->generation, &bell);
    if (bell) {
        fp_eventfd_ring(k->bell);
    }
    if (rc != FP_OK) {
        return stopped(k) ? FP_CLOSED : FP_EMPTY;
    }
    k->watched = false;
    fp_watch_drop(&k->shm, k->w);   /* who runs a task does not watch */
    fp_wake_helper(&k->shm);
    read_call(k, call);
    return FP_OK;
}

static bool
worth_a_look(const void *worker)
{
    const fp_worker *k = worker;
    return !fp_ring_is_empty(&k->shm) || stopped(k);
}

/* One idle worker may watch, while a CPU is free for it. */
static void
watch(fp_worker *k)
{
    if (k->spin.cpus > 1 && fp_busy_workers(&k->shm) < k->spin.cpus && fp_watch_take(&k->shm, k->w)) {
        fp_spin_until(&k->spin, worth_a_look, k);
    }
}

int
fp_worker_wait(fp_worker *k, u64 deadline)
{
    int rc = FP_OK;
    k->watched = !k->watched;
    if (k->watched) {
        watch(k);
    }
    else {
        fp_sleep_announce(&k->shm, k->w);
        if (worth_a_look(k)) {
            fp_sleep_cancel(&k->shm, k->w);
        }
        else {
            u64 since = fp_now();
            rc = fp_sleep(&k->shm, k->w, deadline);
            if (rc == FP_OK) {
                fp_spin_slept(&k->spin, since);
            }
        }
    }
    /* the caller runs signal handlers, or destructors: nobody must count on this worker meanwhile */
    if (rc != FP_OK && !fp_sleep_cancel(&k->shm, k->w)) {
        fp_wake_arrived(&k->shm, k->w);
        fp_wake_helper(&k->shm);   /* a wake came just then: pass it on */
    }
    return rc;
}

void
fp_worker_note_memory(fp_worker *k)
{
    fp_store_relaxed(&k->shm.workers[k->w].wk_base, fp_private_memory());
}

u64
fp_worker_base_memory(const fp_worker *k)
{
    return fp_load_relaxed(&k->shm.workers[k->w].wk_base);
}

u64
fp_worker_warm_limit(const fp_worker *k)
{
    return fp_warm_limit((u64)k->shm.nspans * FP_SPAN) / k->shm.nworkers;
}

bool
fp_worker_may_leave(fp_worker *k)
{
    fp_a32 *spare = &k->shm.head->hd_spare;
    for (u32 n = fp_load_seq_cst(spare); n > 0; n = fp_load_seq_cst(spare)) {
        if (fp_cas32(spare, n, n - 1)) {
            return true;
        }
    }
    return false;
}

void
fp_worker_stays(fp_worker *k)
{
    atomic_fetch_add(&k->shm.head->hd_spare, 1);
}

/* My byte ring: room for `size` bytes in one piece, or NULL. */
static u8 *
ring_room(fp_worker *k, u64 size, u32 *end)
{
    u32 freed = fp_load_acquire(&k->shm.workers[k->w].wk_ring_head);
    u32 at = k->ring_tail % FP_RING;
    u32 skip = at + size > FP_RING ? FP_RING - at : 0;   /* not across the ring's end */
    if (k->ring_tail - freed + skip + size > FP_RING) {
        return NULL;
    }
    k->ring_tail += skip + (u32)size;
    *end = k->ring_tail;
    return k->shm.rings + (u64)k->w * FP_RING + (skip ? 0 : at);
}

/* Bytes that there are for the reply where the call is: its run of spans, which it has for itself and does not need any more. */
static u64
room_of_call(const fp_worker *k, const fp_call *call)
{
    u64 room = fp_spans_room(call->size);
    bool is_run = call->offset != 0 && fp_blocks_is_run(call->size) && fp_shm_in_spans(&k->shm, call->offset, room);
    return is_run && (call->kind & FP_CALL_ONCE) ? room : 0;
}

static int
claim_spans(const fp_worker *k, u64 size, u64 *offset)
{
    /* a favourite place; but what is large for the room that there is would leave two halves too small for the next */
    bool large = size > (u64)k->shm.nspans * FP_SPAN / 64;
    u32 favourite = large ? 0 : (u32)((u64)k->shm.nspans * (k->w + 1) / (k->shm.nworkers + 1));
    return fp_spans_claim(&k->shm, FP_SPAN_WORKER + k->w, favourite, size, offset);
}

/* Spans for a reply. It replaces its call if it is about as large, since those pages are there and no others are needed; the
 * rest of a larger call would be a gap, too small for the next one as long as nobody reads the reply. Or if there is no
 * other room. */
static int
spans_for_reply(fp_worker *k, const fp_call *call, u64 size, u64 *offset, bool *replaces)
{
    u64 room = room_of_call(k, call);
    *replaces = size <= room && fp_spans_room(size) * 8 > room * 7;
    if (!*replaces && claim_spans(k, size, offset) != FP_OK) {
        if (size > room) {
            return FP_NOMEM;
        }
        *replaces = true;
    }
    if (*replaces) {
        fp_view_drop(&k->call);
        *offset = call->offset;
    }
    return FP_OK;
}

int
fp_worker_reply(fp_worker *k, const fp_call *call, u64 size, fp_reply *reply, u8 **room)
{
    fp_slot_shm *sl = &k->shm.slots[call->slot];
    reply->size = size;
    reply->offset = 0;
    reply->ring_end = 0;
    if (size <= FP_INLINE) {
        *room = sl->sl_inline;
        return FP_OK;
    }
    if (size <= FP_RING_MAX) {
        *room = ring_room(k, size, &reply->ring_end);
        if (*room != NULL) {
            reply->offset = (u64)(*room - (u8 *)k->shm.head);
            return FP_OK;
        }
        fp_eventfd_ring(k->bell);   /* nobody collects: let the manager do it */
    }
    bool replaces;
    if (spans_for_reply(k, call, size, &reply->offset, &replaces) != FP_OK) {
        return FP_NOMEM;
    }
    *room = fp_view_at(&k->shm, &k->reply, reply->offset, size);
    if (*room == NULL && !replaces) {   /* the call's own are the parent's */
        fp_spans_free(&k->shm, reply->offset, size);
    }
    return *room ? FP_OK : FP_SYSTEM;
}

int
fp_worker_complete(fp_worker *k, const fp_call *call, const fp_reply *reply)
{
    fp_slot_shm *sl = &k->shm.slots[call->slot];
    fp_view_drop(&k->call);
    fp_view_drop(&k->reply);
    sl->sl_kind = reply->kind;
    sl->sl_len = reply->size;
    sl->sl_stream = reply->stream;
    sl->sl_offset = reply->offset;
    sl->sl_ring_end = reply->ring_end;
    if (call->kind & FP_CALL_TIMED) {
        fp_store_relaxed(&k->shm.workers[k->w].wk_started, 0);   /* before the next one is mine */
    }
    u32 flags;
    int rc = fp_complete(&k->shm, k->w, call->slot, call->generation, &flags);
    if (rc != FP_OK) {
        return rc;
    }
    if (flags & FP_CQ_WAITER) {
        fp_futex_wake(&k->shm.head->cq_head, 1, true);
    }
    if (flags & FP_CQ_BELL || reply->kind >= FP_REPLY_HANDED) {   /* that is not left until somebody happens to wait */
        fp_eventfd_ring(k->bell);
    }
    return FP_OK;
}

int
fp_worker_function(fp_worker *k, u32 id, const u8 **data, u64 *size)
{
    if (id == 0 || id > FP_NFUNCTIONS) {
        return FP_CORRUPT;
    }
    const fp_function_shm *fn = &k->shm.functions[id - 1];
    *data = fn->fn_pickle;
    *size = fn->fn_len;
    if (fn->fn_offset == 0) {
        return fn->fn_len <= FP_FUNCTION_MAX ? FP_OK : FP_CORRUPT;
    }
    if (!fp_shm_in_spans(&k->shm, fn->fn_offset, fn->fn_len)) {
        return FP_CORRUPT;
    }
    *data = fp_view_at(&k->shm, &k->function, fn->fn_offset, fn->fn_len);
    return *data != NULL ? FP_OK : FP_NOMEM;
}

bool
fp_worker_function_is_by_value(const fp_worker *k, u32 id)
{
    return k->shm.functions[id - 1].fn_by_value;
}
