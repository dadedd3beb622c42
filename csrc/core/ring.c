#include "ring.h"
#include "error.h"

static inline fp_a64 *
cell_at(const fp_shm *m, u64 position)
{
    return &m->cells[position & (m->ncells - 1)];
}

bool
fp_ring_is_sound(const fp_shm *m, u64 tail)
{
    u64 head = fp_load_relaxed(&m->head->rg_head);
    return fp_load_relaxed(&m->head->rg_tail) == tail && head <= tail && tail - head <= m->ncells;
}

/* Drop a dead hint (of a task withdrawn) from the head if there is no room for one more. */
static int
make_room(const fp_shm *m, u64 tail)
{
    u64 head = fp_load_acquire(&m->head->rg_head);
    if (head <= tail && tail - head < m->ncells) {
        return FP_OK;
    }
    u64 hint = fp_load_relaxed(cell_at(m, head));
    if (!fp_ring_is_sound(m, tail) || (u32)hint >= m->nslots) {
        return FP_CORRUPT;
    }
    u64 ready = fp_word((u32)(hint >> 32), 0, FP_READY);
    if (fp_load_relaxed(&m->slots[(u32)hint].sl_state) == ready) {
        return FP_FULL;
    }
    fp_cas64(&m->head->rg_head, head, head + 1);   /* if it fails, somebody else made room */
    return FP_OK;
}

int
fp_publish(const fp_shm *m, u64 *tail, u32 slot, u32 generation)
{
    int rc = make_room(m, *tail);
    if (rc != FP_OK) {
        return rc;
    }
    fp_store_release(&m->slots[slot].sl_state, fp_word(generation, 0, FP_READY)); /* P1 */
    fp_store_release(cell_at(m, *tail), (u64)generation << 32 | slot);            /* P2 */
    fp_store_seq_cst(&m->head->rg_tail, ++*tail);                                 /* P3 */
    return FP_OK;
}

bool
fp_withdraw(const fp_shm *m, u32 slot, u32 generation)
{
    return fp_cas64(&m->slots[slot].sl_state, fp_word(generation, 0, FP_READY),
                    fp_word(generation, 0, FP_FREE));
}

bool
fp_doom(const fp_shm *m, u32 slot, u32 generation, u32 w)
{
    return fp_cas64(&m->slots[slot].sl_state, fp_word(generation, w, FP_CLAIMED),
                    fp_word(generation, w, FP_DOOMED));
}

int
fp_take_completed(const fp_shm *m, u32 *slots)
{
    if ((fp_load_relaxed(&m->head->cq_head) & FP_CQ_SLOT) == 0) {
        return 0;
    }
    u32 link = atomic_exchange_explicit(&m->head->cq_head, 0, memory_order_acquire);
    u32 n = 0;
    for (link &= FP_CQ_SLOT; link != 0; link = fp_load_relaxed(&m->slots[link - 1].sl_next)) {
        if (link > m->nslots || n == m->nslots) {
            return FP_CORRUPT;
        }
        slots[n++] = link - 1;
    }
    for (u32 i = 0; i < n / 2; i++) {   /* a stack: newest first */
        u32 s = slots[i];
        slots[i] = slots[n - 1 - i];
        slots[n - 1 - i] = s;
    }
    return (int)n;
}

int
fp_claim(const fp_shm *m, u32 w, u32 *slot, u32 *generation, bool *bell)
{
    for (;;) {
        u64 head = fp_load_acquire(&m->head->rg_head);
        if (head == fp_load_seq_cst(&m->head->rg_tail)) {
            return FP_EMPTY;
        }
        u64 hint = fp_load_acquire(cell_at(m, head));
        u32 s = (u32)hint, g = (u32)(hint >> 32);
        u64 ready = fp_word(g, 0, FP_READY);
        bool mine = false;
        if (s < m->nslots && fp_load_relaxed(&m->slots[s].sl_state) == ready) {
            /* what I go for: visible before the claim, and after all that I did to the slot before (audit.c) */
            fp_store_release(&m->workers[w].wk_slot, s + 1);
            mine = fp_cas64(&m->slots[s].sl_state, ready, fp_word(g, w, FP_CLAIMED));
        }
        /* A stale head at worst let us claim a later task; then this CAS fails. */
        if (fp_cas64(&m->head->rg_head, head, head + 1) &&
            fp_load_seq_cst(&m->head->rg_bell) == head + 1) {
            *bell = true;
        }
        if (mine) {
            *slot = s;
            *generation = g;
            return FP_OK;
        }
    }
}

int
fp_complete(const fp_shm *m, u32 w, u32 slot, u32 generation, u32 *flags)
{
    fp_slot_shm *sl = &m->slots[slot];
    if (!fp_cas64(&sl->sl_state, fp_word(generation, w, FP_CLAIMED),
                  fp_word(generation, w, FP_DONE))) {   /* C1 */
        return fp_load_relaxed(&sl->sl_state) == fp_word(generation, w, FP_DOOMED) ? FP_CONDEMNED : FP_CORRUPT;
    }
    u32 old = fp_load_relaxed(&m->head->cq_head);
    do {
        fp_store_relaxed(&sl->sl_next, old & FP_CQ_SLOT);
    } while (!atomic_compare_exchange_weak_explicit(   /* C2 */
        &m->head->cq_head, &old, slot + 1, memory_order_seq_cst, memory_order_relaxed));
    *flags = old & ~FP_CQ_SLOT;
    return FP_OK;
}
