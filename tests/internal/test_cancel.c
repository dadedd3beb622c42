/* Cancelling: possible until a worker has claimed the task, with one winner. */
#include "crew.h"

static crew c;

static void
test_until_it_is_claimed(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    stage_close_gate();
    order held = {.id = 1, .act = HOLD, .size = 600}, next = {.id = 2};
    fp_task *running = crew_give(&c, held, 0), *queued = crew_give(&c, next, 5000);
    stage_await_began(1);
    CHECK(fp_pool_is_running(c.pool, running));
    CHECK(!fp_pool_is_running(c.pool, queued));
    CHECK(!fp_pool_cancel(c.pool, running));
    CHECK(fp_pool_cancel(c.pool, queued));
    CHECK(!fp_pool_cancel(c.pool, queued));   /* true once */
    stage_open_gate();
    crew_await(&c, running, held);
    crew_expect_outcome(&c, queued, FP_OUTCOME_CANCELLED);
    CHECK_EQ(fp_load_acquire(&stage->runs[2]), 0);
    fp_task *after = crew_give(&c, (order){.id = 3}, 0);
    crew_await(&c, after, (order){.id = 3});
    crew_close(&c);
}

static void
test_a_done_task_stays_done(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    order o = {.id = 1};
    fp_task *t = crew_give(&c, o, 0);
    crew_wait_for(&c, t);
    CHECK(!fp_pool_cancel(c.pool, t));
    CHECK(!fp_pool_is_running(c.pool, t));
    crew_expect(&c, t, o);
    crew_close(&c);
}

static void *
wait_for(void *arg)
{
    crew_wait_for(&c, arg);
    return NULL;
}

static void
test_who_waits_for_it_is_woken(void)
{
    crew_open(&c, 1);   /* no worker at all */
    fp_task *t = crew_give(&c, (order){.id = 1}, 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, wait_for, t);
    }
    EVENTUALLY(leader_is_asleep(c.pool));
    CHECK(fp_pool_cancel(c.pool, t));
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    crew_expect_outcome(&c, t, FP_OUTCOME_CANCELLED);
    crew_close(&c);
}

static void
test_everything_that_waits(void)
{
    enum { N = 3000 };   /* more than there are slots */
    crew_open(&c, 2);
    crew_start(&c);
    crew_start(&c);
    stage_close_gate();
    static fp_task *tasks[N];
    for (u32 i = 0; i < N; i++) {
        tasks[i] = crew_give(&c, (order){.id = i, .act = HOLD}, i % 5 * 500);
    }
    stage_await_began(2);
    fp_pool_cancel_pending(c.pool);
    stage_open_gate();
    for (u32 i = 0; i < 2; i++) {
        crew_await(&c, tasks[i], (order){.id = i});
    }
    for (u32 i = 2; i < N; i++) {
        crew_expect_outcome(&c, tasks[i], FP_OUTCOME_CANCELLED);
        CHECK_EQ(fp_load_acquire(&stage->runs[i]), 0);
    }
    crew_close(&c);
}

/* --------------------------------- threads cancel while others submit and workers claim */

#define N 12000u

static fp_task *_Atomic tasks[N];
static fp_a32 cancelled[N];

static void *
submit_all(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < N; i++) {
        fp_task *t = crew_give(&c, (order){.id = i}, i % 3 * 300);
        fp_task_incref(t);   /* one for who cancels, one for who looks at the end */
        atomic_store(&tasks[i], t);
    }
    return NULL;
}

static void *
cancel_some(void *arg)
{
    u64 seed = (uintptr_t)arg;
    for (u32 i = 0; i < N; i++) {
        fp_task *t;
        while ((t = atomic_load(&tasks[i])) == NULL) {
            sched_yield();
        }
        if (check_random(&seed) % 2 && fp_pool_cancel(c.pool, t)) {
            atomic_fetch_add(&cancelled[i], 1);
        }
    }
    return NULL;
}

/* True if there were some of both: on a machine with much to do one side may come too late for all. */
static bool
cancelled_or_executed_never_both(void)
{
    for (u32 i = 0; i < N; i++) {
        atomic_store(&tasks[i], NULL);
        fp_store_relaxed(&cancelled[i], 0);
    }
    crew_open(&c, 3);
    for (u32 i = 0; i < 3; i++) {
        crew_start(&c);
    }
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, submit_all, NULL);
    pthread_create(&threads[1], NULL, cancel_some, (void *)1);
    pthread_create(&threads[2], NULL, cancel_some, (void *)2);
    for (u32 i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    u32 ran = 0;
    for (u32 i = 0; i < N; i++) {
        fp_task *t = tasks[i];
        crew_wait_for(&c, t);
        fp_pool_drop_task(c.pool, t);
        if (t->outcome == FP_OUTCOME_CANCELLED) {
            CHECK_EQ(fp_load_acquire(&cancelled[i]), 1);
            CHECK_EQ(fp_load_acquire(&stage->runs[i]), 0);
            crew_expect_outcome(&c, t, FP_OUTCOME_CANCELLED);
        }
        else {
            ran++;
            CHECK_EQ(fp_load_acquire(&cancelled[i]), 0);
            crew_expect(&c, t, (order){.id = i});
        }
    }
    crew_close(&c);
    return ran > 0 && ran < N;
}

static void
test_cancelled_or_executed_never_both(void)
{
    while (!cancelled_or_executed_never_both()) {
        /* once more */
    }
}

int
main(void)
{
    check_within(100);
    test_until_it_is_claimed();
    test_a_done_task_stays_done();
    test_who_waits_for_it_is_woken();
    test_everything_that_waits();
    test_cancelled_or_executed_never_both();
    return 0;
}
