/* warm.h: what has been freed is used again, within the limit and for a while, by any thread, and by no child of a fork. */
#define _GNU_SOURCE
#include "check.h"
#include "core/memory.h"
#include "core/warm.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MIB (1u << 20)
#define SECOND 1000000000u

static bool
is_mapped(const fp_region *r)
{
    return msync(r->data, 1, MS_ASYNC) == 0 || errno != ENOMEM;
}

static fp_region *
taken(u64 size)
{
    fp_region *r = fp_warm_take(size);
    CHECK(r != NULL && r->size >= size);
    memset(r->data, 7, size);
    return r;
}

/* So long ago that it may have been given back: a busy machine. */
static bool
is_long_ago(u64 then)
{
    return fp_now() - then >= SECOND;
}

static void
test_sizes(void)
{
    for (u64 size = 1; size < 100 * MIB; size += size / 3 + 1) {
        fp_region *r = taken(size), copy = *r;
        CHECK(r->size <= size + size / 8 + 4096);
        CHECK(!r->is_warm && !fp_warm_is_for(size));
        CHECK_EQ((uintptr_t)r->data % (size < FP_HUGE_PAGE ? 4096u : FP_HUGE_PAGE), 0);
        fp_warm_give(r);
        CHECK(!fp_warm_is_kept() && !is_mapped(&copy));   /* there is nobody to give it back in time */
    }
    CHECK(fp_warm_take(UINT64_MAX) == NULL);
    CHECK(fp_warm_take(1ull << 60) == NULL);
}

/* ------------------------------------------------------------------- a worker */

static void
test_what_is_kept(void)
{
    fp_warm_become(FP_WARM_BETWEEN, 10 * MIB);
    CHECK(fp_warm_is_for(10 * MIB) && !fp_warm_is_for(10 * MIB + 1));
    fp_region *a = taken(4 * MIB), *b = taken(5 * MIB), *last = taken(4 * MIB), beyond = *last;
    u8 *at = a->data;
    fp_warm_give(a);
    CHECK(fp_warm_is_kept());
    fp_region *small = taken(2 * MIB);   /* for something half as large it would be wasted */
    CHECK(small->data != at && !small->is_warm);
    a = taken(4 * MIB - MIB / 2);
    CHECK(a->data == at && a->is_warm);
    fp_warm_give(small);
    fp_warm_give(b);
    fp_warm_give(last);                  /* 2 + 5 + 4 MiB */
    CHECK(!is_mapped(&beyond));
    CHECK(fp_warm_is_kept());
    fp_warm_drop();
    CHECK(!fp_warm_is_kept());
    fp_warm_give(a);
    CHECK(fp_warm_is_kept());
    fp_warm_become(FP_WARM_PROGRAM, 0);
    CHECK(!fp_warm_is_kept());
}

static void
test_between_tasks_alone(void)
{
    fp_keeper keeper;                    /* of a pool in a task, say */
    int bell = fp_eventfd_create();
    fp_warm_join(&keeper, bell, 64 * MIB);
    fp_warm_become(FP_WARM_BETWEEN, 10 * MIB);
    CHECK(!fp_warm_is_for(11 * MIB));    /* its own limit counts */
    fp_region *a = taken(MIB), *b = taken(MIB);
    fp_warm_give(taken(4 * MIB));
    CHECK(fp_warm_enter(FP_WARM_IDLE));
    fp_warm_give(a);
    CHECK(!fp_warm_is_for(MIB));
    CHECK(!fp_warm_enter(FP_WARM_TASK)); /* what the task's arguments have not used is gone */
    CHECK(!fp_warm_is_for(MIB));
    fp_warm_give(b);
    CHECK(!fp_warm_enter(FP_WARM_BETWEEN));
    CHECK(fp_warm_is_for(10 * MIB));
    fp_warm_become(FP_WARM_PROGRAM, 0);
    CHECK(fp_warm_is_for(64 * MIB));
    fp_warm_leave(&keeper);
    close(bell);
}

/* ------------------------------------------------------------------ a program */

static bool
rang(int bell)
{
    struct pollfd p = {.fd = bell, .events = POLLIN};
    bool did = poll(&p, 1, 0) == 1;
    fp_eventfd_clear(bell);
    return did;
}

static void
test_keepers(void)
{
    fp_keeper first, second;
    int bells[] = {fp_eventfd_create(), fp_eventfd_create()};
    fp_warm_join(&first, bells[0], 8 * MIB);
    CHECK_EQ(fp_warm_trim(), FP_NEVER);
    fp_region *a = taken(3 * MIB), *b = taken(3 * MIB), *c = taken(3 * MIB);
    fp_warm_give(a);
    CHECK(rang(bells[0]));
    fp_warm_give(b);
    CHECK(!rang(bells[0]));              /* it knows */
    fp_warm_join(&second, bells[1], 16 * MIB);
    CHECK(!rang(bells[1]));
    CHECK(fp_warm_is_for(16 * MIB));
    fp_warm_give(c);
    CHECK(fp_warm_is_kept());
    fp_warm_leave(&first);               /* which was the one to be told */
    CHECK(rang(bells[1]));
    fp_warm_leave(&second);
    CHECK(!fp_warm_is_for(1));
    CHECK(fp_warm_is_kept());
    fp_warm_join(&first, bells[0], 8 * MIB);
    CHECK(rang(bells[0]));
    fp_warm_join(&second, bells[1], 16 * MIB);
    fp_warm_leave(&second);
    CHECK(fp_warm_is_for(8 * MIB) && !fp_warm_is_for(16 * MIB));
    CHECK(rang(bells[0]));
    fp_warm_rest();
    CHECK(fp_warm_is_kept());            /* there is a keeper */
    fp_warm_leave(&first);
    fp_warm_rest();
    CHECK(!fp_warm_is_kept());
    close(bells[0]);
    close(bells[1]);
}

static void
test_trim(void)
{
    fp_keeper keeper;
    int bell = fp_eventfd_create();
    fp_warm_join(&keeper, bell, 64 * MIB);
    fp_region *used = taken(4 * MIB), *idle = taken(5 * MIB), copy = *idle;
    u64 began = fp_now();
    fp_warm_give(idle);
    CHECK(rang(bell));
    u64 now = began, next = fp_warm_trim(), steps = 0;
    CHECK(is_long_ago(began) || (next >= began + SECOND && next <= fp_now() + SECOND));
    for (; is_mapped(&copy); steps++) {  /* what is used all the time stays */
        now = fp_now();
        fp_warm_give(used);
        next = fp_warm_trim();
        CHECK(next != FP_NEVER || is_long_ago(now));
        used = taken(4 * MIB);
        CHECK(used->is_warm || is_long_ago(now));
        CHECK(fp_now() < began + 10ull * SECOND);
    }
    CHECK(steps > 0 && is_long_ago(began));
    EVENTUALLY(fp_warm_trim() == FP_NEVER);
    fp_eventfd_clear(bell);
    fp_warm_give(used);
    CHECK(rang(bell));                   /* told anew */
    EVENTUALLY(fp_warm_trim() == FP_NEVER);
    CHECK(!fp_warm_is_kept());
    fp_warm_leave(&keeper);
    close(bell);
}

/* The bell rings for the first of several: whoever trims then must not take the others for old. */
static void *
trims_at_the_bell(void *bell)
{
    struct pollfd p = {.fd = *(int *)bell, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 20000), 1);
    fp_eventfd_clear(p.fd);
    fp_warm_trim();
    return NULL;
}

static void
test_trim_of_what_is_just_given(void)
{
    for (int i = 0; i < 300; i++) {
        fp_keeper keeper;
        pthread_t trimmer;
        int bell = fp_eventfd_create();
        fp_warm_join(&keeper, bell, 64 * MIB);
        fp_region *all[100];
        for (int k = 0; k < 100; k++) {
            all[k] = fp_warm_take(4096);
            CHECK(all[k] != NULL);
        }
        u64 began = fp_now();
        CHECK_EQ(pthread_create(&trimmer, NULL, trims_at_the_bell, &bell), 0);
        for (int k = 0; k < 100; k++) {
            fp_warm_give(all[k]);
        }
        CHECK_EQ(pthread_join(trimmer, NULL), 0);
        for (int k = 0; k < 100; k++) {
            all[k] = fp_warm_take(4096);
            CHECK(all[k]->is_warm || is_long_ago(began));
        }
        for (int k = 0; k < 100; k++) {
            fp_warm_give(all[k]);
        }
        fp_warm_leave(&keeper);
        fp_warm_rest();
        close(bell);
    }
}

/* Before memory is refused, what is kept goes. */
static void
test_shortage(void)
{
    fp_warm_become(FP_WARM_BETWEEN, 64 * MIB);
    fp_warm_give(taken(4 * MIB));
    CHECK(fp_warm_take(1ull << 60) == NULL);
    CHECK(!fp_warm_is_kept());
    fp_warm_give(taken(4 * MIB));
    CHECK(fp_memory_suffices(4 * MIB));
    CHECK(fp_warm_is_kept());
    CHECK(!fp_memory_suffices(1ull << 60));
    CHECK(!fp_warm_is_kept());
    fp_warm_become(FP_WARM_PROGRAM, 0);
}

static void
in_child(void (*check)(void))
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        check();
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void
under_limits(void)
{
    struct rlimit low = {1ull << 60, 1ull << 60};
    CHECK(fp_warm_limit(80 * MIB) == 10 * MIB && fp_warm_limit(1ull << 40) == 256 * MIB);
    fp_warm_become(FP_WARM_BETWEEN, 64 * MIB);
    fp_region *r = taken(MIB);
    CHECK(fp_warm_is_for(MIB));
    CHECK_EQ(setrlimit(RLIMIT_DATA, &low), 0);
    CHECK(!fp_warm_is_for(MIB));
    fp_warm_give(r);
    CHECK(!fp_warm_is_kept());
}

/* ---------------------------------------------------------------------- forks */

static fp_region kept;

static void
has_nothing(void)
{
    CHECK(!fp_warm_is_kept() && !is_mapped(&kept));
    CHECK(!fp_warm_is_for(1));           /* nor keeps anything */
    CHECK_EQ(fp_warm_trim(), FP_NEVER);
    fp_warm_become(FP_WARM_BETWEEN, 4 * MIB);   /* unless it becomes a worker */
    fp_warm_give(taken(MIB));
    CHECK(fp_warm_is_kept());
}

static void
test_fork(void)
{
    fp_keeper keeper;
    int bell = fp_eventfd_create();
    fp_warm_join(&keeper, bell, 64 * MIB);
    fp_region *r = taken(4 * MIB);
    kept = *r;
    fp_warm_give(r);
    in_child(has_nothing);
    CHECK(fp_warm_is_kept() && is_mapped(&kept));
    fp_warm_leave(&keeper);
    fp_warm_become(FP_WARM_TASK, 4 * MIB);
    in_child(has_nothing);
    fp_warm_become(FP_WARM_PROGRAM, 0);
    close(bell);
}

/* -------------------------------------------------------------------- threads */

static fp_a32 over;

static void *
takes_and_gives(void *argument)
{
    u64 seed = (uintptr_t)argument;
    fp_region *mine[4] = {NULL};
    for (int i = 0; i < 3000; i++) {
        u64 at = check_random(&seed) % 4;
        if (mine[at] != NULL) {
            CHECK_EQ(*(u64 *)mine[at]->data, (uintptr_t)mine[at]);
            fp_warm_give(mine[at]);
        }
        mine[at] = fp_warm_take(4096 + check_random(&seed) % (256u << 10));
        CHECK(mine[at] != NULL);
        *(u64 *)mine[at]->data = (uintptr_t)mine[at];
    }
    for (int i = 0; i < 4; i++) {
        if (mine[i] != NULL) {
            fp_warm_give(mine[i]);
        }
    }
    return NULL;
}

static void *
trims(void *bell)
{
    while (!fp_load_acquire(&over)) {
        fp_keeper another;
        fp_warm_join(&another, *(int *)bell, MIB);
        fp_warm_trim();
        fp_warm_enter(FP_WARM_IDLE);
        fp_warm_leave(&another);
        fp_warm_enter(FP_WARM_PROGRAM);
        fp_warm_rest();
        fp_warm_drop();
    }
    return NULL;
}

static void
takes_one(void)
{
    fp_warm_give(taken(MIB));
    _exit(0);
}

static void
test_threads_and_forks(void)
{
    pthread_t threads[4], trimmer;
    fp_keeper keeper;
    int bell = fp_eventfd_create();
    fp_warm_join(&keeper, bell, MIB);
    CHECK_EQ(pthread_create(&trimmer, NULL, trims, &bell), 0);
    for (u64 i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, takes_and_gives, (void *)(uintptr_t)(i + 1)), 0);
    }
    for (int i = 0; i < 50; i++) {
        in_child(takes_one);             /* whoever has the lock just now */
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    fp_store_release(&over, 1);
    CHECK_EQ(pthread_join(trimmer, NULL), 0);
    fp_warm_leave(&keeper);
    fp_warm_rest();
    CHECK(!fp_warm_is_kept());
    close(bell);
}

int
main(void)
{
    check_within(100);
    test_sizes();
    test_what_is_kept();
    test_between_tasks_alone();
    test_keepers();
    test_trim();
    test_trim_of_what_is_just_given();
    test_shortage();
    in_child(under_limits);
    test_fork();
    test_threads_and_forks();
    return 0;
}
