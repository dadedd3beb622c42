/* Calls that their tasks hold until they have ended, calls that hand something over, and replies that are to be read at once. */
#include "crew.h"

#include <poll.h>
#include <unistd.h>

static crew c;
static int thing;   /* stands for a Python object */

#define N 500u

/* As the manager sleeps; FP_NEVER: it must ring. */
static bool
bell_rings_before(u64 then)
{
    u64 now = fp_now(), until = then != FP_NEVER ? then : BOUND;
    struct pollfd p = {.fd = c.pool->bell, .events = POLLIN};
    return poll(&p, 1, until > now ? (int)((until - now) / 1000000u) + 1 : 0) == 1;
}

static void
open_with(u32 nworkers, void *call, bool hands_over)
{
    crew_open(&c, nworkers);
    c.call = call;
    c.hands_over = hands_over;
    for (u32 w = 0; w < nworkers; w++) {
        crew_start(&c);
    }
}

static void
close_it(void)
{
    c.call = NULL;
    c.hands_over = false;
    crew_close(&c);
}

/* As Python's side does it. How many there were. */
static u32
let_go(void)
{
    u32 n = 0;
    fp_task *t = fp_pool_take_ended(c.pool);
    while (t != NULL) {
        fp_task *next = t->next_ended;
        CHECK(t->call == &thing);
        CHECK(fp_task_is_done(t));
        t->call = NULL;
        fp_pool_drop_task(c.pool, t);
        t = next;
        n++;
    }
    return n;
}

static void
test_a_call_is_held_until_it_has_ended(void)
{
    open_with(1, &thing, false);
    order held = {.id = 1, .act = HOLD}, waiting = {.id = 2};
    fp_task *first = crew_give(&c, held, 0), *second = crew_give(&c, waiting, 0), *third = crew_give(&c, waiting, 0);
    stage_await_began(1);
    CHECK_EQ(let_go(), 0);
    CHECK(fp_pool_cancel(c.pool, third));
    CHECK_EQ(let_go(), 1);
    stage_open_gate();
    crew_await(&c, second, waiting);
    crew_expect(&c, first, held);
    CHECK_EQ(let_go(), 2);
    CHECK_EQ(c.pool->ncalls, 0);
    crew_expect_outcome(&c, third, FP_OUTCOME_CANCELLED);
    close_it();
}

static void
test_the_manager_sees_to_calls_that_nobody_asks_for(void)
{
    open_with(1, &thing, false);
    fp_task *t = crew_give(&c, (order){.id = 1, .act = HOLD}, 0);
    stage_await_began(1);
    u64 then;
    do {   /* it leaves them to others for a while */
        fp_pool_manage(c.pool);
        CHECK(!fp_pool_must_let_go(c.pool, &then));
    } while (then != FP_NEVER && (bell_rings_before(then), true));
    CHECK(!fp_pool_needs_courier(c.pool));
    stage_open_gate();
    CHECK(bell_rings_before(FP_NEVER));
    for (;;) {
        fp_pool_manage(c.pool);
        if (fp_pool_must_let_go(c.pool, &then)) {
            break;
        }
        CHECK(then != FP_NEVER);
        bell_rings_before(then);
    }
    CHECK(fp_task_is_done(t));
    CHECK(fp_pool_needs_courier(c.pool));
    CHECK_EQ(let_go(), 1);
    CHECK(!fp_pool_needs_courier(c.pool));
    CHECK(!fp_pool_must_let_go(c.pool, &then));
    CHECK_EQ(then, FP_NEVER);
    fp_pool_drop_task(c.pool, t);
    close_it();
}

/* The bell rings once for many calls, not for each. */
static void
test_the_bell_is_quiet_while_others_let_go(void)
{
    open_with(1, &thing, false);
    u64 before = fp_now(), rung = 0, then;
    for (u32 i = 0; i < N; i++) {
        order o = {.id = i};
        crew_await(&c, crew_give(&c, o, 0), o);
        CHECK_EQ(let_go(), 1);
        u64 count;
        if (bell_rings_before(0) && read(c.pool->bell, &count, sizeof count) == sizeof count) {
            rung += count;
            fp_pool_must_let_go(c.pool, &then);
        }
    }
    CHECK(rung <= 1 + 3 * ((fp_now() - before) / 50000000u + 1));
    close_it();
}

static void
test_so_many_hand_something_over_at_most(void)
{
    open_with(2, NULL, true);
    fp_task *tasks[5];
    for (u32 i = 0; i < 5; i++) {
        CHECK(!fp_pool_is_crowded(c.pool));
        tasks[i] = crew_give(&c, (order){.id = i, .act = HOLD}, 0);
    }
    CHECK(fp_pool_is_crowded(c.pool));
    CHECK(!fp_pool_has_room(c.pool, true));
    fp_task *late = crew_give_unplaced(&c);
    stage_open_gate();
    CHECK(crew_place(&c, late, (order){.id = 5}, 0));   /* waits for room */
    for (u32 i = 0; i < 5; i++) {
        crew_await(&c, tasks[i], (order){.id = i});
    }
    crew_await(&c, late, (order){.id = 5});
    CHECK_EQ(fp_load_acquire(&c.pool->handing), 0);
    close_it();
}

static fp_task *
next_for_courier(void)
{
    fp_task *t = c.pool->courier_first;
    if (t != NULL) {
        c.pool->courier_first = t->next_for_courier;
        if (c.pool->courier_first == NULL) {
            c.pool->courier_last = NULL;
        }
    }
    return t;
}

/* Nobody waits: the worker rings. The pool has not come to its end before they have been read. */
static void
test_replies_that_are_read_at_once(void)
{
    open_with(1, NULL, false);
    order o = {.id = 1, .act = HAND, .size = 600}, large = {.id = 2, .act = HAND, .size = 600000};
    fp_task *t = crew_give(&c, o, 0), *dropped = crew_give(&c, large, 0);
    fp_pool_drop_task(c.pool, dropped);
    while (c.pool->unread < 2) {
        CHECK(bell_rings_before(FP_NEVER));
        fp_pool_manage(c.pool);
    }
    CHECK(atomic_exchange(&c.pool->thread_missed, 0));
    CHECK(fp_pool_needs_courier(c.pool));
    fp_pool_close(c.pool);
    for (u64 left = 2; left > 0; left--) {
        CHECK_EQ(c.pool->unread, left);
        CHECK(!fp_pool_manage(c.pool));
        fp_task *next = next_for_courier();
        CHECK(next != NULL && next->at_once);
        CHECK_EQ(next->reply_kind, FP_REPLY_VALUE);
        fp_pool_drop_task(c.pool, next);
        fp_pool_has_read(c.pool);
    }
    CHECK(bell_rings_before(FP_NEVER));
    CHECK(fp_pool_manage(c.pool));
    CHECK(!fp_pool_needs_courier(c.pool));
    crew_expect(&c, t, o);
    close_it();
}

int
main(void)
{
    check_within(100);
    test_a_call_is_held_until_it_has_ended();
    test_the_manager_sees_to_calls_that_nobody_asks_for();
    test_the_bell_is_quiet_while_others_let_go();
    test_so_many_hand_something_over_at_most();
    test_replies_that_are_read_at_once();
    return 0;
}
