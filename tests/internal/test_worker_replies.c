/* Calls and replies of every size, each way that bytes can travel. */
#include "crew.h"
#include "core/spans.h"

static crew c;

static const u64 sizes[] = {
    0, 16, FP_INLINE - 8, FP_INLINE, FP_INLINE + 8, 1024, 4096, FP_RING_MAX - 8, FP_RING_MAX, FP_RING_MAX + 8,
    200000, 256 << 10, (256 << 10) + 8, 512 << 10, (512 << 10) + 8, FP_SPAN, FP_SPAN + 8, 5 * FP_SPAN + 40,
};
#define NSIZES (sizeof sizes / sizeof *sizes)

static void
test_every_size_there_and_back(void)
{
    crew_open(&c, 2);
    crew_start(&c);
    crew_start(&c);
    u64 id = 0;
    for (u32 i = 0; i < NSIZES; i++) {
        for (u32 j = 0; j < NSIZES; j++) {
            order o = {.id = ++id, .size = (u32)sizes[j]};
            crew_await(&c, crew_give(&c, o, sizes[i]), o);
        }
    }
    crew_close(&c);
}

static void
test_small_replies_leave_shared_memory_at_once(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    for (u32 i = 0; i < NSIZES; i++) {
        order o = {.id = i, .size = (u32)sizes[i]};
        fp_task *t = crew_give(&c, o, 0);
        crew_wait_for(&c, t);
        CHECK_EQ(t->reply_offset != 0, sizes[i] > 256 << 10);
        CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_PARENT), t->reply_offset ? (sizes[i] + FP_SPAN - 1) / FP_SPAN : 0);
        fp_task_incref(t);
        crew_expect(&c, t, o);
        fp_pool_forget_reply(c.pool, t);
        CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_PARENT), 0);
        fp_pool_forget_reply(c.pool, t);   /* once is enough */
        fp_pool_drop_task(c.pool, t);
    }
    crew_close(&c);
}

static u32
spans_for(u64 size)
{
    return (u32)((size + FP_SPAN - 1) / FP_SPAN);
}

/* It needs no other pages then, and what it does not fill is free as soon as it has come. */
static void
test_a_reply_takes_the_place_of_its_call(void)
{
    static const struct {
        u64 call;
        u32 reply, retries;
        bool same;
    } cases[] = {
        {5 * FP_SPAN, 5 * FP_SPAN, 0, true},
        {5 * FP_SPAN - 9, 5 * FP_SPAN, 0, true},
        {16 * FP_SPAN, 14 * FP_SPAN + 8, 0, true},
        {16 * FP_SPAN, 14 * FP_SPAN, 0, false},               /* it would leave a gap */
        {5 * FP_SPAN, 5 * FP_SPAN + 8, 0, false},
        {5 * FP_SPAN, 5 * FP_SPAN, 1, false},                 /* the call may be wanted again */
        {200000, 262136, 0, false},                           /* a reply of this size is copied at once */
    };
    crew_open(&c, 1);
    crew_start(&c);
    for (u32 i = 0; i < sizeof cases / sizeof *cases; i++) {
        order o = {.id = i, .size = cases[i].reply};
        c.retries = cases[i].retries;
        fp_task *t = crew_give(&c, o, cases[i].call);
        u64 block = t->block;
        fp_store_seq_cst(&c.pool->trim_wanted, 0);
        crew_wait_for(&c, t);
        CHECK_EQ(t->block, 0);
        CHECK_EQ(fp_load_seq_cst(&c.pool->trim_wanted), !cases[i].same || spans_for(o.size) < spans_for(cases[i].call));
        CHECK_EQ(t->reply_offset == block, cases[i].same);
        CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_PARENT), t->reply_offset ? spans_for(o.size) : 0);
        CHECK_EQ(fp_load_seq_cst(&c.pool->placed), 0);
        CHECK_EQ(fp_load_seq_cst(&c.pool->placed_bytes), 0);
        crew_expect(&c, t, o);
        CHECK_EQ(spans_owned_by(c.pool, FP_SPAN_PARENT), 0);
    }
    c.retries = 0;
    crew_close(&c);
}

static void
test_a_small_reply_does_so_if_there_is_no_other_room(void)
{
    crew_open_with(&c, 1, 64 * FP_SPAN);
    crew_start(&c);
    order o = {.id = 1, .act = HOLD, .size = 300000};
    fp_task *t = crew_give(&c, o, 5 * FP_SPAN);
    u64 block = t->block, at, taken[64];
    u32 n = 0;
    while (fp_spans_claim(&c.pool->shm, FP_SPAN_PARENT, 0, 1, &at) == FP_OK) {
        CHECK(n < 64);
        taken[n++] = at;
    }
    stage_open_gate();
    crew_wait_for(&c, t);
    CHECK_EQ(t->reply_offset, block);
    crew_expect(&c, t, o);
    while (n > 0) {
        fp_spans_free(&c.pool->shm, taken[--n], 1);
    }
    crew_close(&c);
}

/* Enough replies to go round the byte ring several times, with sizes that do not divide it. */
static void
test_the_byte_ring_wraps(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    u64 seed = 5, bytes = 0;
    for (u32 id = 0; bytes < 8 * FP_RING; id++) {
        order o = {.id = id, .size = (u32)(FP_INLINE + 1 + check_random(&seed) % (FP_RING_MAX - FP_INLINE))};
        bytes += o.size;
        fp_task *t = crew_give(&c, o, 0);
        crew_wait_for(&c, t);
        crew_expect(&c, t, o);
        for (u32 i = 0; i < c.pool->shm.nspans; i++) {   /* never one in spans: room was always given back */
            CHECK_EQ(fp_load_acquire(&c.pool->shm.owners[i]), 0);
        }
    }
    crew_close(&c);
}

/* More than the byte ring holds, and nobody takes it: the rest goes to spans, nothing waits. */
static void
test_a_full_byte_ring_overflows_into_spans(void)
{
    crew_open(&c, 1);
    enum { N = 40 };
    fp_task *tasks[N];
    order o = {.size = FP_RING_MAX};
    for (u32 i = 0; i < N; i++) {
        o.id = i;
        tasks[i] = crew_give(&c, o, 0);
    }
    crew_start(&c);
    u32 last = tasks[N - 1]->slot;
    EVENTUALLY(fp_word_state(fp_load_acquire(&c.pool->shm.slots[last].sl_state)) == FP_DONE);
    CHECK_EQ(spans_of_workers(c.pool), N - FP_RING / FP_RING_MAX);
    for (u32 i = 0; i < N; i++) {
        o.id = i;
        crew_await(&c, tasks[i], o);
    }
    CHECK_EQ(spans_of_workers(c.pool), 0);
    for (u32 i = 0; i < N; i++) {   /* the byte ring is in order again */
        o.id = N + i;
        crew_await(&c, crew_give(&c, o, 0), o);
    }
    crew_close(&c);
}

static void
test_no_memory_fails_that_task_only(void)
{
    crew_open(&c, 1);
    crew_start(&c);
    fp_pool *p = c.pool;
    u64 at;
    for (u32 i = 0; i < p->shm.nspans; i++) {   /* held by nobody who could give them back */
        fp_store_seq_cst(&p->shm.owners[i], FP_SPAN_PARENT | FP_SPAN_RESERVED);
    }
    CHECK_EQ(fp_spans_claim(&p->shm, FP_SPAN_PARENT, 0, 1, &at), FP_NOMEM);
    order big = {.id = 1, .size = FP_RING_MAX + 8}, small = {.id = 2, .size = FP_RING_MAX};
    fp_task *t = crew_give(&c, big, 0), *u;
    crew_wait_for(&c, t);
    crew_expect_outcome(&c, t, FP_OUTCOME_NOMEM);
    crew_await(&c, crew_give(&c, small, 0), small);
    big.id = 3;
    CHECK_EQ(crew_try(&c, big, 5000, &u), FP_NOMEM);   /* a call that finds no room, and nothing runs that could make some */
    for (u32 i = 0; i < p->shm.nspans; i++) {
        fp_store_seq_cst(&p->shm.owners[i], FP_SPAN_FREE);
    }
    crew_await(&c, crew_give(&c, big, 5000), big);
    crew_close(&c);
}

static void
test_results_nobody_asks_for_are_given_back(void)
{
    crew_open(&c, 2);
    crew_start(&c);
    crew_start(&c);
    for (u32 i = 0; i < 200; i++) {
        order o = {.id = i, .size = (u32)sizes[i % NSIZES]};
        fp_pool_drop_task(c.pool, crew_give(&c, o, sizes[i % 7]));
    }
    crew_close(&c);   /* checks that nothing is left */
}

static void
test_functions_are_found_by_number(void)
{
    crew_open(&c, 1);
    fp_worker k = {.shm = c.pool->shm};
    u8 text[FP_FUNCTION_MAX + 1];
    const u8 *data;
    u64 size;
    CHECK_EQ(fp_pool_add_function(c.pool, text, FP_FUNCTION_MAX + 1, "too long"), FP_FULL);
    for (u32 i = 1; i <= FP_NFUNCTIONS; i++) {
        memset(text, (int)i, sizeof text);
        CHECK_EQ(fp_pool_add_function(c.pool, text, FP_FUNCTION_MAX - i % 50, "f"), i);
    }
    CHECK_EQ(fp_pool_add_function(c.pool, text, 1, "one too many"), FP_FULL);
    CHECK_EQ(c.pool->nfunctions, FP_NFUNCTIONS);
    for (u32 i = 1; i <= FP_NFUNCTIONS; i++) {
        CHECK_EQ(fp_worker_function(&k, i, &data, &size), FP_OK);
        CHECK_EQ(size, FP_FUNCTION_MAX - i % 50);
        CHECK_EQ(data[0], i & 0xff);
        CHECK_EQ(data[size - 1], i & 0xff);
    }
    CHECK_EQ(fp_worker_function(&k, 0, &data, &size), FP_CORRUPT);
    CHECK_EQ(fp_worker_function(&k, FP_NFUNCTIONS + 1, &data, &size), FP_CORRUPT);
    c.pool->shm.functions[3].fn_len = FP_FUNCTION_MAX + 1;
    CHECK_EQ(fp_worker_function(&k, 4, &data, &size), FP_CORRUPT);
    crew_free(&c);
}

int
main(void)
{
    check_within(120);
    test_every_size_there_and_back();
    test_small_replies_leave_shared_memory_at_once();
    test_a_reply_takes_the_place_of_its_call();
    test_a_small_reply_does_so_if_there_is_no_other_room();
    test_the_byte_ring_wraps();
    test_a_full_byte_ring_overflows_into_spans();
    test_no_memory_fails_that_task_only();
    test_results_nobody_asks_for_are_given_back();
    test_functions_are_found_by_number();
    return 0;
}
