#define _GNU_SOURCE
#include "warm.h"
#include "os.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MOST (256u << 20)
#define OF_SHARED_MEMORY 8u   /* a pool has half of the machine's by itself: so this is a sixteenth of that */
#define KEPT_FOR 1000000000u  /* ns */
#define PAGE 4096u

static struct {
    pthread_mutex_t lock;
    fp_region *kept;        /* the last freed first */
    fp_a64 bytes;           /* of those; changed under the lock */
    fp_keeper *keepers;
    bool told;              /* one of those knows that something is kept */
    u64 trim_at;            /* when it will look */
    fp_a32 phase;           /* fp_phase: a worker's thread writes it, without the lock */
    u64 own_limit;          /* a worker's */
    fp_a32 is_used;         /* there has been a region */
} warm = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ------------------------------------------------------------------- regions */

static u64
rounded(u64 size, u64 to)
{
    return (size + to - 1) & ~(to - 1);
}

/* So that arrays of about the same size use each other's: an eighth is not used at most, and has no pages then. */
static u64
room_for(u64 size)
{
    u64 step = PAGE;
    while (step < size / 16) {
        step *= 2;
    }
    return rounded(size, step);
}

/* Beginning with a huge page if it is as large as one. */
static u8 *
map(u64 size)
{
    u64 more = size < FP_HUGE_PAGE ? 0 : FP_HUGE_PAGE;
    u8 *at = mmap(NULL, size + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return NULL;
    }
    if (more > 0) {
        u64 before = rounded((uintptr_t)at, FP_HUGE_PAGE) - (uintptr_t)at;
        if (before > 0) {
            munmap(at, before);
            at += before;
        }
        munmap(at + size, more - before);
    }
    return at;
}

static fp_region *
new_region(u64 size)
{
    fp_region *r = size <= UINT64_MAX / 4 ? calloc(1, sizeof *r) : NULL;
    if (r != NULL) {
        r->size = room_for(size);
        r->data = map(r->size);
        if (r->data == NULL) {
            free(r);
            r = NULL;
        }
        fp_store_relaxed(&warm.is_used, 1);
    }
    return r;
}

static void
free_regions(fp_region *r)
{
    while (r != NULL) {
        fp_region *next = r->next;
        if (munmap(r->data, r->size) != 0) {   /* it would make one mapping two, and there are as many as there may be */
            madvise(r->data, r->size, MADV_DONTNEED);
        }
        free(r);
        r = next;
    }
}

static fp_region *
take_all_locked(void)
{
    fp_region *all = warm.kept;
    warm.kept = NULL;
    warm.bytes = 0;
    return all;
}

/* ---------------------------------------------------------------------- fork */

static void
before_fork(void)
{
    pthread_mutex_lock(&warm.lock);
}

static void
after_fork(void)
{
    pthread_mutex_unlock(&warm.lock);
}

/* The pools are the parent's, and so is what they keep; and it is no worker. */
static void
in_child(void)
{
    fp_region *kept = take_all_locked();
    warm.own_limit = 0;
    warm.phase = FP_WARM_PROGRAM;
    warm.keepers = NULL;
    warm.told = false;
    pthread_mutex_unlock(&warm.lock);
    free_regions(kept);
}

static void
watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

static void
lock(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&warm.lock);
}

static void
unlock(void)
{
    pthread_mutex_unlock(&warm.lock);
}

/* -------------------------------------------------------------- how much is kept */

u64
fp_warm_limit(u64 shared_memory)
{
    u64 limit = shared_memory / OF_SHARED_MEMORY;
    return limit < MOST ? limit : MOST;
}

/* Memory that is kept might be missed elsewhere. */
static bool
is_scarce(void)
{
    return fp_rlimit(RLIMIT_AS) != UINT64_MAX || fp_rlimit(RLIMIT_DATA) != UINT64_MAX;
}

static u64
limit_locked(void)
{
    u64 most = 0;
    for (const fp_keeper *k = warm.keepers; k != NULL; k = k->next) {
        most = k->limit > most ? k->limit : most;
    }
    return fp_load_relaxed(&warm.phase) == FP_WARM_PROGRAM ? most : warm.own_limit;
}

static bool
may_keep_locked(u64 size)
{
    u32 phase = fp_load_relaxed(&warm.phase);
    return (phase == FP_WARM_PROGRAM || phase == FP_WARM_BETWEEN) && size <= limit_locked();
}

bool
fp_warm_is_for(u64 size)
{
    lock();
    bool may = may_keep_locked(size);
    unlock();
    return may && !is_scarce();
}

bool
fp_warm_is_kept(void)
{
    return fp_load_relaxed(&warm.bytes) != 0;
}

void
fp_warm_drop(void)
{
    lock();
    fp_region *all = take_all_locked();
    unlock();
    free_regions(all);
}

/* --------------------------------------------------------------- take and give */

static fp_region *
take_kept(u64 size)
{
    lock();
    fp_region **p = &warm.kept;
    while (*p != NULL && ((*p)->size < size || (*p)->size - size > size / 4)) {
        p = &(*p)->next;
    }
    fp_region *r = *p;
    if (r != NULL) {
        *p = r->next;
        warm.bytes -= r->size;
    }
    unlock();
    return r;
}

fp_region *
fp_warm_take(u64 size)
{
    fp_region *r = take_kept(size);
    if (r != NULL) {
        r->is_warm = true;
        return r;
    }
    r = new_region(size);
    if (r == NULL && fp_warm_is_kept()) {
        fp_warm_drop();
        r = new_region(size);
    }
    return r;
}

static void
tell_locked(void)
{
    if (!warm.told && warm.kept != NULL && warm.keepers != NULL) {
        warm.told = true;
        warm.trim_at = 0;
        fp_eventfd_ring(warm.keepers->bell);
    }
}

void
fp_warm_give(fp_region *r)
{
    bool scarce = is_scarce();
    lock();
    bool keep = !scarce && may_keep_locked(warm.bytes + r->size);
    r->next = NULL;
    if (keep) {
        r->freed = fp_now();
        r->next = warm.kept;
        warm.kept = r;
        warm.bytes += r->size;
        tell_locked();
    }
    unlock();
    if (!keep) {
        free_regions(r);
    }
}

/* ------------------------------------------------------------------- keepers */

void
fp_warm_join(fp_keeper *keeper, int bell, u64 limit)
{
    lock();
    *keeper = (fp_keeper){.bell = bell, .limit = limit, .next = warm.keepers};
    warm.keepers = keeper;
    tell_locked();
    unlock();
}

void
fp_warm_leave(fp_keeper *keeper)
{
    lock();
    fp_keeper **p = &warm.keepers;
    while (*p != keeper) {
        p = &(*p)->next;
    }
    *p = keeper->next;
    warm.told = false;   /* perhaps it was the one who knew */
    tell_locked();
    unlock();
}

void
fp_warm_rest(void)
{
    lock();
    bool is_over = warm.keepers == NULL && fp_load_relaxed(&warm.phase) == FP_WARM_PROGRAM;
    fp_region *all = is_over ? take_all_locked() : NULL;
    unlock();
    free_regions(all);
}

u64
fp_warm_trim(void)
{
    lock();
    u64 now = fp_now();   /* after all that has been freed */
    if (!warm.told || now < warm.trim_at) {
        u64 then = warm.told ? warm.trim_at : FP_NEVER;
        unlock();
        return then;
    }
    fp_region **p = &warm.kept;
    while (*p != NULL && now - (*p)->freed < KEPT_FOR) {
        p = &(*p)->next;
    }
    fp_region *old = *p;   /* and all behind it are older */
    *p = NULL;
    for (fp_region *r = old; r != NULL; r = r->next) {
        warm.bytes -= r->size;
    }
    warm.told = warm.kept != NULL;
    u64 then = warm.trim_at = warm.told ? now + KEPT_FOR : FP_NEVER;
    unlock();
    free_regions(old);
    return then;
}

/* ------------------------------------------------------------------- a worker */

void
fp_warm_become(fp_phase phase, u64 limit)
{
    lock();
    warm.own_limit = limit;
    fp_store_relaxed(&warm.phase, phase);
    fp_region *all = take_all_locked();
    unlock();
    free_regions(all);
}

bool
fp_warm_enter(fp_phase phase)
{
    fp_store_relaxed(&warm.phase, phase);
    if (!fp_load_relaxed(&warm.is_used) || phase == FP_WARM_BETWEEN) {
        return fp_warm_is_kept();
    }
    lock();   /* another thread may be giving something just now */
    fp_region *all = phase == FP_WARM_TASK ? take_all_locked() : NULL;
    unlock();
    free_regions(all);
    return fp_warm_is_kept();
}
