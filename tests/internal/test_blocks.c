/* The parent's allocator. */
#include "check.h"
#include "core/blocks.h"

#define NSPANS 64u

static fp_shm m;
static fp_blocks b;

static void
fresh(void)
{
    if (m.head != NULL) {
        fp_blocks_fini(&b);
        fp_shm_close(&m, true);
    }
    CHECK_EQ(fp_shm_create(&m, 1, (u64)NSPANS * FP_SPAN), FP_OK);
    fp_blocks_init(&b, &m);
}

static u32
spans_taken(void)
{
    u32 n = 0;
    for (u32 i = 0; i < NSPANS; i++) {
        n += (fp_load_acquire(&m.owners[i]) & FP_SPAN_OWNER) == FP_SPAN_PARENT;
    }
    return n;
}

static u64
alloc(u64 size)
{
    u64 offset = 0;
    CHECK_EQ(fp_blocks_alloc(&b, size, &offset), FP_OK);
    CHECK(fp_shm_in_spans(&m, offset, size));
    return offset;
}

static void
test_small_ones_share_a_span(void)
{
    fresh();
    u64 at[FP_BLOCKS_PER_SPAN];
    for (u32 i = 0; i < FP_BLOCKS_PER_SPAN; i++) {
        at[i] = alloc(1000);
    }
    CHECK_EQ(spans_taken(), 1);
    u64 more = alloc(1024);
    CHECK_EQ(spans_taken(), 2);
    fp_blocks_free(&b, at[50], 1000);
    CHECK_EQ(alloc(1), at[50]);
    fp_blocks_free(&b, more, 1024);
    for (u32 i = 0; i < FP_BLOCKS_PER_SPAN; i++) {
        fp_blocks_free(&b, at[i], 1000);
    }
    CHECK_EQ(spans_taken(), 1);   /* one is kept warm */
}

/* A submit asks before it takes another span: what has ended meanwhile may leave room. */
static void
test_room_is_what_needs_no_other_span(void)
{
    fresh();
    u64 size = fp_blocks_size(FP_BLOCK_CLASSES - 1), last = 0;
    CHECK(!fp_blocks_has_room(&b, size));
    u64 first = alloc(size);
    while (fp_blocks_has_room(&b, size)) {
        last = alloc(size);
        CHECK_EQ(spans_taken(), 1);
    }
    CHECK(last != 0);
    CHECK(!fp_blocks_has_room(&b, fp_blocks_size(0)));
    u64 other = alloc(size);
    CHECK_EQ(spans_taken(), 2);
    fp_blocks_free(&b, other, size);
    fp_blocks_free(&b, first, size);
    CHECK(fp_blocks_has_room(&b, size));
    CHECK_EQ(alloc(size), first);
}

static void
test_each_size_has_spans_of_its_own(void)
{
    fresh();
    u64 at[FP_BLOCK_CLASSES];
    for (u32 i = 0; i < FP_BLOCK_CLASSES; i++) {
        at[i] = alloc(fp_blocks_size(i));
        CHECK_EQ(spans_taken(), i + 1);
    }
    for (u32 i = 0; i < FP_BLOCK_CLASSES; i++) {
        fp_blocks_free(&b, at[i], fp_blocks_size(i));
    }
    CHECK_EQ(spans_taken(), FP_BLOCK_CLASSES);
}

static void
test_big_ones_have_a_run_each(void)
{
    fresh();
    u64 half = alloc(FP_SPAN / 2);
    u64 more = alloc(FP_SPAN / 2 + 1);
    u64 three = alloc(2 * FP_SPAN + 1);
    CHECK_EQ(spans_taken(), 1 + 1 + 3);
    fp_blocks_free(&b, three, 2 * FP_SPAN + 1);
    fp_blocks_free(&b, more, FP_SPAN / 2 + 1);
    CHECK_EQ(spans_taken(), 1);
    fp_blocks_free(&b, half, FP_SPAN / 2);
}

static void
test_running_out_is_an_answer(void)
{
    fresh();
    u64 offset, all = alloc((u64)NSPANS * FP_SPAN);
    CHECK_EQ(fp_blocks_alloc(&b, 1, &offset), FP_NOMEM);
    CHECK_EQ(fp_blocks_alloc(&b, FP_SPAN, &offset), FP_NOMEM);
    fp_blocks_free(&b, all, (u64)NSPANS * FP_SPAN);
    alloc(1);
}

static void
test_scribbled_owners_do_not_harm_it(void)
{
    fresh();
    u64 at = alloc(1000), offset;
    fp_store_seq_cst(&m.owners[0], 0);   /* not what the parent wrote */
    CHECK_EQ(fp_blocks_alloc(&b, 5000, &offset), FP_NOMEM);
    CHECK_EQ(fp_blocks_alloc(&b, 5000, &offset), FP_OK);
    CHECK((offset - m.spans) / FP_SPAN != (at - m.spans) / FP_SPAN);
    fp_blocks_free(&b, at, 1000);
    fp_blocks_free(&b, offset, 5000);
}

/* ------------------------------------------------- against a list of what is out */

typedef struct {
    u64 offset, size;
} block;

static u64
random_size(u64 *seed)
{
    u64 bits = check_random(seed) % 22;
    return 1 + check_random(seed) % (1ull << bits);
}

static void
check_apart(const block *out, u32 n, block new)
{
    for (u32 i = 0; i < n; i++) {
        CHECK(new.offset + new.size <= out[i].offset || out[i].offset + out[i].size <= new.offset);
    }
}

static void
test_what_is_out_never_overlaps(void)
{
    fresh();
    block out[200];
    u32 n = 0;
    u64 seed = 1;
    for (u32 i = 0; i < 40000; i++) {
        block new = {.size = random_size(&seed)};
        if (n < 200 && check_random(&seed) % 2 && fp_blocks_alloc(&b, new.size, &new.offset) == FP_OK) {
            CHECK(fp_shm_in_spans(&m, new.offset, new.size));
            check_apart(out, n, new);
            out[n++] = new;
        }
        else if (n > 0) {
            u32 which = (u32)(check_random(&seed) % n);
            fp_blocks_free(&b, out[which].offset, out[which].size);
            out[which] = out[--n];
        }
    }
    while (n > 0) {
        n--;
        fp_blocks_free(&b, out[n].offset, out[n].size);
    }
    CHECK(spans_taken() <= FP_BLOCK_CLASSES);
}

int
main(void)
{
    check_within(60);
    test_small_ones_share_a_span();
    test_room_is_what_needs_no_other_span();
    test_each_size_has_spans_of_its_own();
    test_big_ones_have_a_run_each();
    test_running_out_is_an_answer();
    test_scribbled_owners_do_not_harm_it();
    test_what_is_out_never_overlaps();
    fp_blocks_fini(&b);
    fp_shm_close(&m, true);
    return 0;
}
