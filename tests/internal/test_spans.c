/* Runs of spans and their owners. */
#include "check.h"
#include "core/spans.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#define NSPANS 64u
#define SPAN ((u64)FP_SPAN)

static fp_shm m;

static void
fresh(void)
{
    if (m.head != NULL) {
        fp_shm_close(&m, true);
    }
    CHECK_EQ(fp_shm_create(&m, 4, NSPANS * SPAN), FP_OK);
    CHECK_EQ(m.nspans, NSPANS);
}

static u32
owner_of(u64 offset)
{
    return fp_load_acquire(&m.owners[(offset - m.spans) / SPAN]) & FP_SPAN_OWNER;
}

static u32
owned_by(u32 owner)
{
    u32 n = 0;
    for (u32 i = 0; i < NSPANS; i++) {
        n += owner_of(m.spans + i * SPAN) == owner;
    }
    return n;
}

static u64
claim(u32 owner, u32 first, u64 size)
{
    u64 offset = 0;
    return fp_spans_claim(&m, owner, first, size, &offset) == FP_OK ? offset : 0;
}

static void
test_a_run_has_as_many_spans_as_it_needs(void)
{
    fresh();
    u64 a = claim(FP_SPAN_WORKER, 0, 1), b = claim(FP_SPAN_WORKER, 0, SPAN), c = claim(FP_SPAN_WORKER, 0, SPAN + 1);
    CHECK_EQ(a, m.spans);
    CHECK_EQ(b, a + SPAN);
    CHECK_EQ(c, b + SPAN);
    CHECK_EQ(owned_by(FP_SPAN_WORKER), 4);
    memset(fp_shm_at(&m, c), 1, 2 * SPAN);   /* its pages are there */
    fp_spans_free(&m, b, SPAN);
    CHECK_EQ(owned_by(FP_SPAN_WORKER), 3);
    CHECK_EQ(claim(FP_SPAN_PARENT, 0, SPAN + 1), c + 2 * SPAN);   /* b is too small */
    CHECK_EQ(claim(FP_SPAN_PARENT, 0, SPAN), b);
    fp_spans_free(&m, c, SPAN + 1);
    CHECK_EQ(owned_by(FP_SPAN_WORKER), 1);
}

static void
test_the_search_begins_at_the_favourite_and_goes_round(void)
{
    fresh();
    CHECK_EQ(claim(FP_SPAN_PARENT, 62, 2 * SPAN), m.spans + 62 * SPAN);
    CHECK_EQ(claim(FP_SPAN_PARENT, 61, 2 * SPAN), m.spans);
    CHECK_EQ(claim(FP_SPAN_PARENT, 61, SPAN), m.spans + 61 * SPAN);
    CHECK_EQ(claim(FP_SPAN_PARENT, NSPANS, SPAN), m.spans + 2 * SPAN);
}

static void
test_running_out_is_an_answer(void)
{
    fresh();
    CHECK_EQ(claim(FP_SPAN_PARENT, 0, NSPANS * SPAN + 1), 0);
    CHECK_EQ(claim(FP_SPAN_PARENT, 0, UINT64_MAX), 0);
    CHECK_EQ(owned_by(FP_SPAN_FREE), NSPANS);
    u64 all = claim(FP_SPAN_PARENT, 0, NSPANS * SPAN);
    CHECK_EQ(all, m.spans);
    CHECK_EQ(claim(FP_SPAN_WORKER, 0, 1), 0);
    fp_spans_free(&m, all + 10 * SPAN, SPAN);
    CHECK_EQ(claim(FP_SPAN_WORKER, 0, 2 * SPAN), 0);   /* and lets go of what it had got */
    CHECK_EQ(owned_by(FP_SPAN_WORKER), 0);
    CHECK_EQ(claim(FP_SPAN_WORKER, 0, SPAN), m.spans + 10 * SPAN);
}

static void
test_pages_are_reserved_once(void)
{
    fresh();
    u64 a = claim(FP_SPAN_PARENT, 0, SPAN);
    CHECK(fp_load_acquire(&m.owners[0]) & FP_SPAN_RESERVED);
    fp_spans_free(&m, a, SPAN);
    CHECK_EQ(fp_load_acquire(&m.owners[0]), FP_SPAN_RESERVED | FP_SPAN_USED);
    a = claim(FP_SPAN_WORKER + 3, 0, SPAN);
    CHECK_EQ(fp_load_acquire(&m.owners[0]), (FP_SPAN_WORKER + 3) | FP_SPAN_RESERVED | FP_SPAN_USED);
    CHECK_EQ(fp_spans_take_over(&m, 3, a, SPAN), FP_OK);
    CHECK_EQ(fp_load_acquire(&m.owners[0]), FP_SPAN_PARENT | FP_SPAN_RESERVED | FP_SPAN_USED);
}

/* Spans that have pages. */
static u32
with_pages(void)
{
    u32 n = 0;
    for (u32 i = 0; i < NSPANS; i++) {
        n += (fp_load_acquire(&m.owners[i]) & FP_SPAN_RESERVED) != 0;
    }
    return n;
}

/* Bytes of the file that exist. */
static u64
file_bytes(void)
{
    struct stat st;
    CHECK_EQ(fstat(m.fd, &st), 0);
    return (u64)st.st_blocks * 512;
}

static void
test_idle_pages_go_back(void)
{
    fresh();
    u64 a = claim(FP_SPAN_PARENT, 0, 40 * SPAN), b = claim(FP_SPAN_WORKER, 0, 10 * SPAN);
    memset(fp_shm_at(&m, b), 7, 10 * SPAN);
    CHECK(fp_spans_trim(&m, 0));        /* all have been used lately */
    CHECK(!fp_spans_trim(&m, 0));       /* and now they have owners: nothing to come */
    CHECK_EQ(with_pages(), 50);
    fp_spans_free(&m, a, 40 * SPAN);
    CHECK(fp_spans_trim(&m, 4));
    CHECK_EQ(with_pages(), 50);
    u64 before = file_bytes();
    CHECK(!fp_spans_trim(&m, 4));
    CHECK_EQ(with_pages(), 14);
    CHECK(file_bytes() + 36 * SPAN <= before);
    CHECK_EQ(claim(FP_SPAN_PARENT, 0, 20 * SPAN), a);   /* they can be had again */
    memset(fp_shm_at(&m, a), 8, 20 * SPAN);
    CHECK_EQ(*fp_shm_at(&m, b + 10 * SPAN - 1), 7);
}

/* Threads claim, write, check and free; one trims: what somebody owns is never taken from under it. */
static atomic_bool over;

static void *
use_spans(void *arg)
{
    u32 w = (u32)(uintptr_t)arg, done = 0;
    unsigned seed = w;
    while (done < 3000) {
        u64 size = ((u64)rand_r(&seed) % (5 * SPAN)) + 1, at = claim(FP_SPAN_WORKER + w, (u32)rand_r(&seed) % NSPANS, size);
        if (at == 0) {
            continue;
        }
        u8 *bytes = fp_shm_at(&m, at);
        bytes[0] = bytes[size / 2] = bytes[size - 1] = (u8)(w + 1);
        sched_yield();
        CHECK(bytes[0] == w + 1 && bytes[size / 2] == w + 1 && bytes[size - 1] == w + 1);
        CHECK_EQ(fp_spans_take_over(&m, w, at, size), FP_OK);
        fp_spans_free(&m, at, size);
        done++;
    }
    return NULL;
}

static void *
trim_spans(void *arg)
{
    while (!atomic_load(&over)) {
        fp_spans_trim(&m, 3);
    }
    return arg;
}

static void
test_trimming_while_spans_are_used(void)
{
    pthread_t users[4], trimmer;
    fresh();
    CHECK_EQ(pthread_create(&trimmer, NULL, trim_spans, NULL), 0);
    for (uintptr_t w = 0; w < 4; w++) {
        CHECK_EQ(pthread_create(&users[w], NULL, use_spans, (void *)w), 0);
    }
    for (u32 w = 0; w < 4; w++) {
        CHECK_EQ(pthread_join(users[w], NULL), 0);
    }
    atomic_store(&over, true);
    CHECK_EQ(pthread_join(trimmer, NULL), 0);
    CHECK_EQ(owned_by(FP_SPAN_FREE), NSPANS);
    fp_spans_trim(&m, 0);
    fp_spans_trim(&m, 0);
    CHECK_EQ(with_pages(), 0);
}

static void
test_only_a_workers_own_run_is_taken_over(void)
{
    fresh();
    u64 a = claim(FP_SPAN_WORKER + 1, 0, 3 * SPAN), b = claim(FP_SPAN_WORKER + 2, 0, SPAN);
    CHECK_EQ(fp_spans_take_over(&m, 2, a, SPAN), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, a, 4 * SPAN), FP_CORRUPT);   /* runs into b */
    CHECK_EQ(fp_spans_take_over(&m, 1, a + 8, SPAN), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, a, 0), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, a, UINT64_MAX), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, m.size, SPAN), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, m.size - SPAN, 2 * SPAN), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, 0, SPAN), FP_CORRUPT);
    CHECK_EQ(fp_spans_take_over(&m, 1, UINT64_MAX - 7, SPAN), FP_CORRUPT);
    CHECK_EQ(owned_by(FP_SPAN_WORKER + 1), 3);
    CHECK_EQ(fp_spans_take_over(&m, 1, a, 2 * SPAN + 1), FP_OK);
    CHECK_EQ(owned_by(FP_SPAN_PARENT), 3);
    CHECK_EQ(owner_of(b), FP_SPAN_WORKER + 2);
}

static void
test_the_deads_are_freed_and_nobody_elses(void)
{
    fresh();
    claim(FP_SPAN_WORKER + 1, 0, 2 * SPAN);
    claim(FP_SPAN_WORKER + 0, 0, SPAN);
    claim(FP_SPAN_PARENT, 0, SPAN);
    claim(FP_SPAN_WORKER + 1, 40, SPAN);
    fp_spans_free_of(&m, 1);
    CHECK_EQ(owned_by(FP_SPAN_WORKER + 1), 0);
    CHECK_EQ(owned_by(FP_SPAN_WORKER), 1);
    CHECK_EQ(owned_by(FP_SPAN_PARENT), 1);
    CHECK_EQ(owned_by(FP_SPAN_FREE), NSPANS - 2);
}

/* ------------------------------------------------------------- any trace */

#define ACTORS 4u   /* the parent and three workers */
#define RUNS 40u

typedef struct {
    u64 at, size;
    u32 owner;
    u8 mark;
} run;

static u32
run_spans(const run *r)
{
    return (u32)((r->size + SPAN - 1) / SPAN);
}

/* Each span belongs to the run that lies there, or to nobody; what was written is still there. */
static void
check_runs(const run *runs)
{
    u32 expected[NSPANS] = {FP_SPAN_FREE};
    for (u32 i = 0; i < RUNS; i++) {
        for (u32 k = 0; runs[i].size > 0 && k < run_spans(&runs[i]); k++) {
            u64 span = (runs[i].at - m.spans) / SPAN + k;
            CHECK_EQ(expected[span], FP_SPAN_FREE);
            expected[span] = runs[i].owner;
            CHECK_EQ(fp_shm_at(&m, runs[i].at)[k * SPAN], runs[i].mark);
        }
    }
    for (u32 i = 0; i < NSPANS; i++) {
        CHECK_EQ(owner_of(m.spans + i * SPAN), expected[i]);
    }
}

static void
make_run(run *r, u32 owner, u64 *seed)
{
    r->size = 1 + check_random(seed) % (8 * SPAN);
    r->at = claim(owner, (u32)(check_random(seed) % NSPANS), r->size);
    r->owner = owner;
    r->mark = (u8)check_random(seed);
    for (u32 k = 0; r->at != 0 && k < run_spans(r); k++) {
        fp_shm_at(&m, r->at)[k * SPAN] = r->mark;
    }
    r->size = r->at ? r->size : 0;
}

/* The parent's become free, as after a reply that was read; a worker's the parent's, as at its reply. */
static void
end_run(run *r)
{
    if (r->owner == FP_SPAN_PARENT) {
        fp_spans_free(&m, r->at, r->size);
        r->size = 0;
    }
    else {
        CHECK_EQ(fp_spans_take_over(&m, r->owner - FP_SPAN_WORKER, r->at, r->size), FP_OK);
        r->owner = FP_SPAN_PARENT;
    }
}

static void
end_worker(run *runs, u32 w)
{
    fp_spans_free_of(&m, w);
    for (u32 i = 0; i < RUNS; i++) {
        if (runs[i].owner == FP_SPAN_WORKER + w) {
            runs[i].size = 0;
        }
    }
}

/* Claimed, handed over, freed, trimmed, and left by workers that die, in any order. */
static void
test_any_trace(void)
{
    run runs[RUNS] = {{0}};
    u64 seed = fp_now();
    printf("  seed %llu\n", (unsigned long long)seed);
    fresh();
    for (u32 step = 0; step < 20000; step++) {
        run *r = &runs[check_random(&seed) % RUNS];
        u32 actor = (u32)(check_random(&seed) % ACTORS), what = (u32)(check_random(&seed) % 100);
        if (what == 0 && actor > 0) {
            end_worker(runs, actor - 1);
        }
        else if (what == 1) {
            fp_spans_trim(&m, (u32)(check_random(&seed) % 8));
        }
        else if (r->size > 0) {
            end_run(r);
        }
        else {
            make_run(r, actor ? FP_SPAN_WORKER + actor - 1 : FP_SPAN_PARENT, &seed);
        }
        check_runs(runs);
    }
}

/* ------------------------------------------------------------- many at once */

#define THREADS 3u

static void *
claim_write_free(void *arg)
{
    u32 w = (u32)(uintptr_t)arg;
    u64 seed = w;
    for (u32 i = 0; i < 2000; i++) {
        u64 size = 1 + check_random(&seed) % (6 * SPAN);
        u64 at = claim(FP_SPAN_WORKER + w, (u32)(check_random(&seed) % NSPANS), size);
        if (at == 0) {
            continue;
        }
        u64 stamp = (u64)w << 32 | i;
        for (u64 j = 0; j < size; j += SPAN) {
            *(u64 *)fp_shm_at(&m, at + j) = stamp;
        }
        sched_yield();
        for (u64 j = 0; j < size; j += SPAN) {
            CHECK_EQ(*(u64 *)fp_shm_at(&m, at + j), stamp);
        }
        fp_spans_free(&m, at, size);
    }
    return NULL;
}

static void
test_no_span_has_two_owners(void)
{
    fresh();
    pthread_t threads[THREADS];
    for (u32 w = 0; w < THREADS; w++) {
        pthread_create(&threads[w], NULL, claim_write_free, (void *)(uintptr_t)w);
    }
    for (u32 w = 0; w < THREADS; w++) {
        pthread_join(threads[w], NULL);
    }
    CHECK_EQ(owned_by(FP_SPAN_FREE), NSPANS);
}

int
main(void)
{
    check_within(60);
    test_a_run_has_as_many_spans_as_it_needs();
    test_the_search_begins_at_the_favourite_and_goes_round();
    test_running_out_is_an_answer();
    test_pages_are_reserved_once();
    test_idle_pages_go_back();
    test_trimming_while_spans_are_used();
    test_only_a_workers_own_run_is_taken_over();
    test_the_deads_are_freed_and_nobody_elses();
    test_any_trace();
    test_no_span_has_two_owners();
    return 0;
}
