#include "pool_parts.h"
#include "admission.h"
#include "error.h"
#include "os.h"
#include "spans.h"
#include "wake.h"

#include <stdlib.h>
#include <string.h>

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
        if (!p->seats[w].in_use) {
            p->seats[w] = (fp_seat){.in_use = true};
            fp_store_relaxed(&k->wk_ticket, 0);
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

u32
fp_pool_new_ticket(fp_pool *p, u32 w)
{
    pthread_mutex_lock(&p->lock);
    do {
        p->last_ticket++;
    } while (p->last_ticket == 0 || p->last_ticket == FP_TICKET_NOBODY);
    u32 ticket = p->last_ticket;
    p->seats[w].ticket = ticket;
    pthread_mutex_unlock(&p->lock);
    return ticket;
}

void
fp_pool_admit(fp_pool *p, u32 w)
{
    pthread_mutex_lock(&p->lock);
    fp_seat *seat = &p->seats[w];
    if (seat->in_use) {
        seat->admitted = seat->ticket;
        fp_ticket_show(&p->shm, w, seat->ticket);
    }
    pthread_mutex_unlock(&p->lock);
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

void
fp_clear_worker_locked(fp_pool *p, u32 w)
{
    fp_worker_shm *k = &p->shm.workers[w];
    atomic_fetch_and(&p->shm.idle[w / 64], ~(1ull << (w % 64)));
    fp_cas32(&p->shm.head->wk_watch, w + 1, 0);
    fp_store_seq_cst(&p->shm.head->wk_waking, 0);
    fp_spans_free_of(&p->shm, w);
    fp_spans_came_free(p);
    fp_store_relaxed(&k->wk_slot, 0);
    fp_store_relaxed(&k->wk_started, 0);
    p->started--;
    count_workers_locked(p);
    fp_wake_all(&p->shm);             /* it may have owed somebody a wake */
    fp_wait_rouse_leader(p);
    fp_store_release(&k->wk_phase, FP_WORKER_NONE);
    p->seats[w].in_use = false;
    fp_ticket_show(&p->shm, w, FP_TICKET_NOBODY);
}
