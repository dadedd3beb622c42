#include "spans.h"
#include "error.h"
#include "memory.h"
#include "os.h"

#define TRIM_AT_ONCE ((16u << 20) / FP_SPAN)   /* so that nobody waits for long */
#define TRIM_NAP 50000u                        /* ns */
#ifndef TRIM_PATIENCE                          /* a fuzzer has none */
#define TRIM_PATIENCE 100000000u               /* ns; it takes a few milliseconds */
#endif

static u32
count_of(u64 size)
{
    return (u32)((size + FP_SPAN - 1) / FP_SPAN);
}

u64
fp_spans_room(u64 size)
{
    return (u64)count_of(size) * FP_SPAN;
}

static u32
index_of(const fp_shm *m, u64 offset)
{
    return (u32)((offset - m->spans) / FP_SPAN);
}

static u32
owner_of(const fp_shm *m, u32 i)
{
    return fp_load_acquire(&m->owners[i]) & FP_SPAN_OWNER;
}

/* Change a word's owner, keeping RESERVED. Again if only USED has changed meanwhile. */
static bool
change_owner(const fp_shm *m, u32 i, u32 from, u32 to)
{
    u32 word;
    do {
        word = fp_load_acquire(&m->owners[i]);
        if ((word & FP_SPAN_OWNER) != from) {
            return false;
        }
    } while (!fp_cas32(&m->owners[i], word, to | (word & FP_SPAN_RESERVED) | FP_SPAN_USED));
    return true;
}

static void
free_run(const fp_shm *m, u32 first, u32 n)
{
    for (u32 i = first; i < first + n; i++) {
        u32 word = fp_load_relaxed(&m->owners[i]);
        fp_store_release(&m->owners[i], (word & FP_SPAN_RESERVED) | FP_SPAN_USED);
    }
}

/* Is it free, or about to be? Then it is when this returns. One that does not get there is not being trimmed, somebody
 * has written that word: nobody shall wait for it again. (If it was after all, the parent frees it when it gets to it.)
 * `*patience` is when a claim has waited for long enough, 0 as long as it has not waited at all. */
static bool
is_free(const fp_shm *m, u32 i, u64 *patience)
{
    while (owner_of(m, i) == FP_SPAN_TRIMMED) {
        u64 now = fp_now();
        if (*patience == 0) {
            *patience = now + TRIM_PATIENCE;
        }
        if (now >= *patience) {
            change_owner(m, i, FP_SPAN_TRIMMED, FP_SPAN_LOST);
            return false;
        }
        fp_nap_until(now + TRIM_NAP);
    }
    return owner_of(m, i) == FP_SPAN_FREE;
}

/* Claim spans [first, first + n): how many could be had. */
static u32
claim_run(const fp_shm *m, u32 owner, u32 first, u32 n, u64 *patience)
{
    u32 got = 0;
    while (got < n && is_free(m, first + got, patience) && change_owner(m, first + got, FP_SPAN_FREE, owner)) {
        got++;
    }
    return got;
}

static bool
is_reserved(const fp_shm *m, u32 i)
{
    return fp_load_relaxed(&m->owners[i]) & FP_SPAN_RESERVED;
}

/* Pages for [first, first + n), which are mine and have none. */
static int
reserve_together(const fp_shm *m, u32 first, u32 n)
{
    u64 offset = m->spans + (u64)first * FP_SPAN, size = (u64)n * FP_SPAN;
    if (!fp_memory_suffices(size)) {
        return FP_NOMEM;
    }
    if (fp_reserve(m->fd, offset, size) != FP_OK) {
        fp_release_pages(m->fd, offset, size);   /* it may have got some of them */
        return FP_NOMEM;
    }
    for (u32 i = first; i < first + n; i++) {
        fp_store_relaxed(&m->owners[i], fp_load_relaxed(&m->owners[i]) | FP_SPAN_RESERVED);
    }
    return FP_OK;
}

static int
reserve_run(const fp_shm *m, u32 first, u32 n)
{
    int rc = FP_OK;
    for (u32 i = first, end; rc == FP_OK && i < first + n; i = end) {
        bool there = is_reserved(m, i);
        for (end = i + 1; end < first + n && is_reserved(m, end) == there; end++) {
        }
        if (!there) {
            rc = reserve_together(m, i, end - i);
        }
    }
    return rc;
}

/* First fit in [from, to). */
static int
claim_between(const fp_shm *m, u32 owner, u32 from, u32 to, u32 n, u32 *first, u64 *patience)
{
    for (u32 i = from; i + n <= to; i++) {
        if (!is_free(m, i, patience)) {
            continue;
        }
        u32 got = claim_run(m, owner, i, n, patience);
        if (got == n) {
            *first = i;
            return FP_OK;
        }
        free_run(m, i, got);
        i += got;
    }
    return FP_NOMEM;
}

int
fp_spans_claim(const fp_shm *m, u32 owner, u32 first, u64 size, u64 *offset)
{
    if (size > (u64)m->nspans * FP_SPAN) {
        return FP_NOMEM;
    }
    u32 n = count_of(size), at = 0;
    u64 patience = 0;
    if (claim_between(m, owner, first, m->nspans, n, &at, &patience) != FP_OK &&
        claim_between(m, owner, 0, m->nspans, n, &at, &patience) != FP_OK) {
        return FP_NOMEM;
    }
    if (reserve_run(m, at, n) != FP_OK) {
        free_run(m, at, n);
        return FP_NOMEM;
    }
    *offset = m->spans + (u64)at * FP_SPAN;
    return FP_OK;
}

void
fp_spans_free(const fp_shm *m, u64 offset, u64 size)
{
    free_run(m, index_of(m, offset), count_of(size));
}

int
fp_spans_take_over(const fp_shm *m, u32 w, u64 offset, u64 size)
{
    if (size == 0 || !fp_shm_in_spans(m, offset, size) || (offset - m->spans) % FP_SPAN != 0) {
        return FP_CORRUPT;
    }
    u32 first = index_of(m, offset), n = count_of(size);
    for (u32 i = first; i < first + n; i++) {
        if (!change_owner(m, i, FP_SPAN_WORKER + w, FP_SPAN_PARENT)) {
            while (i-- > first) {   /* w may write there as long as it lives */
                change_owner(m, i, FP_SPAN_PARENT, FP_SPAN_WORKER + w);
            }
            return FP_CORRUPT;
        }
    }
    return FP_OK;
}

void
fp_spans_free_of(const fp_shm *m, u32 w)
{
    for (u32 i = 0; i < m->nspans; i++) {
        change_owner(m, i, FP_SPAN_WORKER + w, FP_SPAN_FREE);
    }
}

/* Take [first, ...), as many as have idle pages one after the other, from everybody. */
static u32
seize_idle_run(const fp_shm *m, u32 first)
{
    u32 n = 0;
    while (n < TRIM_AT_ONCE && first + n < m->nspans &&
           fp_cas32(&m->owners[first + n], FP_SPAN_RESERVED, FP_SPAN_TRIMMED)) {
        n++;
    }
    return n;
}

static void
give_pages_back(const fp_shm *m, u32 first, u32 n)
{
    fp_release_pages(m->fd, m->spans + (u64)first * FP_SPAN, (u64)n * FP_SPAN);
    for (u32 i = first; i < first + n; i++) {
        fp_store_release(&m->owners[i], FP_SPAN_FREE);
    }
}

bool
fp_spans_trim(const fp_shm *m, u32 keep)
{
    bool more = false;
    for (u32 i = 0; i < m->nspans; i++) {
        u32 word = fp_load_relaxed(&m->owners[i]);
        if (word & FP_SPAN_USED) {
            fp_cas32(&m->owners[i], word, word & ~FP_SPAN_USED);   /* if not: it is being used just now */
            more |= (word & FP_SPAN_RESERVED) != 0;
        }
        else if (word == FP_SPAN_RESERVED && keep > 0) {
            keep--;
        }
        else if (word == FP_SPAN_RESERVED) {
            u32 n = seize_idle_run(m, i);
            if (n > 0) {
                give_pages_back(m, i, n);
                i += n - 1;
            }
        }
    }
    return more;
}
