/* Calls that their tasks hold until they have ended, calls that hand something over, and replies that are to be read at once. */
#include "crew.h"
#include "core/limits.h"

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

/* As the courier does it. How many there were. */
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

/* A turn of the manager, and its sleep if that has an end. */
static void
manage_once(void)
{
    fp_pool_manage(c.pool);
    u64 then = fp_pool_see_to_ended(c.pool);
    if (then != FP_NEVER) {
        bell_rings_before(then);
    }
}

static void
manage_until(fp_let_go state)
{
    for (u64 bound = BOUND; c.pool->let_go != state; manage_once()) {
        CHECK(fp_now() < bound);
    }
}

/* Nobody waits: it hears of the end, and has the courier let go, once for all that has ended by then. */
static void
test_the_manager_sees_to_calls_that_have_ended(void)
{
    open_with(1, &thing, false);
    fp_task *t = crew_give(&c, (order){.id = 1, .act = HOLD}, 0);
    CHECK_EQ(c.pool->let_go, FP_LET_GO_LATER);
    manage_until(FP_LET_GO_AT_NEXT_END);
    CHECK(!fp_pool_needs_courier(c.pool));
    fp_task *next = crew_give(&c, (order){.id = 2}, 0);
    stage_open_gate();
    CHECK(bell_rings_before(FP_NEVER));
    manage_until(FP_LET_GO_TOLD);
    CHECK(atomic_exchange(&c.pool->thread_missed, 0));   /* the courier is to be started */
    CHECK(fp_pool_needs_courier(c.pool));
    fp_pool_has_courier(c.pool, true);
    crew_wait_for(&c, next);
    CHECK_EQ(let_go(), 2);
    CHECK(!fp_pool_needs_courier(c.pool));
    CHECK_EQ(c.pool->let_go, FP_LET_GO_NOTHING);
    CHECK_EQ(fp_pool_see_to_ended(c.pool), FP_NEVER);
    fp_pool_drop_task(c.pool, t);
    fp_pool_drop_task(c.pool, next);
    t = crew_give(&c, (order){.id = 3}, 0);
    manage_until(FP_LET_GO_TOLD);
    CHECK_EQ(fp_load_acquire(&c.pool->courier.nready), 1);   /* it runs: so it is woken */
    CHECK(!fp_load_acquire(&c.pool->thread_missed));
    CHECK_EQ(let_go(), 1);
    fp_pool_drop_task(c.pool, t);
    close_it();
}

/* While the courier has not come, nobody looks for it again and again. */
static void
test_a_courier_that_does_not_come(void)
{
    open_with(1, &thing, false);
    fp_task *first = crew_give(&c, (order){.id = 1}, 0), *second = crew_give(&c, (order){.id = 2, .act = HOLD}, 0);
    crew_wait_for(&c, first);
    manage_until(FP_LET_GO_TOLD);
    CHECK_EQ(fp_pool_see_to_ended(c.pool), FP_NEVER);
    CHECK_EQ(let_go(), 1);
    CHECK_EQ(c.pool->let_go, FP_LET_GO_LATER);   /* there is another */
    stage_open_gate();
    crew_wait_for(&c, second);
    manage_until(FP_LET_GO_TOLD);
    CHECK_EQ(let_go(), 1);
    fp_pool_drop_task(c.pool, first);
    fp_pool_drop_task(c.pool, second);
    close_it();
}

/* The bell rings now and then, whatever the number of calls. */
static void
test_the_bell_is_quiet_while_calls_end(void)
{
    open_with(1, &thing, false);
    u64 before = fp_now(), rung = 0, count;
    for (u32 i = 0; i < N; i++) {
        order o = {.id = i};
        crew_await(&c, crew_give(&c, o, 0), o);
        if (bell_rings_before(0) && read(c.pool->bell, &count, sizeof count) == sizeof count) {
            rung += count;
            fp_pool_see_to_ended(c.pool);
        }
        if (c.pool->let_go == FP_LET_GO_TOLD) {
            let_go();
        }
    }
    CHECK(rung <= 3 * ((fp_now() - before) / 50000000u + 1));
    let_go();
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

/* Nobody waits: the worker rings. They have ended when they have been read, and before that the pool has not, either. */
static void
test_replies_that_are_read_at_once(void)
{
    open_with(1, NULL, false);
    order o = {.id = 1, .act = HAND, .size = 600}, large = {.id = 2, .act = HAND, .size = 600000};
    fp_task *t = crew_give(&c, o, 0), *dropped = crew_give(&c, large, 600000);
    while (c.pool->unread_first == NULL || c.pool->unread_first == c.pool->unread_last) {
        CHECK(bell_rings_before(FP_NEVER));
        fp_pool_manage(c.pool);
    }
    CHECK(!fp_task_is_done(t) && fp_pool_is_running(c.pool, t));
    CHECK(!fp_pool_cancel(c.pool, t) && !fp_pool_kill(c.pool, t));
    order other = {.id = 3};
    crew_await(&c, crew_give(&c, other, 0), other);   /* in the slot that one of them had */
    CHECK(fp_pool_is_running(c.pool, t) && !fp_pool_kill(c.pool, t));
    CHECK(atomic_exchange(&c.pool->thread_missed, 0));   /* the reader is to be started */
    fp_pool_has_reader(c.pool, true);
    fp_pool_drop_task(c.pool, dropped);
    fp_pool_close(c.pool);
    CHECK(!fp_pool_manage(c.pool));
    CHECK(fp_pool_next_unread(c.pool) == t && t->reply_kind == FP_REPLY_VALUE && t->reply_size == 600);
    fp_pool_was_read(c.pool, t);
    CHECK(!fp_pool_manage(c.pool));
    fp_task *last = fp_pool_next_unread(c.pool);
    CHECK(last == dropped && last->reply_size == 600000);
    CHECK(!fp_pool_needs_reader(c.pool) && fp_pool_next_unread(c.pool) == NULL);
    fp_pool_was_read(c.pool, last);
    CHECK(bell_rings_before(FP_NEVER));
    CHECK(fp_pool_manage(c.pool));
    crew_expect(&c, t, o);
    close_it();
}

/* The reader sleeps on a word of its own, and is woken for each. */
static void *
reader(void *arg)
{
    u64 *left = arg;
    while (*left > 0) {
        fp_task *t = fp_pool_next_unread(c.pool);
        if (t == NULL) {
            CHECK_EQ(fp_wait(c.pool, &c.pool->reader, 1, FP_NEVER), FP_OK);
            continue;
        }
        fp_pool_was_read(c.pool, t);
        --*left;
    }
    return NULL;
}

static void
test_the_reader_is_woken(void)
{
    open_with(2, NULL, false);
    pthread_t thread;
    u64 left = N;
    fp_pool_has_reader(c.pool, true);
    CHECK_EQ(pthread_create(&thread, NULL, reader, &left), 0);
    for (u32 i = 0; i < N; i++) {
        order o = {.id = i, .act = HAND, .size = 16};
        crew_await(&c, crew_give(&c, o, 0), o);
    }
    pthread_join(thread, NULL);
    close_it();
}

/* Its worker has listed it, and rings no more. */
static void
test_the_reply_of_a_worker_that_has_died(void)
{
    open_with(1, &thing, true);
    order o = {.id = 1, .act = HAND, .size = 600};
    fp_task *t = crew_give(&c, o, 0), *lost;
    EVENTUALLY(fp_load_acquire(&c.pool->shm.head->cq_head) & FP_CQ_SLOT);
    crew_kill(&c, 0);
    CHECK_EQ(crew_reap(&c, 0, &lost), FP_BROKEN);
    CHECK(lost == NULL && !fp_task_is_done(t));
    CHECK(fp_pool_next_unread(c.pool) == t && !fp_pool_needs_reader(c.pool));
    fp_pool_was_read(c.pool, t);
    crew_expect(&c, t, o);
    CHECK_EQ(let_go(), 1);
    CHECK_EQ(fp_load_acquire(&c.pool->handing), 0);
    close_it();
}

/* A pool that breaks leaves them: they are there. */
static void
test_a_break_leaves_what_is_to_be_read(void)
{
    open_with(1, NULL, false);
    order o = {.id = 1, .act = HAND, .size = 600};
    fp_task *t = crew_give(&c, o, 0);
    while (!fp_pool_needs_reader(c.pool)) {
        CHECK(bell_rings_before(FP_NEVER));
        fp_pool_manage(c.pool);
    }
    fp_pool_break(c.pool, (fp_death){.pid = 1});
    CHECK(!fp_task_is_done(t));
    CHECK(fp_pool_next_unread(c.pool) == t);
    fp_pool_was_read(c.pool, t);
    crew_expect(&c, t, o);
    close_it();
}

int
main(void)
{
    check_within(100);
    test_a_call_is_held_until_it_has_ended();
    test_the_manager_sees_to_calls_that_have_ended();
    test_a_courier_that_does_not_come();
    test_the_bell_is_quiet_while_calls_end();
    test_so_many_hand_something_over_at_most();
    test_replies_that_are_read_at_once();
    test_the_reader_is_woken();
    if (!CREW_THREADS) {
        test_the_reply_of_a_worker_that_has_died();
    }
    test_a_break_leaves_what_is_to_be_read();
    return 0;
}
