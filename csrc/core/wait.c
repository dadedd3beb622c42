#include "wait.h"
#include "audit.h"
#include "error.h"
#include "os.h"
#include "pool.h"
#include "wake.h"

#define LOOK_AFTER 1000000000u   /* ns that the leader sleeps: then it looks whether all is in order */

static void
become_ready_locked(fp_node *node)
{
    fp_waiter *w = node->waiter;
    node->fired = true;
    node->next = NULL;
    if (w->ready_last != NULL) {
        w->ready_last->next = node;
    }
    else {
        w->ready_first = node;
    }
    w->ready_last = node;
    atomic_fetch_add(&w->nready, 1);
}

/* Without the bit it is awake, or the worker that took the bit wakes it. */
static void
kick_leader(fp_pool *p)
{
    u32 old = atomic_fetch_and(&p->shm.head->cq_head, ~FP_CQ_WAITER);
    if (old & FP_CQ_WAITER) {
        fp_futex_wake(&p->shm.head->cq_head, 1, true);
    }
}

void
fp_wait_rouse_leader(fp_pool *p)
{
    atomic_fetch_and(&p->shm.head->cq_head, ~FP_CQ_WAITER);
    fp_futex_wake(&p->shm.head->cq_head, 1, true);   /* even without the bit: who took it is dead, perhaps */
}

/* Whoever settles a task is not the leader just then: it gives the role up before it pumps. */
void
fp_wait_notify_locked(fp_pool *p, fp_waiter *w)
{
    if (w == p->leader) {
        kick_leader(p);
    }
    else if (fp_load_relaxed(&w->word) == 0) {
        fp_store_release(&w->word, 1);
        fp_futex_wake(&w->word, 1, false);
    }
}

void
fp_wait_fire_locked(fp_pool *p, fp_task *t)
{
    fp_node *node = t->nodes;
    t->nodes = NULL;
    while (node != NULL) {
        fp_node *next = node->next;
        become_ready_locked(node);
        fp_wait_notify_locked(p, node->waiter);
        node = next;
    }
}

void
fp_wait_add(fp_pool *p, fp_waiter *w, fp_node *node, fp_task *t)
{
    *node = (fp_node){.waiter = w, .task = t};
    pthread_mutex_lock(&p->lock);
    if (fp_task_is_done(t)) {
        become_ready_locked(node);
    }
    else {
        node->next = t->nodes;
        t->nodes = node;
    }
    pthread_mutex_unlock(&p->lock);
}

static void
unlink_locked(fp_node *node)
{
    fp_node **at = &node->task->nodes;
    while (*at != NULL && *at != node) {
        at = &(*at)->next;
    }
    if (*at == node) {
        *at = node->next;
    }
}

void
fp_wait_remove(fp_pool *p, fp_node *node)
{
    pthread_mutex_lock(&p->lock);
    if (!node->fired) {
        unlink_locked(node);
    }
    pthread_mutex_unlock(&p->lock);
}

fp_node *
fp_wait_take(fp_pool *p, fp_waiter *w)
{
    pthread_mutex_lock(&p->lock);
    fp_node *node = w->ready_first;
    if (node != NULL) {
        w->ready_first = node->next;
        if (w->ready_first == NULL) {
            w->ready_last = NULL;
        }
        atomic_fetch_sub(&w->nready, 1);
    }
    pthread_mutex_unlock(&p->lock);
    return node;
}

typedef struct {
    const fp_pool *pool;
    const fp_waiter *waiter;
    u32 want;
} fp_leading;

static bool
something_came(const void *arg)
{
    const fp_leading *l = arg;
    return (fp_load_acquire(&l->pool->shm.head->cq_head) & FP_CQ_SLOT) ||
           fp_load_acquire(&l->waiter->nready) >= l->want;
}

/* Sleep on the completed list. 0: look again; FP_TIMEDOUT; FP_INTR. */
static int
sleep_on_list(fp_pool *p, fp_waiter *w, u32 want, u64 deadline)
{
    fp_a32 *list = &p->shm.head->cq_head;
    u32 old = fp_load_seq_cst(list);
    do {
        if (old & FP_CQ_SLOT) {
            return FP_OK;
        }
    } while (!atomic_compare_exchange_weak(list, &old, old | FP_CQ_WAITER));
    if (fp_load_seq_cst(&w->nready) >= want) {
        return FP_OK;   /* the bit stays: one wake too many does no harm */
    }
    u64 since = fp_now();
    int rc = fp_futex_wait(list, old | FP_CQ_WAITER, deadline, true);
    if (rc == FP_OK) {
        fp_spin_slept(&p->spin, since);
    }
    return rc == FP_AGAIN ? FP_OK : rc;
}

/* May it sleep now? FP_AGAIN if the caller wants to be asked first. */
static int
before_sleep(fp_waiter *w)
{
    if (w->wary == FP_WARY) {
        return FP_AGAIN;
    }
    if (w->wary == FP_CHECKED) {
        w->wary = FP_WARY;
    }
    return FP_OK;
}

/* The leader's turn, without the lock; the role protects p->spin. FP_EMPTY: it has slept for long and nothing came. */
static int
lead(fp_pool *p, fp_waiter *w, u32 want, u64 nap, u64 deadline)
{
    const fp_leading arg = {p, w, want};
    bool spins = p->spin.cpus > 1 && w->wary != FP_CHECKED && fp_busy_workers(&p->shm) < p->spin.cpus;
    if (spins && fp_spin_until(&p->spin, something_came, &arg)) {
        return FP_OK;
    }
    if (before_sleep(w) != FP_OK) {
        return FP_AGAIN;
    }
    if (nap != 0 && nap < deadline) {
        return fp_nap_until(nap);
    }
    u64 look = fp_now() + LOOK_AFTER;
    int rc = sleep_on_list(p, w, want, look < deadline ? look : deadline);
    return rc == FP_TIMEDOUT && look < deadline ? FP_EMPTY : rc;
}

static int
follow(fp_waiter *w, u64 deadline)
{
    if (before_sleep(w) != FP_OK) {
        return FP_AGAIN;
    }
    int rc = fp_futex_wait(&w->word, 0, deadline, false);
    return rc == FP_AGAIN ? FP_OK : rc;
}

static void
leave_followers_locked(fp_pool *p, fp_waiter *w)
{
    fp_waiter **at = &p->followers;
    while (*at != NULL && *at != w) {
        at = &(*at)->next;
    }
    if (*at == w) {
        *at = w->next;
    }
}

static void
name_next_leader_locked(fp_pool *p)
{
    if (p->leader == NULL && p->followers != NULL) {
        fp_wait_notify_locked(p, p->followers);
    }
    else if (p->told > 0) {
        fp_wait_courier_is_needed_locked(p);
    }
}

void
fp_wait_courier_is_needed_locked(fp_pool *p)
{
    if (p->leader == NULL && p->followers == NULL) {
        fp_wait_notify_locked(p, &p->courier);
    }
}

/* Nobody is to be told of anything: others, who wait for results, had better lead. */
static bool
stands_aside(const fp_pool *p, const fp_waiter *w)
{
    return w == &p->courier && p->told == 0;
}

/* It does not lead, though nobody else waits. */
static bool
never_leads(const fp_pool *p, const fp_waiter *w)
{
    return w == &p->reader || (w == &p->courier && !p->has_told);
}

/* Neither leader nor follower: whoever has something for it wakes it. */
static int
wait_aside_locked(fp_pool *p, fp_waiter *w, u64 deadline)
{
    name_next_leader_locked(p);
    fp_store_relaxed(&w->word, 0);
    pthread_mutex_unlock(&p->lock);
    int rc = follow(w, deadline);
    pthread_mutex_lock(&p->lock);
    fp_store_relaxed(&w->word, 1);
    return rc;
}

/* One turn of waiting: as the leader if there is none, else as a follower. */
static int
wait_turn_locked(fp_pool *p, fp_waiter *w, u32 want, u64 deadline)
{
    int rc;
    if (never_leads(p, w) || (p->followers != NULL && stands_aside(p, w))) {
        return wait_aside_locked(p, w, deadline);
    }
    if (p->leader == NULL) {
        p->leader = w;
        u64 unfinished = fp_load_relaxed(&p->unfinished);
        u64 nap = fp_nap_plan(&p->nap, fp_now(), p->demanded - unfinished, unfinished);
        pthread_mutex_unlock(&p->lock);
        rc = lead(p, w, want, nap, deadline);
        pthread_mutex_lock(&p->lock);
        p->leader = NULL;
        if (rc == FP_EMPTY) {
            fp_look_around_locked(p);
            rc = FP_OK;
        }
    }
    else {
        fp_store_relaxed(&w->word, 0);
        w->next = p->followers;
        p->followers = w;
        if (stands_aside(p, p->leader)) {
            kick_leader(p);
        }
        pthread_mutex_unlock(&p->lock);
        rc = follow(w, deadline);
        pthread_mutex_lock(&p->lock);
        fp_store_relaxed(&w->word, 1);
        leave_followers_locked(p, w);
    }
    return rc;
}

int
fp_wait(fp_pool *p, fp_waiter *w, u32 want, u64 deadline)
{
    int rc = FP_OK;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        fp_pool_pump_locked(p);
        if (fp_load_relaxed(&w->nready) >= want) {
            rc = FP_OK;
            break;
        }
        if (rc == FP_OK && deadline != FP_NEVER && fp_now() >= deadline) {
            rc = FP_TIMEDOUT;
        }
        if (rc != FP_OK) {
            break;
        }
        rc = wait_turn_locked(p, w, want, deadline);
    }
    name_next_leader_locked(p);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int
fp_wait_task(fp_pool *p, fp_task *t, u64 deadline)
{
    fp_waiter w;
    fp_node node;
    fp_waiter_init(&w);
    fp_wait_add(p, &w, &node, t);
    int rc = fp_wait(p, &w, 1, deadline);
    fp_wait_remove(p, &node);
    return rc;
}
