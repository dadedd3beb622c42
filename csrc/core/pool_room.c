#include "pool_parts.h"
#include "error.h"
#include "os.h"
#include "spans.h"

#define TRIM_INTERVAL 1000000000u   /* ns: pages that were not used for so long go back to the system */
#define TRIM_KEEP ((16u << 20) / FP_SPAN)

bool
fp_pool_is_crowded(const fp_pool *p)
{
    return (fp_load_relaxed(&p->placed_bytes) >= p->place_budget && fp_load_relaxed(&p->placed) > p->shm.nworkers) ||
           fp_load_relaxed(&p->handing) > 2 * p->shm.nworkers;
}

void
fp_wake_sender_locked(fp_pool *p)
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
        fp_wake_sender_locked(p);
    }
}

/* The sender first says that it waits, then tries once more. */
void
fp_spans_came_free(fp_pool *p)
{
    bool first = !fp_load_relaxed(&p->trim_wanted) && atomic_exchange(&p->trim_wanted, 1) == 0;
    atomic_thread_fence(memory_order_seq_cst);
    if (first || fp_load_relaxed(&p->room_wanted)) {
        fp_eventfd_ring(p->bell);
    }
}

void
fp_free_room_locked(fp_pool *p, u64 block, u64 size)
{
    if (fp_blocks_free(&p->blocks, block, size)) {
        fp_spans_came_free(p);
    }
    count_room_locked(p, size, -1);
}

void
fp_keep_room_locked(fp_pool *p, u64 block, u64 size, u64 kept)
{
    u64 room = fp_spans_room(size), used = fp_spans_room(kept);
    if (used < room) {
        fp_spans_free(&p->shm, block + used, room - used);
        fp_spans_came_free(p);
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
    fp_free_room_locked(p, block, size);
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

/* ------------------------------------------------------------------- trim */

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
