/* Nonsense for shared memory, made from an input's bytes: a word of some structure, a byte of anything. */
#ifndef SCRIBBLE_H
#define SCRIBBLE_H

#include "core/shm.h"

#include <string.h>

#define SCRIBBLE_SLOTS 48u   /* mostly among the first: they are in use */

/* ------------------------------------------------------------------------ the input */

static const u8 *at, *end;

static inline u64
take(u32 bytes)
{
    u64 value = 0;
    for (u32 i = 0; i < bytes && at < end; i++) {
        value |= (u64)*at++ << (8 * i);
    }
    return value;
}

static inline u64
take_below(u64 n)
{
    return take(n <= 256 ? 1 : n <= 65536 ? 2 : 4) % n;
}

static inline u32
some_slot(const fp_shm *m)   /* mostly one of those that are in use */
{
    return (u32)(take(1) & 7 ? take_below(SCRIBBLE_SLOTS) : take_below(m->nslots));
}

static inline u64
some_offset(const fp_shm *m)
{
    u64 delta = take(2);
    switch (take_below(6)) {
    case 0: return delta;
    case 1: return (u64)(m->rings - (u8 *)m->head) + take_below(m->nworkers) * FP_RING + delta;
    case 2: return m->spans + take_below(m->nspans) * FP_SPAN;
    case 3: return m->spans + take_below(m->nspans) * FP_SPAN + delta;
    case 4: return m->size - delta;
    default: return 0 - delta;
    }
}

static inline u32
generation_of(const fp_shm *m, u32 slot)
{
    return fp_word_generation(fp_load_relaxed(&m->slots[slot].sl_state));
}

static inline u64
some_value(const fp_shm *m)
{
    switch (take_below(11)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return UINT64_MAX;
    case 3: return take(1);
    case 4: return take(4);
    case 5: return take(8);
    case 6: return fp_word(generation_of(m, some_slot(m)) + (u32)take(1) / 128, (u32)take_below(m->nworkers + 1), (u32)take_below(6));
    case 7: return some_offset(m);
    case 8: return some_slot(m) + 1;
    case 9: return FP_SPAN_TRIMMED | (u32)take(1) << 24;
    default: return (u64)FP_REPLY_NONE + take_below(4);
    }
}

/* --------------------------------------------------------------------- what is scribbled */

static inline void
put32(const fp_shm *m, fp_a32 *word)
{
    fp_store_seq_cst(word, (u32)some_value(m));
}

static inline void
put64(const fp_shm *m, fp_a64 *word)
{
    fp_store_seq_cst(word, some_value(m));
}

static inline void
scribble_head(const fp_shm *m)
{
    fp_head_shm *h = m->head;
    switch (take_below(10)) {
    case 0: put64(m, &h->rg_head); break;
    case 1: put64(m, &h->rg_tail); break;
    case 2: put64(m, &h->rg_bell); break;
    case 3: put32(m, &h->cq_head); break;
    case 4: put32(m, &h->wk_watch); break;
    case 5: put64(m, &h->wk_waking); break;
    case 6: put32(m, &h->hd_flags); break;
    case 7: put32(m, &h->hd_live); break;
    case 8: put64(m, &m->idle[0]); break;
    default: put64(m, &m->cells[take_below(m->ncells)]); break;
    }
}

static inline void
scribble_worker(const fp_shm *m)
{
    fp_worker_shm *k = &m->workers[take_below(m->nworkers)];
    switch (take_below(6)) {
    case 0: put32(m, &k->wk_futex); break;
    case 1: put32(m, &k->wk_slot); break;
    case 2: put32(m, &k->wk_phase); break;
    case 3: put32(m, &k->wk_ring_head); break;
    case 4: put32(m, &k->wk_ticket); break;
    default: put32(m, &k->wk_note); break;
    }
}

static inline void
scribble_slot(const fp_shm *m)
{
    fp_slot_shm *sl = &m->slots[some_slot(m)];
    switch (take_below(8)) {
    case 0: put64(m, &sl->sl_state); break;
    case 1: put32(m, &sl->sl_next); break;
    case 2: sl->sl_fn = (u32)some_value(m); break;
    case 3: sl->sl_len = some_value(m); break;
    case 4: sl->sl_stream = some_value(m); break;
    case 5: sl->sl_offset = some_value(m); break;
    case 6: sl->sl_kind = (u32)some_value(m); break;
    default: sl->sl_ring_end = (u32)some_value(m); break;
    }
}

static inline void
scribble_owners(const fp_shm *m)
{
    u32 i = (u32)take_below(m->nspans), n = (u32)take_below(9) == 0 ? m->nspans : i + 1;
    u32 value = (u32)some_value(m);
    for (; i < n; i++) {
        fp_store_seq_cst(&m->owners[i], value);
    }
}

static inline void
scribble_function(const fp_shm *m)
{
    fp_function_shm *fn = &m->functions[take_below(8)];
    fn->fn_len = (u32)some_value(m);
    fn->fn_offset = some_value(m);
}

static inline void
scribble_bytes(const fp_shm *m)
{
    u64 all = m->spans + m->nspans * (u64)FP_SPAN, from = take_below(all), n = take(1);
    u8 what = (u8)take(1);
    for (u64 i = 0; i < n && from + i < all; i++) {
        fp_shm_at(m, from + i)[0] = what;
    }
}

/* A list of slots that somebody says to be done, in circles perhaps. */
static inline void
scribble_list(const fp_shm *m)
{
    u32 first = some_slot(m), last = first, w = (u32)take_below(m->nworkers + 1);
    for (u64 n = take_below(4); n > 0; n--) {
        u32 next = some_slot(m);
        fp_store_seq_cst(&m->slots[last].sl_next, next + 1);
        last = next;
        fp_store_seq_cst(&m->slots[next].sl_state, fp_word(generation_of(m, next), w, FP_DONE));
    }
    fp_store_seq_cst(&m->slots[first].sl_state, fp_word(generation_of(m, first), w, FP_DONE));
    fp_store_seq_cst(&m->head->cq_head, (first + 1) | ((u32)take(1) & 3u) << 30);
}

static inline void
scribble(const fp_shm *m)
{
    switch (take_below(7)) {
    case 0: scribble_head(m); break;
    case 1: scribble_worker(m); break;
    case 2: scribble_slot(m); break;
    case 3: scribble_owners(m); break;
    case 4: scribble_function(m); break;
    case 5: scribble_bytes(m); break;
    default: scribble_list(m); break;
    }
}

#endif
