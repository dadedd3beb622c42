/* Waiting natively: leader and followers, handover, time-outs, signals. */
#define _GNU_SOURCE
#include "crew.h"

static crew c;

typedef struct {
    pthread_t thread;
    fp_task *task;
    u64 deadline;
    fp_a32 done;
    int rc;
} waiting;

static void *
wait_in_thread(void *arg)
{
    waiting *w = arg;
    w->rc = fp_wait_task(c.pool, w->task, w->deadline);
    CHECK(w->rc != FP_OK || fp_now() < w->deadline);   /* woken, not timed out and done meanwhile */
    fp_store_release(&w->done, 1);
    return NULL;
}

static void
start_waiting(waiting *w, fp_task *t, u64 deadline)
{
    *w = (waiting){.task = t, .deadline = deadline};
    CHECK_EQ(pthread_create(&w->thread, NULL, wait_in_thread, w), 0);
}

static int
end_waiting(waiting *w)
{
    pthread_join(w->thread, NULL);
    return w->rc;
}

static u32
followers(void)
{
    u32 n = 0;
    pthread_mutex_lock(&c.pool->lock);
    for (fp_waiter *w = c.pool->followers; w != NULL; w = w->next) {
        n += fp_load_relaxed(&w->word) == 0;
    }
    pthread_mutex_unlock(&c.pool->lock);
    return n;
}

static void
open_with(u32 nworkers)
{
    crew_open(&c, nworkers);
    for (u32 i = 0; i < nworkers; i++) {
        crew_start(&c);
    }
}

static void
test_a_sleeping_leader_is_woken_by_the_worker(void)
{
    open_with(1);
    for (u32 i = 0; i < 300; i++) {
        order o = {.id = i, .act = HOLD};
        waiting w;
        stage_close_gate();
        start_waiting(&w, crew_give(&c, o, 0), BOUND);
        EVENTUALLY(leader_is_asleep(c.pool));
        stage_open_gate();
        CHECK_EQ(end_waiting(&w), FP_OK);
        crew_expect(&c, w.task, o);
    }
    crew_close(&c);
}

static void
test_followers_are_woken_by_whoever_pumps(void)
{
    enum { N = 6 };
    open_with(1);
    order o = {.act = HOLD};
    waiting w[N];
    stage_close_gate();
    for (u32 i = 0; i < N; i++) {
        o.id = i;
        start_waiting(&w[i], crew_give(&c, o, 0), BOUND);
    }
    EVENTUALLY(leader_is_asleep(c.pool) && followers() == N - 1);
    stage_open_gate();
    for (u32 i = 0; i < N; i++) {
        o.id = i;
        CHECK_EQ(end_waiting(&w[i]), FP_OK);
        crew_expect(&c, w[i].task, o);
    }
    crew_close(&c);
}

static void
test_several_wait_for_one_task(void)
{
    enum { N = 4 };
    open_with(1);
    order o = {.id = 1, .act = HOLD};
    waiting w[N];
    stage_close_gate();
    fp_task *t = crew_give(&c, o, 0);
    for (u32 i = 0; i < N; i++) {
        start_waiting(&w[i], t, BOUND);
    }
    EVENTUALLY(leader_is_asleep(c.pool) && followers() == N - 1);
    stage_open_gate();
    for (u32 i = 0; i < N; i++) {
        CHECK_EQ(end_waiting(&w[i]), FP_OK);
    }
    crew_expect(&c, t, o);
    crew_close(&c);
}

static void
test_a_leader_that_times_out_names_the_next(void)
{
    open_with(2);
    order slow = {.id = 1, .act = HOLD}, also = {.id = 2, .act = HOLD};
    waiting leader, follower;
    stage_close_gate();
    fp_task *a = crew_give(&c, slow, 0), *b = crew_give(&c, also, 0);
    u64 deadline = fp_now() + 30000000;
    start_waiting(&leader, a, deadline);
    EVENTUALLY(leader_is_asleep(c.pool));
    start_waiting(&follower, b, BOUND);
    CHECK_EQ(end_waiting(&leader), FP_TIMEDOUT);
    CHECK(fp_now() >= deadline);
    pthread_mutex_lock(&c.pool->lock);
    CHECK(a->nodes == NULL);   /* nothing of it is left behind */
    pthread_mutex_unlock(&c.pool->lock);
    stage_await_began(2);
    stage_open_gate();
    CHECK_EQ(end_waiting(&follower), FP_OK);
    crew_expect(&c, b, also);
    crew_await(&c, a, slow);
    crew_close(&c);
}

static void
test_a_follower_times_out(void)
{
    open_with(1);
    order o = {.id = 1, .act = HOLD}, p = {.id = 2};
    waiting leader, follower;
    stage_close_gate();
    fp_task *a = crew_give(&c, o, 0), *b = crew_give(&c, p, 0);
    start_waiting(&leader, a, BOUND);
    EVENTUALLY(leader_is_asleep(c.pool));
    u64 deadline = fp_now() + 5000000;
    start_waiting(&follower, b, deadline);
    CHECK_EQ(end_waiting(&follower), FP_TIMEDOUT);
    CHECK(fp_now() >= deadline);
    CHECK_EQ(followers(), 0);
    stage_open_gate();
    CHECK_EQ(end_waiting(&leader), FP_OK);
    crew_expect(&c, a, o);
    crew_await(&c, b, p);
    crew_close(&c);
}

static void
test_a_past_deadline_only_looks(void)
{
    open_with(1);
    order o = {.id = 1, .act = HOLD};
    stage_close_gate();
    fp_task *t = crew_give(&c, o, 0);
    CHECK_EQ(fp_wait_task(c.pool, t, 0), FP_TIMEDOUT);
    stage_open_gate();
    crew_await(&c, t, o);
    fp_task *done = crew_give(&c, (order){.id = 2}, 0);
    EVENTUALLY((fp_pool_pump(c.pool), fp_task_is_done(done)));
    CHECK_EQ(fp_wait_task(c.pool, done, 0), FP_OK);
    crew_expect(&c, done, (order){.id = 2});
    crew_close(&c);
}

static void
on_signal(int signal_number)
{
    (void)signal_number;
}

static void
interrupt(waiting *w)
{
    while (!fp_load_acquire(&w->done)) {
        pthread_kill(w->thread, SIGUSR1);
        sched_yield();
    }
    CHECK_EQ(end_waiting(w), FP_INTR);
}

static void
test_signals_end_a_wait_and_the_next_leads(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    open_with(1);
    order o = {.id = 1, .act = HOLD}, p = {.id = 2};
    waiting leader, follower, last;
    stage_close_gate();
    fp_task *a = crew_give(&c, o, 0), *b = crew_give(&c, p, 0);
    start_waiting(&leader, a, BOUND);
    EVENTUALLY(leader_is_asleep(c.pool));
    start_waiting(&follower, a, BOUND);
    start_waiting(&last, b, BOUND);
    EVENTUALLY(followers() == 2);
    interrupt(&leader);
    interrupt(&follower);
    EVENTUALLY(leader_is_asleep(c.pool));
    stage_open_gate();
    CHECK_EQ(end_waiting(&last), FP_OK);
    crew_expect(&c, b, p);
    crew_await(&c, a, o);
    crew_close(&c);
}

static void
test_some_of_many(void)
{
    enum { N = 10 };
    open_with(2);
    fp_waiter w;
    fp_node nodes[N];
    fp_task *tasks[N];
    fp_waiter_init(&w);
    stage_close_gate();
    for (u32 i = 0; i < N; i++) {
        tasks[i] = crew_give(&c, (order){.id = i, .act = i == 3 ? HOLD : ANSWER}, 0);
        fp_wait_add(c.pool, &w, &nodes[i], tasks[i]);
    }
    u64 bound = BOUND;
    CHECK_EQ(fp_wait(c.pool, &w, N - 1, bound), FP_OK);
    CHECK(fp_now() < bound);
    CHECK_EQ(fp_wait(c.pool, &w, N, fp_now() + 1000000), FP_TIMEDOUT);
    u32 taken = 0;
    for (fp_node *n; (n = fp_wait_take(c.pool, &w)) != NULL; taken++) {
        CHECK(fp_task_is_done(n->task) && n->fired);
    }
    CHECK_EQ(taken, N - 1);
    fp_wait_remove(c.pool, &nodes[3]);
    CHECK(tasks[3]->nodes == NULL);
    fp_wait_add(c.pool, &w, &nodes[0], tasks[0]);   /* done already: ready at once */
    CHECK(fp_wait_take(c.pool, &w) == &nodes[0]);
    stage_open_gate();
    for (u32 i = 0; i < N; i++) {
        crew_await(&c, tasks[i], (order){.id = i});
    }
    crew_close(&c);
}

/* --------------------------------------------- threads that submit and wait, all at once */

#define THREADS 4u
#define EACH 3000u

static void *
submit_and_wait(void *arg)
{
    u32 me = (u32)(uintptr_t)arg;
    u64 seed = me;
    for (u32 i = 0; i < EACH;) {
        fp_task *tasks[64];
        u32 n = 1 + (u32)(check_random(&seed) % 64), first = me * EACH + i;
        n = n > EACH - i ? EACH - i : n;
        for (u32 j = 0; j < n; j++) {
            tasks[j] = crew_give(&c, (order){.id = first + j, .size = j % 5 * 300}, j % 3 * 400);
        }
        i += n;
        while (n-- > 0) {
            order o = {.id = first + n, .size = n % 5 * 300};
            if (check_random(&seed) % 4 == 0) {
                fp_wait_task(c.pool, tasks[n], fp_now() + check_random(&seed) % 50000);
            }
            crew_await(&c, tasks[n], o);
        }
    }
    return NULL;
}

static void
test_threads_submit_and_wait(unsigned cpus, u32 nworkers)
{
    crew_open(&c, nworkers);
    c.pool->spin.cpus = cpus;   /* 1: a leader sleeps at once */
    for (u32 i = 0; i < nworkers; i++) {
        crew_start(&c);
    }
    pthread_t threads[THREADS];
    for (u32 i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, submit_and_wait, (void *)(uintptr_t)i);
    }
    for (u32 i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    crew_close(&c);
}

/* ------------------------------------------------------------------ the courier */

static fp_a32 visits, leaves;

/* The courier's life, without Python: counts the tasks that it is given. */
static void *
be_courier(void *arg)
{
    fp_pool *p = c.pool;
    while (!fp_load_acquire(&leaves)) {
        fp_wait(p, &p->courier, 1, FP_NEVER);
        pthread_mutex_lock(&p->lock);
        fp_task *t = p->courier_first;
        if (t != NULL) {
            p->courier_first = t->next_for_courier;
            p->courier_last = p->courier_first ? p->courier_last : NULL;
            atomic_fetch_sub(&p->courier.nready, 1);
            atomic_fetch_add(&visits, 1);
        }
        pthread_mutex_unlock(&p->lock);
        if (t != NULL) {
            fp_pool_drop_task(p, t);
        }
    }
    return arg;
}

static bool
courier_leads(void)
{
    pthread_mutex_lock(&c.pool->lock);
    bool leads = c.pool->leader == &c.pool->courier;
    pthread_mutex_unlock(&c.pool->lock);
    return leads && leader_is_asleep(c.pool);
}

static bool
courier_stands_aside(void)
{
    pthread_mutex_lock(&c.pool->lock);
    bool aside = c.pool->leader != &c.pool->courier && fp_load_relaxed(&c.pool->courier.word) == 0;
    pthread_mutex_unlock(&c.pool->lock);
    return aside;
}

static void
dismiss_courier(pthread_t thread)
{
    fp_store_release(&leaves, 1);
    pthread_mutex_lock(&c.pool->lock);
    atomic_fetch_add(&c.pool->courier.nready, 1);
    fp_wait_notify_locked(c.pool, &c.pool->courier);
    pthread_mutex_unlock(&c.pool->lock);
    pthread_join(thread, NULL);
}

/* Who waits for a result leads, not the courier, unless that is to be told of something; and then it is told, whoever waits. It does
 * not lead before it has been told of anything. */
static void
test_the_courier_stands_aside(void)
{
    enum { N = 100 };
    pthread_t courier;
    open_with(1);
    CHECK_EQ(pthread_create(&courier, NULL, be_courier, NULL), 0);
    EVENTUALLY(courier_stands_aside());
    pthread_mutex_lock(&c.pool->lock);
    CHECK(c.pool->leader == NULL);
    c.pool->has_told = true;
    fp_wait_courier_is_needed_locked(c.pool);
    pthread_mutex_unlock(&c.pool->lock);
    EVENTUALLY(courier_leads());
    for (u32 i = 0; i < N; i++) {
        order o = {.id = 3 * i, .act = HOLD}, told = {.id = 3 * i + 1, .act = HOLD}, quick = {.id = 3 * i + 2};
        waiting w;
        stage_close_gate();
        start_waiting(&w, crew_give(&c, o, 0), BOUND);
        if (i == 0) {   /* later it may already do so */
            EVENTUALLY(courier_stands_aside() && leader_is_asleep(c.pool));
        }
        fp_task *t = crew_give(&c, told, 0);
        CHECK(fp_pool_tell_courier(c.pool, t, false));
        stage_open_gate();
        CHECK_EQ(end_waiting(&w), FP_OK);
        crew_expect(&c, w.task, o);
        EVENTUALLY(fp_load_acquire(&visits) == 2 * i + 1);   /* though nobody else waits any more */
        crew_expect(&c, t, told);
        t = crew_give(&c, quick, 0);
        crew_wait_for(&c, t);
        CHECK(!fp_pool_tell_courier(c.pool, t, true));       /* it has ended: visited all the same */
        EVENTUALLY(fp_load_acquire(&visits) == 2 * i + 2);
        crew_expect(&c, t, quick);
    }
    CHECK_EQ(c.pool->told, 0);
    dismiss_courier(courier);
    crew_close(&c);
}

int
main(void)
{
    check_within(150);
    test_a_sleeping_leader_is_woken_by_the_worker();
    test_followers_are_woken_by_whoever_pumps();
    test_several_wait_for_one_task();
    test_a_leader_that_times_out_names_the_next();
    test_a_follower_times_out();
    test_a_past_deadline_only_looks();
    test_signals_end_a_wait_and_the_next_leads();
    test_some_of_many();
    test_the_courier_stands_aside();
    test_threads_submit_and_wait(1, 1);
    test_threads_submit_and_wait(2, 3);
    return 0;
}
