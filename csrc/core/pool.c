#include "pool_parts.h"
#include "admission.h"
#include "error.h"
#include "memory.h"
#include "os.h"
#include "wake.h"
#include "warm.h"

#include <stdlib.h>
#include <unistd.h>

#define PLACE_BUDGET (256u << 20)  /* bytes of calls that have been pickled and have not ended */

/* ------------------------------------------------------------------- life */

static int
alloc_private(fp_pool *p)
{
    u32 n = p->shm.nslots;
    p->slots = calloc(n, sizeof *p->slots);
    p->free_slots = malloc(n * sizeof *p->free_slots);
    p->completed_slots = malloc(n * sizeof *p->completed_slots);
    p->seats = calloc(p->shm.nworkers, sizeof *p->seats);
    p->fates = calloc(p->shm.nworkers, sizeof *p->fates);
    if (p->slots == NULL || p->free_slots == NULL || p->completed_slots == NULL || p->seats == NULL ||
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
    for (u32 w = 0; p->seats != NULL && w < p->shm.nworkers; w++) {
        if (p->seats[w].in_use) {
            fp_ticket_show(&p->shm, w, FP_TICKET_NOBODY);
        }
    }
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
    free(p->seats);
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
    fp_waiter_init(&p->reader);
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

/* -------------------------------------------------------- manager's calls */

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
    fp_warm_rest();   /* they may take their time */
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
    fp_wake_sender_locked(p);
    bool drained = is_drained_locked(p);
    pthread_mutex_unlock(&p->lock);
    fp_free_dropped(p);
    return drained;
}
