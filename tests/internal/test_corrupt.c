/* A worker writes nonsense into shared memory: the parent neither crashes nor hangs, all tasks end.
 *
 * First one lie at a time, told in the parent's own mapping; then a process that scribbles over
 * everything while the pool works. test_corrupt [SECONDS [SEED]]
 */
#define _GNU_SOURCE
#include "crew.h"
#include "core/limits.h"
#include "core/ring.h"
#include "core/wake.h"

#include <sys/prctl.h>
#include <sys/wait.h>

static crew c;
static fp_worker liar;
static fp_call call;

static fp_slot_shm *
slot_of(const fp_task *t)
{
    return &c.pool->shm.slots[t->slot];
}

/* A pool with one task, which the liar has claimed, and one behind it. */
static fp_task *first, *second;

static void
begin_with(u64 size)
{
    crew_open(&c, 3);
    CHECK_EQ(fp_pool_new_worker(c.pool), 0);
    liar = (fp_worker){.shm = c.pool->shm, .w = 0, .bell = c.pool->bell};
    first = crew_give(&c, (order){.id = 0}, size);
    second = crew_give(&c, (order){.id = 1}, size);
    CHECK_EQ(fp_worker_next(&liar, &call), FP_OK);
}

static void
begin(void)
{
    begin_with(2000);
}

/* The manager's part once the pool is broken: every worker is killed and reaped, the rest buried. */
static void
end_of_a_broken_pool(void)
{
    fp_task *task;
    CHECK(c.pool->broken);
    fp_pool_reap(c.pool, 0, &task);
    if (task != NULL) {
        fp_pool_fail(c.pool, task);
    }
    fp_pool_bury(c.pool);
    CHECK_EQ(fp_load_seq_cst(&c.pool->unfinished), 0);
}

static void
expect_broken(fp_task *t)
{
    crew_expect_outcome(&c, t, FP_OUTCOME_BROKEN);
}

static void
lie_about_the_list(u32 link)
{
    begin();
    fp_store_seq_cst(&c.pool->shm.head->cq_head, link);
    fp_pool_pump(c.pool);
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

static void
test_the_completed_list(void)
{
    begin();
    u32 nslots = c.pool->shm.nslots, claimed = first->slot + 1, ready = second->slot + 1;
    fp_pool_break(c.pool, (fp_death){0});
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
    lie_about_the_list(nslots + 1);      /* no such slot */
    lie_about_the_list(FP_CQ_SLOT);
    lie_about_the_list(claimed);         /* not DONE */
    lie_about_the_list(ready);
    lie_about_the_list(nslots);          /* FREE */
}

static void
test_the_list_goes_in_circles(void)
{
    begin();
    fp_slot_shm *a = slot_of(first), *b = slot_of(second);
    fp_store_seq_cst(&a->sl_next, second->slot + 1);
    fp_store_seq_cst(&b->sl_next, first->slot + 1);
    fp_store_seq_cst(&c.pool->shm.head->cq_head, first->slot + 1);
    fp_pool_pump(c.pool);
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

/* DONE says the word, of a slot that nobody had: it must not be given away twice. */
static void
test_a_free_slot_is_said_to_be_done(void)
{
    begin();
    u32 free_slot = c.pool->shm.nslots - 1, nfree = c.pool->nfree;
    fp_store_seq_cst(&c.pool->shm.slots[free_slot].sl_state, fp_word(0, 0, FP_DONE));
    fp_store_seq_cst(&c.pool->shm.head->cq_head, free_slot + 1);
    fp_pool_pump(c.pool);
    CHECK(c.pool->nfree == nfree + 1);   /* second's, withdrawn */
    fp_store_seq_cst(&c.pool->shm.workers[0].wk_slot, free_slot + 1);
    fp_store_seq_cst(&c.pool->shm.slots[free_slot].sl_state, fp_word(0, 0, FP_CLAIMED));
    end_of_a_broken_pool();
    CHECK(c.pool->nfree == nfree + 2);   /* first's, with its worker */
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

static void
lie_about_the_state(u64 word)
{
    begin();
    fp_store_seq_cst(&slot_of(first)->sl_state, word);
    fp_store_seq_cst(&slot_of(first)->sl_next, 0);
    fp_store_seq_cst(&c.pool->shm.head->cq_head, first->slot + 1);
    CHECK(fp_pool_is_running(c.pool, first) || c.pool->broken);
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

static void
test_the_state_word(void)
{
    lie_about_the_state(0);
    lie_about_the_state(UINT64_MAX);
    lie_about_the_state(fp_word(1, 3, FP_DONE));        /* no such worker */
    lie_about_the_state(fp_word(1, 0xffff, FP_DONE));
    lie_about_the_state(fp_word(2, 0, FP_DONE));        /* another generation */
    lie_about_the_state(fp_word(1, 0, FP_DOOMED));
    lie_about_the_state(fp_word(1, 0, 77));
}

/* A reply that is not where, or what, it says. Only that task fails. */
static void
lie_about_the_reply(u32 kind, u64 size, u64 offset, u32 ring_end)
{
    begin();
    fp_reply reply = {.kind = kind, .size = size, .offset = offset, .ring_end = ring_end};
    CHECK_EQ(fp_worker_complete(&liar, &call, &reply), FP_OK);
    crew_wait_for(&c, first);
    CHECK(!first->at_once);
    crew_expect_outcome(&c, first, FP_OUTCOME_CORRUPT);
    CHECK(!c.pool->broken);
    fp_sentence s;
    CHECK(fp_pool_next_fate(c.pool, &s));
    CHECK_EQ(s.w, 0);
    CHECK(!fp_pool_next_fate(c.pool, &s));
    u32 w = crew_start(&c);   /* another goes on */
    crew_await(&c, second, (order){.id = 1});
    CHECK_EQ(w, 1);
    fp_task *task;
    CHECK_EQ(fp_pool_reap(c.pool, 0, &task), FP_CONDEMNED);
    CHECK(task == NULL);
    crew_close(&c);
}

static void
test_the_reply(void)
{
    crew_open(&c, 3);
    const fp_shm m = c.pool->shm;
    u64 ring = (u64)(m.rings - (u8 *)m.head);
    crew_close(&c);
    lie_about_the_reply(FP_REPLY_VALUE, FP_INLINE + 1, 0, 0);
    lie_about_the_reply(FP_REPLY_ERROR, UINT64_MAX, 0, 0);
    lie_about_the_reply(FP_CALL_WHOLE, 16, 0, 0);
    lie_about_the_reply(UINT32_MAX, 16, 0, 0);
    lie_about_the_reply(FP_REPLY_VALUE, 600, 8, 600);                       /* in the head */
    lie_about_the_reply(FP_REPLY_VALUE, 600, ring + FP_RING, 600);          /* another worker's ring */
    lie_about_the_reply(FP_REPLY_VALUE, 600, ring + FP_RING - 500, 600);    /* half in it */
    lie_about_the_reply(FP_REPLY_VALUE, FP_RING + 1, ring, FP_RING);
    lie_about_the_reply(FP_REPLY_VALUE, UINT64_MAX, ring, 600);
    lie_about_the_reply(FP_REPLY_HANDED, UINT64_MAX, ring, 600);
    lie_about_the_reply(FP_REPLY_HANDED_ERROR, FP_INLINE + 1, 0, 0);
    lie_about_the_reply(FP_REPLY_VALUE, 600, ring, FP_RING + 1);            /* frees more than there is */
    lie_about_the_reply(FP_REPLY_VALUE, 600, ring, UINT32_MAX);
    lie_about_the_reply(FP_REPLY_VALUE, 600, m.spans, 0);                   /* a span of the parent's */
    lie_about_the_reply(FP_REPLY_VALUE, 600, m.spans + 9 * FP_SPAN, 0);     /* nobody's */
    lie_about_the_reply(FP_REPLY_VALUE, 600, m.spans + 8, 0);
    lie_about_the_reply(FP_REPLY_VALUE, 0, m.spans + 9 * FP_SPAN, 0);
    lie_about_the_reply(FP_REPLY_VALUE, UINT64_MAX, m.spans + 9 * FP_SPAN, 0);
    lie_about_the_reply(FP_REPLY_VALUE, 600, m.size - 100, 0);
    lie_about_the_reply(FP_REPLY_VALUE, 600, m.size, 0);
    lie_about_the_reply(FP_REPLY_VALUE, 600, UINT64_MAX - 100, 0);
}

/* It may lie where the call was: no more of it than that had. */
static void
reply_in_the_calls_place(u64 size, u64 past, bool is_good)
{
    begin_with(5 * FP_SPAN - 100);
    fp_reply reply = {.kind = FP_REPLY_VALUE, .size = size, .stream = size, .offset = first->block + past};
    CHECK_EQ(fp_worker_complete(&liar, &call, &reply), FP_OK);
    crew_wait_for(&c, first);
    CHECK_EQ(first->outcome, is_good ? FP_OUTCOME_REPLY : FP_OUTCOME_CORRUPT);
    u32 kept = is_good && size > 256 << 10 ? (u32)((size + FP_SPAN - 1) / FP_SPAN) : 0;
    CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_PARENT), kept + 5);   /* and the other call */
    CHECK_EQ(fp_load_seq_cst(&c.pool->placed), 1);
    fp_pool_drop_task(c.pool, first);
    CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_PARENT), 5);
    fp_pool_break(c.pool, (fp_death){0});
    end_of_a_broken_pool();
    expect_broken(second);
    crew_free(&c);
}

static void
test_the_calls_place(void)
{
    static const u64 good[] = {1, FP_SPAN, FP_SPAN + 1, 4 * FP_SPAN, 4 * FP_SPAN + 1, 5 * FP_SPAN};
    static const u64 bad[] = {0, 5 * FP_SPAN + 1, 8 * FP_SPAN, UINT64_MAX - FP_SPAN, UINT64_MAX};
    for (u32 i = 0; i < sizeof good / sizeof *good; i++) {
        reply_in_the_calls_place(good[i], 0, true);
        reply_in_the_calls_place(good[i], 8, false);
        reply_in_the_calls_place(good[i], FP_SPAN, false);
        reply_in_the_calls_place(good[i], 5 * FP_SPAN, false);   /* the other call's */
    }
    for (u32 i = 0; i < sizeof bad / sizeof *bad; i++) {
        reply_in_the_calls_place(bad[i], 0, false);
    }
}

/* A worker that is caught is killed, and another goes on. */
static void
tell_a_lie(fp_worker *k)
{
    fp_reply reply = {.kind = FP_REPLY_VALUE, .size = UINT64_MAX};
    fp_call task;
    int rc;
    while ((rc = fp_worker_next(k, &task)) == FP_EMPTY) {
        fp_worker_wait(k, FP_NEVER);
    }
    CHECK_EQ(rc, FP_OK);
    CHECK_EQ(fp_worker_complete(k, &task, &reply), FP_OK);
    for (;;) {
        pause();
    }
}

static void
test_a_liar_is_killed(void)
{
    crew_open(&c, 1);
    crew_start_with(&c, tell_a_lie);
    first = crew_give(&c, (order){.id = 0}, 2000);
    second = crew_give(&c, (order){.id = 1}, 2000);
    crew_wait_for(&c, first);
    crew_expect_outcome(&c, first, FP_OUTCOME_CORRUPT);
    fp_pool_close(c.pool);
    CHECK_EQ(crew_manage(&c, true), 1);
    crew_expect(&c, second, (order){.id = 1});
    crew_close(&c);
}

static void
test_another_workers_span_is_not_taken(void)
{
    begin();
    u64 foreign;
    CHECK_EQ(fp_pool_new_worker(c.pool), 1);
    fp_worker other = {.shm = c.pool->shm, .w = 1, .bell = c.pool->bell};
    fp_reply theirs;
    u8 *room;
    CHECK_EQ(fp_worker_reply(&other, &call, FP_SPAN, &theirs, &room), FP_OK);
    foreign = theirs.offset;
    fp_reply reply = {.kind = FP_REPLY_VALUE, .size = FP_SPAN, .offset = foreign};
    CHECK_EQ(fp_worker_complete(&liar, &call, &reply), FP_OK);
    crew_wait_for(&c, first);
    crew_expect_outcome(&c, first, FP_OUTCOME_CORRUPT);
    CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_WORKER + 1), 1);
    fp_task *task;
    fp_pool_reap(c.pool, 0, &task);
    fp_pool_reap(c.pool, 1, &task);
    crew_start(&c);
    crew_await(&c, second, (order){.id = 1});
    crew_close(&c);
}

/* ------------------------------------------------------------ what only a death brings to light */

/* It wrote over the word that says what it went for: its task is found all the same. */
static void
test_a_dead_worker_has_hidden_its_task(void)
{
    static const u32 words[] = {0, 2, 1000, UINT32_MAX};
    for (u32 i = 0; i < sizeof words / sizeof *words; i++) {
        fp_task *task;
        begin();
        fp_store_seq_cst(&c.pool->shm.workers[0].wk_slot, words[i]);
        CHECK_EQ(fp_pool_reap(c.pool, 0, &task), FP_BROKEN);
        CHECK(task == first && !c.pool->broken);
        fp_pool_fail(c.pool, task);
        expect_broken(first);
        crew_start(&c);
        crew_await(&c, second, (order){.id = 1});
        crew_close(&c);
    }
}

/* Nobody would ever claim, or list, what is out: the pool breaks, so that nobody waits for it. */
static void
expect_the_end(void)
{
    fp_task *task;
    CHECK_EQ(fp_pool_new_worker(c.pool), 1);
    fp_pool_reap(c.pool, 1, &task);
    CHECK(task == NULL);
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

static void
test_a_task_has_vanished(void)
{
    static const u64 words[] = {0, UINT64_MAX, (u64)2 << 32 | FP_READY, (u64)1 << 32 | FP_FREE,
                                (u64)1 << 32 | 2u << 8 | FP_CLAIMED, (u64)1 << 32 | FP_DOOMED};
    for (u32 i = 0; i < sizeof words / sizeof *words; i++) {
        begin();
        fp_store_seq_cst(&slot_of(second)->sl_state, words[i]);
        expect_the_end();
    }
    begin();   /* the hint is gone */
    fp_store_seq_cst(&c.pool->shm.head->rg_head, 2);
    expect_the_end();
    begin();
    fp_store_seq_cst(&c.pool->shm.cells[1], 1);
    expect_the_end();
    begin();   /* claimed by one that sleeps */
    fp_sleep_announce(&c.pool->shm, 0);
    expect_the_end();
}

static void
test_a_result_is_lost_from_the_list(void)
{
    begin();
    fp_reply reply = {.kind = FP_REPLY_NONE};
    CHECK_EQ(fp_worker_complete(&liar, &call, &reply), FP_OK);
    fp_store_seq_cst(&c.pool->shm.head->cq_head, 0);
    CHECK_EQ(fp_worker_next(&liar, &call), FP_OK);   /* the next */
    fp_task *task;
    CHECK_EQ(fp_pool_new_worker(c.pool), 1);
    fp_pool_reap(c.pool, 1, &task);
    CHECK(c.pool->broken);
    fp_pool_reap(c.pool, 0, &task);
    fp_pool_bury(c.pool);
    crew_expect_outcome(&c, first, FP_OUTCOME_REPLY);   /* found after all */
    expect_broken(second);
    crew_free(&c);
}

/* A slot's word is not what its worker left there: the worker hears of it when it completes. */
static void
test_a_running_task_is_written_over(void)
{
    begin();
    fp_reply reply = {.kind = FP_REPLY_NONE};
    fp_store_seq_cst(&slot_of(first)->sl_state, 0);
    CHECK_EQ(fp_worker_complete(&liar, &call, &reply), FP_CORRUPT);
    expect_the_end();
}

/* Who sleeps on the list is woken, though the bit that says so has been written over. */
static void *
wait_for_second(void *arg)
{
    (void)arg;
    crew_wait_for(&c, second);
    return NULL;
}

static void
test_the_leader_is_forgotten(void)
{
    pthread_t leader;
    begin();
    c.pool->spin.cpus = 1;
    pthread_create(&leader, NULL, wait_for_second, NULL);
    EVENTUALLY(leader_is_asleep(c.pool));
    fp_store_seq_cst(&c.pool->shm.head->cq_head, c.pool->shm.nslots + 1);
    fp_pool_manage(c.pool);
    CHECK_EQ(pthread_join(leader, NULL), 0);
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

/* Nobody dies, nothing happens any more: who waits looks around after a while. */
static void
test_a_result_is_lost_and_its_worker_lives(void)
{
    begin();
    fp_reply reply = {.kind = FP_REPLY_NONE};
    CHECK_EQ(fp_worker_complete(&liar, &call, &reply), FP_OK);
    fp_store_seq_cst(&c.pool->shm.head->cq_head, 0);
    CHECK_EQ(fp_worker_next(&liar, &call), FP_OK);
    crew_wait_for(&c, second);
    end_of_a_broken_pool();
    crew_expect_outcome(&c, first, FP_OUTCOME_REPLY);   /* found after all */
    expect_broken(second);
    crew_free(&c);
}

static void
test_a_sleeping_worker_is_not_seen(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    EVENTUALLY(fp_load_acquire(&c.pool->shm.idle[0]) == 1 && fp_load_acquire(&c.pool->shm.workers[0].wk_futex) == 1);
    fp_store_seq_cst(&c.pool->shm.idle[0], 0);
    first = crew_give(&c, (order){.id = 0}, 2000);
    crew_await(&c, first, (order){.id = 0});
    crew_close(&c);
}

/* Who needs memory waits for spans that the parent gives back to the system; not for ever, if it does not. */
static void
test_all_spans_are_said_to_be_given_back(void)
{
    begin();
    u64 block, bound = BOUND;
    for (u32 i = 0; i < c.pool->shm.nspans; i++) {
        fp_store_seq_cst(&c.pool->shm.owners[i], UINT32_MAX);
    }
    for (u32 i = 0; i < 3; i++) {
        CHECK(fp_pool_room(c.pool, FP_SPAN, &block) != FP_OK);
        CHECK(fp_pool_room(c.pool, 3 * FP_SPAN, &block) != FP_OK);
    }
    CHECK(fp_now() < bound);
    fp_pool_break(c.pool, (fp_death){0});
    end_of_a_broken_pool();
    expect_broken(first);
    expect_broken(second);
    crew_free(&c);
}

static void
lie_about_the_ring(u64 head, u64 tail)
{
    begin();
    fp_head_shm *h = c.pool->shm.head;
    fp_store_seq_cst(&h->rg_head, head);
    fp_store_seq_cst(&h->rg_tail, tail);
    fp_store_seq_cst(&h->rg_bell, head + 1);
    for (u32 i = 0; i < c.pool->shm.ncells; i++) {
        fp_store_seq_cst(&c.pool->shm.cells[i], ~0ull - i);
    }
    fp_task *more = NULL;
    int rc = crew_try(&c, (order){.id = 2}, 100, &more);
    CHECK(rc == FP_OK || rc == FP_BROKEN);
    fp_pool_manage(c.pool);
    fp_pool_cancel_pending(c.pool);
    fp_pool_break(c.pool, (fp_death){0});   /* not every lie can be seen */
    end_of_a_broken_pool();
    CHECK(fp_task_is_done(first) && fp_task_is_done(second));
    fp_pool_drop_task(c.pool, first);
    fp_pool_drop_task(c.pool, second);
    if (more != NULL) {
        fp_pool_drop_task(c.pool, more);
    }
    crew_free(&c);
}

static void
test_head_and_tail(void)
{
    lie_about_the_ring(3, 2);                            /* past the tail */
    lie_about_the_ring(UINT64_MAX - 5, 2);
    lie_about_the_ring(1ull << 63, 2);
    lie_about_the_ring(1, 3);                            /* a tail that the parent did not write */
    lie_about_the_ring(1, UINT64_MAX);
    lie_about_the_ring(UINT64_MAX - 2047 + 2, 2);        /* full, and its cells are lies */
}

static void
test_the_workers_own_words(void)
{
    static const u32 words[] = {0, 1, 2, 1025, 0x80000000, UINT32_MAX};
    for (u32 i = 0; i < sizeof words / sizeof *words; i++) {
        begin();
        fp_worker_shm *k = &c.pool->shm.workers[0];
        fp_store_seq_cst(&k->wk_slot, words[i]);
        fp_store_seq_cst(&k->wk_phase, words[i]);
        fp_store_seq_cst(&k->wk_ring_head, words[i]);
        fp_store_seq_cst(&c.pool->shm.head->wk_watch, words[i]);
        fp_store_seq_cst(&c.pool->shm.idle[0], ~0ull);
        fp_store_seq_cst(&c.pool->shm.head->hd_live, words[i]);
        CHECK_EQ(fp_pool_new_worker(c.pool), 1);   /* index 0 is taken, whatever it says of itself */
        fp_task *task, *third = crew_give(&c, (order){.id = 2}, 0);
        fp_pool_reap(c.pool, 1, &task);
        int rc = fp_pool_reap(c.pool, 0, &task);
        CHECK(rc == FP_BROKEN || task == NULL);
        fp_pool_break(c.pool, (fp_death){0});
        if (task != NULL) {
            fp_pool_fail(c.pool, task);
        }
        fp_pool_bury(c.pool);
        expect_broken(first);
        expect_broken(second);
        expect_broken(third);
        crew_free(&c);
    }
}

/* ----------------------------------------------- a process that scribbles over everything */

static void
scribble(u64 seed)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fp_shm m;
    if (fp_shm_attach(&m, c.pool->shm.fd) != FP_OK) {
        _exit(2);
    }
    u64 all = m.spans / 4, head = sizeof(fp_head_shm) / 4;
    for (u32 i = 0;; i++) {
        u64 where = check_random(&seed) % (i % 3 ? all : head);
        static const u32 likely[] = {0, 1, 2, 3, UINT32_MAX, FP_CQ_WAITER, FP_CQ_BELL, 1024, 1025};
        u32 what = i % 2 ? likely[check_random(&seed) % 9] : (u32)check_random(&seed);
        fp_store_relaxed((fp_a32 *)m.head + where, what);
        if (i % 64 == 0) {
            sched_yield();
        }
    }
}

static fp_a32 giving_up;

/* Short waits: a wake that was scribbled over is lost, as it may be while the scribbler lives. */
static void *
submit_and_wait(void *arg)
{
    fp_task *t;
    (void)arg;
    for (u32 i = 0; !fp_load_acquire(&giving_up); i = (i + 1) % 1000) {
        if (crew_try(&c, (order){.id = i, .size = i % 4 * 400}, i % 3 * 800, &t) != FP_OK) {
            break;
        }
        fp_wait_task(c.pool, t, fp_now() + 200000);
        if (i % 5 == 0) {
            fp_pool_cancel(c.pool, t);
        }
        fp_pool_is_running(c.pool, t);
        fp_wait_task(c.pool, t, fp_now() + 200000);
        fp_pool_drop_task(c.pool, t);
    }
    return NULL;
}

static void
quiet(fp_worker *k)
{
    (void)k;
    /* what a worker says about bytes that were scribbled over, and how it dies of them, is its own affair */
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    int ignored = !freopen("/dev/null", "w", stderr);
    (void)ignored;
}

static void
one_scribbled_pool(u64 seed)
{
    crew_open(&c, 3);
    crew_start_with(&c, quiet);
    crew_start_with(&c, quiet);
    for (u32 w = 0; w < 2; w++) {
        EVENTUALLY(fp_load_acquire(&c.pool->shm.workers[w].wk_phase) == FP_WORKER_RUNNING);
    }
    fp_task *waiting[20];
    for (u32 i = 0; i < 20; i++) {
        waiting[i] = crew_give(&c, (order){.id = 2000 + i, .act = HOLD}, 0);
    }
    pid_t scribbler = fork();
    if (scribbler == 0) {
        scribble(seed);
    }
    pthread_t threads[2];
    fp_store_release(&giving_up, 0);
    for (u32 i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, submit_and_wait, NULL);
    }
    u64 until = fp_now() + 30000000;
    while (fp_now() < until) {   /* the manager, with a doorbell that may be rung for nothing, or not */
        fp_pool_manage(c.pool);
        check_pause();
    }
    kill(scribbler, SIGKILL);
    CHECK_EQ(waitpid(scribbler, NULL, 0), scribbler);
    fp_store_release(&giving_up, 1);
    for (u32 w = 0; w < 2; w++) {
        fp_task *task;
        kill(c.members[w].pid, SIGKILL);
        crew_wait(&c, w);
        crew_reap(&c, w, &task);
        if (task != NULL) {
            fp_pool_fail(c.pool, task);
        }
    }
    fp_pool_break(c.pool, (fp_death){.pid = 1});
    fp_pool_bury(c.pool);
    for (u32 i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(fp_load_seq_cst(&c.pool->unfinished), 0);
    for (u32 i = 0; i < 20; i++) {
        CHECK(fp_task_is_done(waiting[i]));
        fp_pool_drop_task(c.pool, waiting[i]);
    }
    crew_free(&c);
}

int
main(int argc, char **argv)
{
    u64 seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : fp_now();
    check_within(60 + (unsigned)seconds * 4);
    test_the_completed_list();
    test_the_list_goes_in_circles();
    test_a_free_slot_is_said_to_be_done();
    test_the_state_word();
    test_the_reply();
    test_the_calls_place();
    test_another_workers_span_is_not_taken();
    test_a_liar_is_killed();
    test_a_dead_worker_has_hidden_its_task();
    test_a_task_has_vanished();
    test_a_result_is_lost_from_the_list();
    test_a_running_task_is_written_over();
    test_the_leader_is_forgotten();
    test_a_result_is_lost_and_its_worker_lives();
    test_a_sleeping_worker_is_not_seen();
    test_all_spans_are_said_to_be_given_back();
    test_head_and_tail();
    test_the_workers_own_words();
    for (u64 until = fp_now() + seconds * 1000000000u; fp_now() < until; seed++) {
        char text[64];
        snprintf(text, sizeof text, "scribbling, seed %llu", (unsigned long long)seed);
        check_doing(text);
        one_scribbled_pool(seed);
    }
    return 0;
}
