/* More tasks than slots: order, the bell that has the ring refilled, draining, demand. */
#include "crew.h"

#include <poll.h>

static crew c;

#define N 5000u
static fp_task *tasks[N];

static void
give_all(u32 act)
{
    for (u32 i = 0; i < N; i++) {
        tasks[i] = crew_give(&c, (order){.id = i, .act = act, .size = i % 7 == 0 ? 600 : 16}, i % 11 * 100);
    }
}

static void
expect_all(u32 from)
{
    for (u32 i = from; i < N; i++) {
        crew_expect(&c, tasks[i], (order){.id = i, .size = i % 7 == 0 ? 600 : 16});
    }
}

static void
await_bell(void)
{
    struct pollfd p = {.fd = c.pool->bell, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, (int)BOUND_S * 1000), 1);
}

/* Nobody waits for a result: the bell alone has to keep the ring full. */
static void
test_the_bell_keeps_the_ring_full(u32 nworkers)
{
    crew_open(&c, nworkers);
    give_all(ANSWER);
    CHECK_EQ(c.pool->nfree, 0);
    CHECK_EQ(c.pool->nbacklog, N - c.pool->shm.nslots);
    for (u32 i = 0; i < nworkers; i++) {
        crew_start(&c);
    }
    while (c.pool->nbacklog > 0) {
        await_bell();
        fp_pool_manage(c.pool);
    }
    fp_pool_close(c.pool);
    do {
        await_bell();
    } while (!fp_pool_manage(c.pool));
    expect_all(0);
    crew_close(&c);
}

static void
test_the_bell_is_quiet_while_nothing_depends_on_it(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    for (u32 i = 0; i < 500; i++) {
        order o = {.id = i};
        crew_await(&c, crew_give(&c, o, 0), o);
    }
    struct pollfd p = {.fd = c.pool->bell, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    crew_close(&c);
}

/* The ring is refilled by whoever waits, too. */
static void
test_waiting_refills_the_ring(void)
{
    crew_open(&c, 2);
    crew_start(&c);
    crew_start(&c);
    give_all(ANSWER);
    crew_wait_for(&c, tasks[N - 1]);
    for (u32 i = 0; i < N; i++) {
        crew_wait_for(&c, tasks[i]);
    }
    expect_all(0);
    crew_close(&c);
}

/* One worker executes in the order of submission, across ring and backlog. */
static void
test_first_in_first_out(void)
{
    crew_open(&c, 1);
    give_all(ANSWER);
    crew_start(&c);
    for (u32 i = 0; i < N; i++) {
        crew_wait_for(&c, tasks[i]);
        CHECK_EQ(fp_load_acquire(&stage->turn[i]), i);
    }
    expect_all(0);
    crew_close(&c);
}

static void
test_cancelled_ones_are_passed_over(void)
{
    crew_open(&c, 1);
    give_all(ANSWER);
    for (u32 i = 0; i < N; i++) {
        if (i % 3) {
            CHECK(fp_pool_cancel(c.pool, tasks[i]));
        }
    }
    crew_start(&c);
    for (u32 i = 0; i < N; i++) {
        crew_wait_for(&c, tasks[i]);
        if (i % 3) {
            crew_expect_outcome(&c, tasks[i], FP_OUTCOME_CANCELLED);
            CHECK_EQ(fp_load_acquire(&stage->runs[i]), 0);
        }
        else {
            crew_expect(&c, tasks[i], (order){.id = i, .size = i % 7 == 0 ? 600 : 16});
        }
    }
    crew_close(&c);
}

/* Calls bigger than shared memory together: each goes when there is room. */
static void
test_big_calls_take_turns(void)
{
    crew_open(&c, 1);
    fp_pool *p = c.pool;
    for (u32 i = 4; i < p->shm.nspans; i++) {   /* four spans must do */
        fp_store_seq_cst(&p->shm.owners[i], FP_SPAN_PARENT);
    }
    for (u32 i = 0; i < 20; i++) {
        tasks[i] = crew_give_unplaced(&c);
    }
    CHECK_EQ(p->nbacklog, 20);
    crew_start(&c);
    for (u32 i = 0; i < 20; i++) {
        CHECK(crew_place(&c, tasks[i], (order){.id = i, .size = 16}, 3 * FP_SPAN - i));
    }
    for (u32 i = 0; i < 20; i++) {
        crew_await(&c, tasks[i], (order){.id = i, .size = 16});
    }
    for (u32 i = 4; i < p->shm.nspans; i++) {
        fp_store_seq_cst(&p->shm.owners[i], FP_SPAN_FREE);
    }
    crew_close(&c);
}

/* A task that is placed late holds up those behind it, small as they are; one that has ended holds up nobody. */
static void
test_unplaced_ones_keep_their_turn(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    for (u32 i = 0; i < 4; i++) {
        tasks[i] = i < 3 ? crew_give_unplaced(&c) : crew_give(&c, (order){.id = i}, 0);
    }
    CHECK(crew_place(&c, tasks[2], (order){.id = 2}, 5000));
    CHECK(fp_pool_cancel(c.pool, tasks[0]));
    CHECK(!crew_place(&c, tasks[0], (order){.id = 0}, 5000));
    CHECK_EQ(c.pool->placed, 1);
    CHECK_EQ(c.pool->nbacklog, 3);
    fp_pool_fail_unplaced(c.pool, tasks[1], NULL, 0);
    for (u32 i = 2; i < 4; i++) {
        crew_await(&c, tasks[i], (order){.id = i});
    }
    crew_expect_outcome(&c, tasks[0], FP_OUTCOME_CANCELLED);
    crew_expect_outcome(&c, tasks[1], FP_OUTCOME_NOMEM);
    CHECK_EQ(c.pool->placed, 0);
    CHECK_EQ(c.pool->placed_bytes, 0);
    crew_close(&c);
}

/* So many bytes are placed that more have to wait. */
static void
test_room_has_a_limit(void)
{
    crew_open(&c, 1);
    c.pool->place_budget = 4 * FP_SPAN;
    for (u32 i = 0; i < 4; i++) {
        CHECK(fp_pool_has_room(c.pool, false));
        tasks[i] = crew_give(&c, (order){.id = i}, FP_SPAN);
    }
    CHECK(!fp_pool_has_room(c.pool, true));
    crew_start(&c);
    CHECK_EQ(fp_wait(c.pool, &c.pool->sender, 1, FP_NEVER), FP_OK);
    CHECK(fp_pool_has_room(c.pool, false));
    for (u32 i = 0; i < 4; i++) {
        crew_await(&c, tasks[i], (order){.id = i});
    }
    CHECK_EQ(c.pool->placed_bytes, 0);
    crew_close(&c);
}

static void
test_closed_takes_no_more_and_drains(void)
{
    crew_open(&c, 2);
    give_all(ANSWER);
    fp_pool_close(c.pool);
    fp_task *t;
    CHECK_EQ(crew_try(&c, (order){.id = 1}, 0, &t), FP_CLOSED);
    crew_start(&c);
    crew_start(&c);
    CHECK_EQ(crew_manage(&c, false), 0);
    expect_all(0);
    crew_close(&c);
}

static void
test_workers_are_wanted_while_tasks_outnumber_them(void)
{
    crew_open(&c, 3);
    CHECK(fp_pool_wants_worker(c.pool));   /* the next task would have none */
    crew_start(&c);
    CHECK(!fp_pool_wants_worker(c.pool));
    stage_close_gate();
    tasks[0] = crew_give(&c, (order){.id = 0, .act = HOLD}, 0);
    CHECK(fp_pool_wants_worker(c.pool));
    crew_start(&c);
    CHECK(!fp_pool_wants_worker(c.pool));
    fp_pool_count_demand(c.pool);
    CHECK(fp_pool_wants_worker(c.pool));
    crew_start(&c);
    tasks[1] = crew_give(&c, (order){.id = 1, .act = HOLD}, 0);
    CHECK(!fp_pool_wants_worker(c.pool));   /* there are no more */
    stage_open_gate();
    crew_await(&c, tasks[0], (order){.id = 0});
    crew_await(&c, tasks[1], (order){.id = 1});
    crew_close(&c);
}

int
main(void)
{
    check_within(100);
    test_the_bell_keeps_the_ring_full(1);
    test_the_bell_keeps_the_ring_full(3);
    test_the_bell_is_quiet_while_nothing_depends_on_it();
    test_waiting_refills_the_ring();
    test_first_in_first_out();
    test_cancelled_ones_are_passed_over();
    test_big_calls_take_turns();
    test_unplaced_ones_keep_their_turn();
    test_room_has_a_limit();
    test_closed_takes_no_more_and_drains();
    test_workers_are_wanted_while_tasks_outnumber_them();
    return 0;
}
