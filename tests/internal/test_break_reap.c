/* The death of workers: what each leaves behind, what the pool makes of it. */
#define _GNU_SOURCE
#include "crew.h"
#include "core/limits.h"
#include "core/ring.h"
#include "core/spans.h"
#include "core/wake.h"

#include <sys/wait.h>

static crew c;

/* Be worker w up to some step of its cycle, then be dead. */
typedef struct {
    fp_worker k;
    fp_call call;
} ghost;

static ghost
ghost_born(void)
{
    int w = fp_pool_new_worker(c.pool);
    CHECK(w >= 0);
    ghost g = {.k = {.shm = c.pool->shm, .w = (u32)w, .bell = c.pool->bell}};
    fp_spin_init(&g.k.spin);
    fp_worker_phase(&g.k, FP_WORKER_RUNNING);
    return g;
}

static void
ghost_claim(ghost *g)
{
    CHECK_EQ(fp_worker_next(&g->k, &g->call), FP_OK);
}

static void
ghost_write_reply(ghost *g, fp_reply *reply, u32 size)
{
    u64 mark = 1;   /* of id 0 */
    u8 *room;
    CHECK_EQ(fp_worker_reply(&g->k, &g->call, size, reply, &room), FP_OK);
    for (u32 i = 0; i + 16 <= size; i += 65536) {
        memcpy(room + i, &mark, 8);
    }
    memcpy(room + size - 8, &mark, 8);
    reply->kind = FP_REPLY_VALUE;
}

static void
ghost_fill_slot(ghost *g, const fp_reply *reply)
{
    fp_slot_shm *sl = &c.pool->shm.slots[g->call.slot];
    sl->sl_kind = reply->kind;
    sl->sl_len = reply->size;
    sl->sl_offset = reply->offset;
    sl->sl_ring_end = reply->ring_end;
}

static int
ghost_dies(ghost *g, fp_task **task)
{
    return fp_pool_reap(c.pool, g->k.w, task);
}

static const u32 sizes[] = {16, 600, FP_RING_MAX + 8, (256 << 10) + 8};

static void
test_a_claimed_task_goes_with_its_worker(void)
{
    for (u32 i = 0; i < 4; i++) {
        crew_open(&c, 2);
        ghost g = ghost_born();
        fp_task *lost = crew_give(&c, (order){.id = 0, .size = sizes[i]}, 5000);
        fp_task *next = crew_give(&c, (order){.id = 1}, 0);
        fp_reply reply;
        ghost_claim(&g);
        ghost_write_reply(&g, &reply, sizes[i]);   /* reply memory is given back */
        fp_task *task;
        CHECK_EQ(ghost_dies(&g, &task), FP_BROKEN);
        CHECK(task == lost);
        CHECK(!fp_task_is_done(lost));
        fp_pool_fail(c.pool, task);
        crew_expect_outcome(&c, lost, FP_OUTCOME_BROKEN);
        CHECK_EQ(crew_start(&c), g.k.w);   /* the index works again */
        crew_await(&c, next, (order){.id = 1});
        crew_close(&c);
    }
}

static void
test_a_finished_task_is_kept(void)
{
    for (u32 i = 0; i < 4; i++) {
        crew_open(&c, 2);
        ghost g = ghost_born();
        order o = {.id = 0, .size = sizes[i]};
        fp_task *t = crew_give(&c, o, 0), *task;
        fp_reply reply;
        ghost_claim(&g);
        ghost_write_reply(&g, &reply, o.size);
        ghost_fill_slot(&g, &reply);
        u64 claimed = fp_word(t->generation, g.k.w, FP_CLAIMED), done = fp_word(t->generation, g.k.w, FP_DONE);
        CHECK(fp_cas64(&c.pool->shm.slots[t->slot].sl_state, claimed, done));   /* and dead before it is listed */
        CHECK_EQ(ghost_dies(&g, &task), FP_BROKEN);
        CHECK(task == NULL);
        fp_store_seq_cst(&stage->runs[0], 1);
        crew_expect(&c, t, o);
        crew_close(&c);
    }
}

static void *
wait_for(void *arg)
{
    crew_wait_for(&c, arg);
    return NULL;
}

/* Listed, so the bit that says "wake the leader" is gone; and dead before it did. */
static void
test_a_wake_owed_to_the_leader_is_made_good(void)
{
    crew_open(&c, 1);
    ghost g = ghost_born();
    order o = {.id = 0, .size = 16};
    fp_task *t = crew_give(&c, o, 0), *task;
    fp_reply reply;
    ghost_claim(&g);
    ghost_write_reply(&g, &reply, o.size);
    ghost_fill_slot(&g, &reply);
    c.pool->spin.cpus = 1;
    pthread_t leader;
    pthread_create(&leader, NULL, wait_for, t);
    EVENTUALLY(leader_is_asleep(c.pool));
    u32 flags;
    CHECK_EQ(fp_complete(&c.pool->shm, g.k.w, t->slot, t->generation, &flags), FP_OK);
    CHECK_EQ(flags, FP_CQ_WAITER);
    CHECK_EQ(ghost_dies(&g, &task), FP_BROKEN);
    pthread_join(leader, NULL);
    fp_store_seq_cst(&stage->runs[0], 1);
    crew_expect(&c, t, o);
    crew_close(&c);
}

/* The same, but another thread takes its result, the last of all: the manager sees that nothing is left to do, and nobody
 * reaps that worker any more. */
static void
test_a_wake_owed_to_the_leader_is_made_good_at_the_end(void)
{
    crew_open(&c, 1);
    ghost g = ghost_born();
    order o = {.id = 0, .size = 16};
    fp_task *t = crew_give(&c, o, 0), *task;
    fp_reply reply;
    ghost_claim(&g);
    ghost_write_reply(&g, &reply, o.size);
    ghost_fill_slot(&g, &reply);
    c.pool->spin.cpus = 1;
    pthread_t leader;
    pthread_create(&leader, NULL, wait_for, t);
    EVENTUALLY(leader_is_asleep(c.pool));
    u32 flags;
    CHECK_EQ(fp_complete(&c.pool->shm, g.k.w, t->slot, t->generation, &flags), FP_OK);
    CHECK_EQ(flags, FP_CQ_WAITER);
    fp_pool_pump(c.pool);
    fp_pool_close(c.pool);
    CHECK(fp_pool_manage(c.pool));
    fp_pool_stop_workers(c.pool);
    fp_pool_bury(c.pool);
    pthread_join(leader, NULL);
    fp_store_seq_cst(&stage->runs[0], 1);
    crew_expect(&c, t, o);
    CHECK_EQ(ghost_dies(&g, &task), FP_BROKEN);
    crew_check_empty(&c);
    crew_free(&c);
}

/* Chosen a sleeper and taken its bit, and dead before it woke it. */
static void
test_a_wake_owed_to_a_worker_is_made_good(void)
{
    crew_open(&c, 2);
    ghost g = ghost_born();
    u32 sleeper = crew_start(&c);
    EVENTUALLY(worker_is_asleep(c.pool, sleeper));
    CHECK(fp_watch_take(&c.pool->shm, g.k.w));   /* the submit relies on it */
    fp_task *t = crew_give(&c, (order){.id = 1}, 0), *task;
    CHECK_EQ(fp_load_seq_cst(&c.pool->shm.head->wk_watch), 0);
    fp_sleep_cancel(&c.pool->shm, sleeper);      /* as one that is about to wake it */
    CHECK_EQ(ghost_dies(&g, &task), FP_BROKEN);
    CHECK(task == NULL);
    crew_await(&c, t, (order){.id = 1});
    crew_close(&c);
}

static void
test_the_deads_bit_and_token_are_cleared(void)
{
    crew_open(&c, 3);
    ghost sleeping = ghost_born(), watching = ghost_born();
    fp_task *task;
    fp_sleep_announce(&c.pool->shm, sleeping.k.w);
    CHECK(fp_watch_take(&c.pool->shm, watching.k.w));
    CHECK_EQ(fp_load_seq_cst(&c.pool->shm.head->hd_live), 2);
    CHECK_EQ(ghost_dies(&sleeping, &task), FP_BROKEN);
    CHECK_EQ(ghost_dies(&watching, &task), FP_BROKEN);
    CHECK_EQ(fp_load_seq_cst(&c.pool->shm.idle[0]), 0);
    CHECK_EQ(fp_load_seq_cst(&c.pool->shm.head->wk_watch), 0);
    CHECK_EQ(fp_load_seq_cst(&c.pool->shm.head->hd_live), 0);
    CHECK_EQ(fp_load_seq_cst(&c.pool->shm.workers[sleeping.k.w].wk_futex), 0);
    crew_close(&c);
}

static void
test_a_retired_worker_has_not_broken_anything(void)
{
    crew_open(&c, 1);
    for (u32 i = 0; i < 20; i++) {
        u32 w = crew_start(&c);
        order o = {.id = i, .act = RETIRE, .size = 600};
        crew_await(&c, crew_give(&c, o, 0), o);
        CHECK_EQ(crew_wait(&c, w), 0);
        fp_task *task;
        CHECK_EQ(crew_reap(&c, w, &task), FP_OK);
        CHECK(task == NULL);
    }
    crew_close(&c);
}

static void
test_dead_workers_make_room_for_new_ones(void)
{
    crew_open(&c, 3);
    u32 a = crew_start(&c), b = crew_start(&c), d = crew_start(&c);
    CHECK_EQ(fp_pool_new_worker(c.pool), FP_FULL);
    EVENTUALLY(worker_is_asleep(c.pool, a) && worker_is_asleep(c.pool, b) && worker_is_asleep(c.pool, d));
    crew_kill(&c, b);
    fp_task *task;
    CHECK_EQ(crew_reap(&c, b, &task), FP_BROKEN);
    CHECK(task == NULL);
    CHECK_EQ(crew_start(&c), b);
    stage_close_gate();
    fp_task *t[3];
    for (u32 i = 0; i < 3; i++) {   /* all three at the same time */
        t[i] = crew_give(&c, (order){.id = i, .act = HOLD}, 0);
    }
    stage_await_began(3);
    stage_open_gate();
    for (u32 i = 0; i < 3; i++) {
        crew_await(&c, t[i], (order){.id = i});
    }
    crew_close(&c);
}

static void
test_a_task_that_kills_fails_alone(void)
{
    crew_open(&c, 2);
    crew_start(&c);
    crew_start(&c);
    enum { N = 200 };
    fp_task *tasks[N];
    for (u32 i = 0; i < N; i++) {
        tasks[i] = crew_give(&c, (order){.id = i, .act = i % 20 == 7 ? DIE : ANSWER, .size = 600}, i % 3 * 400);
    }
    fp_pool_close(c.pool);
    CHECK_EQ(crew_manage(&c, true), N / 20);
    for (u32 i = 0; i < N; i++) {
        CHECK_EQ(fp_load_acquire(&stage->runs[i]), 1);
        if (i % 20 == 7) {
            crew_expect_outcome(&c, tasks[i], FP_OUTCOME_BROKEN);
        }
        else {
            crew_expect(&c, tasks[i], (order){.id = i, .size = 600});
        }
    }
    crew_close(&c);
}

/* -------------------------------------------------------------------- breaking */

static fp_death
some_death(void)
{
    return (fp_death){.pid = 42, .exitcode = -9, .exitcode_known = true, .label = strdup("f")};
}

/* Everything ends at once, except a result that is there already. */
static void
test_breaking_ends_everything(void)
{
    enum { N = 1500 };
    static fp_task *tasks[N];
    crew_open(&c, 3);
    ghost finished = ghost_born(), running = ghost_born();
    for (u32 i = 0; i < N; i++) {
        tasks[i] = crew_give(&c, (order){.id = i}, i % 3 * 700);
    }
    fp_reply reply = {.kind = FP_REPLY_NONE};
    ghost_claim(&finished);
    ghost_claim(&running);
    CHECK_EQ(fp_worker_complete(&finished.k, &finished.call, &reply), FP_OK);
    ghost_claim(&finished);
    fp_pool_break(c.pool, some_death());
    fp_store_seq_cst(&stage->runs[0], 1);
    crew_expect(&c, tasks[0], (order){.id = 0});
    for (u32 i = 1; i < N; i++) {
        crew_expect_outcome(&c, tasks[i], FP_OUTCOME_BROKEN);
    }
    CHECK_EQ(c.pool->death.pid, 42);
    fp_pool_break(c.pool, (fp_death){.pid = 43, .label = strdup("g")});   /* only the first counts */
    CHECK_EQ(c.pool->death.pid, 42);
    fp_task *task;
    CHECK_EQ(crew_try(&c, (order){.id = 1}, 0, &task), FP_BROKEN);
    CHECK_EQ(fp_worker_complete(&running.k, &running.call, &reply), FP_CONDEMNED);
    CHECK(fp_pool_manage(c.pool));
    CHECK_EQ(ghost_dies(&finished, &task), FP_BROKEN);
    CHECK(task == NULL);
    CHECK_EQ(ghost_dies(&running, &task), FP_BROKEN);
    CHECK(task == NULL);
    crew_check_empty(&c);
    crew_free(&c);
}

/* DONE but not listed at the break: its worker lists it, or is reaped, or nobody looks after it before the pool is buried; in any
 * case the result is kept. */
enum { LISTS_IT, IS_REAPED, IS_BURIED };

static void
test_a_result_survives_the_break(int what)
{
    crew_open(&c, 1);
    ghost g = ghost_born();
    order o = {.id = 0, .size = 16};
    fp_task *t = crew_give(&c, o, 0), *task;
    fp_reply reply;
    ghost_claim(&g);
    ghost_write_reply(&g, &reply, o.size);
    ghost_fill_slot(&g, &reply);
    fp_a64 *word = &c.pool->shm.slots[t->slot].sl_state;
    CHECK(fp_cas64(word, fp_word(t->generation, g.k.w, FP_CLAIMED), fp_word(t->generation, g.k.w, FP_DONE)));
    fp_pool_break(c.pool, some_death());
    CHECK(!fp_task_is_done(t));
    CHECK(!fp_pool_manage(c.pool));   /* it still counts */
    if (what == LISTS_IT) {
        CHECK(fp_cas64(word, fp_word(t->generation, g.k.w, FP_DONE), fp_word(t->generation, g.k.w, FP_CLAIMED)));
        CHECK_EQ(fp_worker_complete(&g.k, &g.call, &reply), FP_OK);
        CHECK(fp_pool_manage(c.pool));
    }
    if (what == IS_BURIED) {
        fp_pool_bury(c.pool);
    }
    CHECK_EQ(ghost_dies(&g, &task), FP_BROKEN);
    CHECK(task == NULL);
    fp_store_seq_cst(&stage->runs[0], 1);
    crew_expect(&c, t, o);
    crew_check_empty(&c);
    crew_free(&c);
}

/* Whatever a condemned worker says of itself, its fate goes with it: the index is used again, and the pool ends. */
static void
test_a_condemned_worker_says_that_it_has_retired(void)
{
    crew_open(&c, 1);
    ghost g = ghost_born();
    fp_task *t = crew_give(&c, (order){.id = 0}, 0), *task;
    ghost_claim(&g);
    CHECK(fp_pool_kill(c.pool, t));
    crew_expect_outcome(&c, t, FP_OUTCOME_CANCELLED);
    fp_worker_phase(&g.k, FP_WORKER_RETIRED);
    fp_pool_close(c.pool);
    CHECK(!fp_pool_is_drained(c.pool));
    CHECK_EQ(ghost_dies(&g, &task), FP_CONDEMNED);
    CHECK(task == NULL);
    CHECK(fp_pool_is_drained(c.pool));
    crew_check_empty(&c);
    crew_free(&c);
}

static void
test_breaking_wakes_who_waits(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    stage_close_gate();
    fp_task *t = crew_give(&c, (order){.id = 1, .act = HOLD}, 0), *u = crew_give(&c, (order){.id = 2}, 0), *task;
    stage_await_began(1);
    pthread_t threads[3];
    for (u32 i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, wait_for, i ? u : t);
    }
    EVENTUALLY(leader_is_asleep(c.pool));
    crew_kill(&c, 0);
    CHECK_EQ(crew_reap(&c, 0, &task), FP_BROKEN);
    CHECK(task == t);
    fp_pool_break(c.pool, some_death());
    fp_pool_fail(c.pool, task);
    for (u32 i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    crew_expect_outcome(&c, t, FP_OUTCOME_BROKEN);
    crew_expect_outcome(&c, u, FP_OUTCOME_BROKEN);
    CHECK_EQ(fp_load_acquire(&stage->runs[2]), 0);
    crew_check_empty(&c);
    crew_free(&c);
}

/* A worker that finds itself condemned is at rest. */
static void
test_condemned_workers_touch_nothing_more(void)
{
    crew_open(&c, 2);
    u32 w = crew_start(&c);
    stage_close_gate();
    fp_task *t = crew_give(&c, (order){.id = 1, .act = HOLD, .size = FP_RING_MAX + 8}, 0), *task;
    stage_await_began(1);
    fp_pool_break(c.pool, some_death());
    crew_expect_outcome(&c, t, FP_OUTCOME_BROKEN);
    stage_open_gate();
    CHECK_EQ(crew_wait(&c, w), 0);   /* found out when it wanted to reply */
    CHECK_EQ(spans_of_workers(c.pool), 1);
    CHECK_EQ(crew_reap(&c, w, &task), FP_BROKEN);
    CHECK(task == NULL);
    crew_check_empty(&c);
    crew_free(&c);
}

/* It may still be reading: what it would find there otherwise is another call's, and it would run that. */
static void
test_a_stopped_worker_keeps_its_payload(bool breaks)
{
    crew_open(&c, 2);
    ghost g = ghost_born();
    fp_task *stopped = crew_give(&c, (order){.id = 0}, 5000);
    ghost_claim(&g);
    u64 held = stopped->block, size = stopped->size, other, again;
    CHECK(held != 0);
    if (breaks) {
        fp_pool_break(c.pool, (fp_death){.reason = NULL});
    }
    else {
        CHECK(fp_pool_kill(c.pool, stopped));
    }
    CHECK_EQ(fp_pool_room(c.pool, size, &other), FP_OK);
    CHECK(other != held);
    fp_task *task;
    CHECK_EQ(ghost_dies(&g, &task), breaks ? FP_BROKEN : FP_CONDEMNED);
    CHECK(task == NULL);
    CHECK_EQ(fp_pool_room(c.pool, size, &again), FP_OK);
    CHECK_EQ(again, held);
    fp_pool_free_room(c.pool, other, size);
    fp_pool_free_room(c.pool, again, size);
    fp_pool_drop_task(c.pool, stopped);
    fp_pool_break(c.pool, (fp_death){.reason = NULL});
    crew_close(&c);
}

/* A pool that breaks does not reap each of its dead. */
static void
test_a_stopped_workers_payload_is_buried(void)
{
    crew_open(&c, 2);
    ghost g = ghost_born();
    fp_task *killed = crew_give(&c, (order){.id = 0}, 5000);
    ghost_claim(&g);
    u64 held = killed->block, size = killed->size, again;
    CHECK(fp_pool_kill(c.pool, killed));
    fp_pool_break(c.pool, (fp_death){.reason = NULL});
    fp_pool_bury(c.pool);
    CHECK_EQ(fp_pool_room(c.pool, size, &again), FP_OK);
    CHECK_EQ(again, held);
    fp_pool_free_room(c.pool, again, size);
    fp_pool_drop_task(c.pool, killed);
    crew_free(&c);
}

int
main(void)
{
    check_within(100);
    test_a_claimed_task_goes_with_its_worker();
    test_a_finished_task_is_kept();
    test_a_wake_owed_to_the_leader_is_made_good();
    test_a_wake_owed_to_the_leader_is_made_good_at_the_end();
    test_a_wake_owed_to_a_worker_is_made_good();
    test_the_deads_bit_and_token_are_cleared();
    test_a_retired_worker_has_not_broken_anything();
    test_dead_workers_make_room_for_new_ones();
    test_a_task_that_kills_fails_alone();
    test_breaking_ends_everything();
    test_a_result_survives_the_break(LISTS_IT);
    test_a_result_survives_the_break(IS_REAPED);
    test_a_result_survives_the_break(IS_BURIED);
    test_a_condemned_worker_says_that_it_has_retired();
    test_breaking_wakes_who_waits();
    test_condemned_workers_touch_nothing_more();
    test_a_stopped_worker_keeps_its_payload(false);
    test_a_stopped_worker_keeps_its_payload(true);
    test_a_stopped_workers_payload_is_buried();
    return 0;
}
