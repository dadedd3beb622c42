#include "pool_parts.h"
#include "os.h"

#define LET_GO_AFTER 50000000u   /* ns */

/* ----------------------------------------------- threads that have something to do */

/* Without a task, or with one that does not count. */
static void
wake_locked(fp_pool *p, fp_waiter *w)
{
    atomic_fetch_add(&w->nready, 1);
    fp_wait_notify_locked(p, w);
}

/* Have it woken if it runs, else started. */
static void
call_thread_locked(fp_pool *p, bool runs, fp_waiter *w)
{
    if (runs) {
        wake_locked(p, w);
    }
    else {
        fp_store_release(&p->thread_missed, 1);
        fp_eventfd_ring(p->bell);
    }
}

void
fp_pool_has_courier(fp_pool *p, bool has)
{
    pthread_mutex_lock(&p->lock);
    p->has_courier = has;
    pthread_mutex_unlock(&p->lock);
}

void
fp_pool_has_reader(fp_pool *p, bool has)
{
    pthread_mutex_lock(&p->lock);
    p->has_reader = has;
    pthread_mutex_unlock(&p->lock);
}

bool
fp_pool_needs_courier(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool needed = p->ended != NULL;
    pthread_mutex_unlock(&p->lock);
    return needed;
}

bool
fp_pool_needs_reader(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool needed = p->unread_first != NULL;
    pthread_mutex_unlock(&p->lock);
    return needed;
}

void
fp_pool_wake_threads(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    wake_locked(p, &p->courier);
    wake_locked(p, &p->reader);
    pthread_mutex_unlock(&p->lock);
}

/* ------------------------------------------------ replies that are read at once */

void
fp_read_at_once_locked(fp_pool *p, fp_task *t)
{
    t->next_unread = NULL;
    *(p->unread_last != NULL ? &p->unread_last->next_unread : &p->unread_first) = t;
    p->unread_last = t;
    call_thread_locked(p, p->has_reader, &p->reader);
}

fp_task *
fp_pool_next_unread(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_task *t = p->unread_first;
    if (t == NULL) {
        atomic_store(&p->reader.nready, 0);
    }
    else if ((p->unread_first = t->next_unread) == NULL) {
        p->unread_last = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    return t;
}

void
fp_pool_was_read(fp_pool *p, fp_task *t)
{
    pthread_mutex_lock(&p->lock);
    fp_settle_locked(p, t, FP_OUTCOME_REPLY);
    pthread_mutex_unlock(&p->lock);
}

/* ------------------------------------------------------ calls that are held
 *
 * The call of a task is a Python object: to let go of it takes the GIL, and may run anything. So that is the courier's. It need not
 * be told of each: it gets what has ended within LET_GO_AFTER. The manager takes turns:
 *
 *   NOTHING       no such task                       a task comes: LATER
 *   LATER         until let_go_at, then:             have any ended? TOLD. Are there others? AT_NEXT_END. Else NOTHING
 *   AT_NEXT_END   its bell rings when a task ends    then LATER
 *   TOLD          the courier is to take them        it has: LATER, or NOTHING
 */

static void
let_go_later_locked(fp_pool *p)
{
    p->let_go = FP_LET_GO_LATER;
    p->let_go_at = fp_now() + LET_GO_AFTER;
}

void
fp_count_call_locked(fp_pool *p, const fp_task *t)
{
    if (t->hands_over) {
        atomic_fetch_add(&p->handing, 1);
    }
    if (t->call == NULL) {
        return;
    }
    p->ncalls++;
    if (p->let_go == FP_LET_GO_NOTHING) {
        let_go_later_locked(p);
        fp_eventfd_ring(p->bell);
    }
}

void
fp_uncount_call_locked(fp_pool *p, fp_task *t)
{
    if (t->hands_over) {
        atomic_fetch_sub(&p->handing, 1);
        fp_wake_sender_locked(p);
    }
    if (t->call != NULL) {
        p->ncalls--;
        fp_task_incref(t);
        t->next_ended = p->ended;
        p->ended = t;
    }
}

fp_task *
fp_pool_take_ended(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_task *ended = p->ended;
    p->ended = NULL;
    if (p->let_go == FP_LET_GO_TOLD) {
        p->let_go = FP_LET_GO_NOTHING;
        if (p->ncalls > 0) {
            let_go_later_locked(p);
            fp_eventfd_ring(p->bell);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return ended;
}

static void
look_at_ended_locked(fp_pool *p)
{
    if (p->ended == NULL) {
        p->let_go = p->ncalls > 0 ? FP_LET_GO_AT_NEXT_END : FP_LET_GO_NOTHING;
        fp_arm_bell_locked(p);
        return;
    }
    p->let_go = FP_LET_GO_TOLD;
    call_thread_locked(p, p->has_courier, &p->courier);
}

u64
fp_pool_see_to_ended(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->let_go == FP_LET_GO_AT_NEXT_END) {
        let_go_later_locked(p);
    }
    else if (p->let_go == FP_LET_GO_LATER && fp_now() >= p->let_go_at) {
        look_at_ended_locked(p);
    }
    u64 then = p->let_go == FP_LET_GO_LATER ? p->let_go_at : FP_NEVER;
    pthread_mutex_unlock(&p->lock);
    return then;
}
