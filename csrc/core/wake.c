#include "wake.h"
#include "error.h"
#include "os.h"
#include "ring.h"

static u32
idle_words(const fp_shm *m)
{
    return (m->nworkers + 63u) / 64u;
}

static void
wake(const fp_shm *m, u32 w)
{
    fp_a32 *word = &m->workers[w].wk_futex;
    fp_store_seq_cst(word, 0);
    fp_futex_wake(word, 1, true);
}

#define UNDER_WAY_US 1000u   /* a wake that takes longer is not relied on */

static u64
now_us(void)
{
    return fp_now() / 1000u;
}

static bool
is_under_way(u64 waking)
{
    return waking != 0 && now_us() - (waking >> 16) < UNDER_WAY_US;
}

void
fp_wake_arrived(const fp_shm *m, u32 w)
{
    u64 waking = fp_load_seq_cst(&m->head->wk_waking);
    if ((waking & 0xffffu) == w + 1) {
        fp_cas64(&m->head->wk_waking, waking, 0);
    }
}

static bool
find_sleeper(const fp_shm *m, u32 *w)
{
    for (u32 i = 0; i < idle_words(m); i++) {
        u64 bits = fp_load_seq_cst(&m->idle[i]);
        if (bits != 0) {
            *w = i * 64u + (u32)__builtin_ctzll(bits);
            return *w < m->nworkers;
        }
    }
    return false;
}

/* The promise comes before the bit is taken: so the worker, which takes its bit itself when it gets up by
 * itself, either finds the promise when it arrives, or keeps the bit from us; then we take the promise back
 * and look once more, for whoever relied on it. */
bool
fp_wake_one(const fp_shm *m)
{
    for (;;) {
        u32 w;
        u64 before = fp_load_seq_cst(&m->head->wk_waking);
        if (is_under_way(before) || !find_sleeper(m, &w)) {
            return false;
        }
        u64 promise = now_us() << 16 | (w + 1);
        if (!fp_cas64(&m->head->wk_waking, before, promise)) {
            continue;
        }
        if (fp_sleep_cancel(m, w)) {
            wake(m, w);
            return true;
        }
        fp_cas64(&m->head->wk_waking, promise, 0);
    }
}

void
fp_wake_all(const fp_shm *m)
{
    for (u32 w = 0; w < m->nworkers; w++) {
        wake(m, w);
    }
}

void
fp_wake_for_task(const fp_shm *m)
{
    u32 watcher = fp_load_seq_cst(&m->head->wk_watch);
    if (watcher != 0 && fp_cas32(&m->head->wk_watch, watcher, 0)) {
        return;
    }
    fp_wake_one(m);
}

void
fp_wake_helper(const fp_shm *m)
{
    if (!fp_ring_is_empty(m) && fp_load_seq_cst(&m->head->wk_watch) == 0) {
        fp_wake_one(m);
    }
}

bool
fp_watch_take(const fp_shm *m, u32 w)
{
    u32 holder = fp_load_relaxed(&m->head->wk_watch);
    return holder == w + 1 || (holder == 0 && fp_cas32(&m->head->wk_watch, 0, w + 1));
}

void
fp_watch_drop(const fp_shm *m, u32 w)
{
    /* acquire: if a submit took it from me, I must see its task now */
    if (fp_load_acquire(&m->head->wk_watch) == w + 1) {
        fp_cas32(&m->head->wk_watch, w + 1, 0);
    }
}

void
fp_sleep_announce(const fp_shm *m, u32 w)
{
    fp_store_seq_cst(&m->workers[w].wk_futex, 1);
    atomic_fetch_or(&m->idle[w / 64], 1ull << (w % 64));
    fp_watch_drop(m, w);
}

bool
fp_sleep_cancel(const fp_shm *m, u32 w)
{
    u64 bit = 1ull << (w % 64);
    return atomic_fetch_and(&m->idle[w / 64], ~bit) & bit;
}

int
fp_sleep(const fp_shm *m, u32 w, u64 deadline)
{
    fp_a32 *word = &m->workers[w].wk_futex;
    while (fp_load_acquire(word) == 1) {
        int rc = fp_futex_wait(word, 1, deadline, true);
        if (rc == FP_INTR || rc == FP_TIMEDOUT) {
            return rc;
        }
    }
    fp_sleep_cancel(m, w);   /* the waker cleared it, unless it was a wake for everybody */
    return FP_OK;
}

u32
fp_busy_workers(const fp_shm *m)
{
    u32 quiet = fp_load_relaxed(&m->head->wk_watch) != 0;
    for (u32 i = 0; i < idle_words(m); i++) {
        quiet += (u32)__builtin_popcountll(fp_load_relaxed(&m->idle[i]));
    }
    u32 live = fp_load_relaxed(&m->head->hd_live);
    return live > quiet ? live - quiet : 0;
}
