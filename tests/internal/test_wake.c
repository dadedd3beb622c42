/* Who sleeps, who watches, whom to wake. */
#include "check.h"
#include "core/ring.h"
#include "core/wake.h"
#include "core/worker.h"

#include <pthread.h>

static fp_shm m;

static void
fresh(u32 nworkers)
{
    if (m.head != NULL) {
        fp_shm_close(&m, true);
    }
    CHECK_EQ(fp_shm_create(&m, nworkers, 64u << 20), FP_OK);
}

static bool
is_announced(u32 w)
{
    return fp_load_seq_cst(&m.idle[w / 64]) >> (w % 64) & 1;
}

static void
publish_one(void)
{
    u64 tail = fp_load_seq_cst(&m.head->rg_tail);
    CHECK_EQ(fp_publish(&m, &tail, (u32)tail, 1), FP_OK);
}

static void
test_a_wake_is_for_one_sleeper(void)
{
    fresh(3);
    CHECK(!fp_wake_one(&m));
    fp_sleep_announce(&m, 0);
    fp_sleep_announce(&m, 2);
    CHECK(fp_wake_one(&m));
    CHECK(!is_announced(0) && is_announced(2));
    CHECK_EQ(fp_sleep(&m, 0, FP_NEVER), FP_OK);   /* the wake came first: no sleep */
    fp_wake_arrived(&m, 0);
    CHECK(fp_wake_one(&m));
    CHECK_EQ(fp_sleep(&m, 2, FP_NEVER), FP_OK);
    fp_wake_arrived(&m, 2);
    CHECK(!fp_wake_one(&m));
}

static void
test_one_wake_is_under_way_at_a_time(void)
{
    fresh(3);
    for (u32 w = 0; w < 3; w++) {
        fp_sleep_announce(&m, w);
    }
    CHECK(fp_wake_one(&m));
    CHECK(!fp_wake_one(&m));   /* relies on worker 0 */
    fp_wake_arrived(&m, 1);    /* not the one */
    CHECK(!fp_wake_one(&m));
    fp_wake_arrived(&m, 0);
    CHECK(fp_wake_one(&m));
    CHECK(is_announced(2));
    EVENTUALLY(fp_wake_one(&m));   /* worker 1 takes too long */
    CHECK(!is_announced(2));
}

static void
test_promises_name_the_worker_and_their_time(void)
{
    fresh(2);
    fp_store_seq_cst(&m.head->wk_waking, ~0ull);   /* from the future: not relied on */
    CHECK(!fp_wake_one(&m));
    fp_sleep_announce(&m, 1);
    CHECK(fp_wake_one(&m));
    CHECK_EQ(fp_load_seq_cst(&m.head->wk_waking) & 0xffff, 2);
    fp_wake_arrived(&m, 1);
    CHECK_EQ(fp_load_seq_cst(&m.head->wk_waking), 0);
}

static void
test_a_sleep_can_be_called_off(void)
{
    fresh(1);
    fp_sleep_announce(&m, 0);
    CHECK(fp_sleep_cancel(&m, 0));
    CHECK(!is_announced(0));
    fp_sleep_announce(&m, 0);
    CHECK(fp_wake_one(&m));
    CHECK(!fp_sleep_cancel(&m, 0));   /* too late: somebody counts on it */
}

static void
test_more_than_one_word_of_sleepers(void)
{
    fresh(200);
    fp_sleep_announce(&m, 199);
    fp_sleep_announce(&m, 64);
    CHECK(fp_wake_one(&m));
    CHECK(is_announced(199) && !is_announced(64));
    fp_wake_arrived(&m, 64);
    CHECK(fp_wake_one(&m));
    CHECK(!is_announced(199));
}

static void
test_bits_of_no_worker_are_ignored(void)
{
    fresh(3);
    fp_store_seq_cst(&m.idle[0], ~0ull << 3);
    CHECK(!fp_wake_one(&m));
}

static void
test_one_watches_and_a_task_uses_that_up(void)
{
    fresh(3);
    CHECK(fp_watch_take(&m, 0));
    CHECK(fp_watch_take(&m, 0));
    CHECK(!fp_watch_take(&m, 1));
    fp_watch_drop(&m, 1);   /* not its */
    CHECK(!fp_watch_take(&m, 1));
    fp_sleep_announce(&m, 2);
    fp_wake_for_task(&m);   /* the watcher will see it */
    CHECK(is_announced(2));
    fp_wake_for_task(&m);   /* nobody watches now */
    CHECK(!is_announced(2));
    CHECK(fp_watch_take(&m, 1));
    fp_sleep_announce(&m, 1);   /* gives the token up */
    CHECK(fp_watch_take(&m, 0));
    fp_watch_drop(&m, 0);
    CHECK_EQ(fp_load_seq_cst(&m.head->wk_watch), 0);
}

static void
test_a_claimer_passes_the_word_on(void)
{
    fresh(3);
    fp_sleep_announce(&m, 2);
    fp_wake_helper(&m);   /* nothing to do */
    CHECK(is_announced(2));
    publish_one();
    CHECK(fp_watch_take(&m, 1));
    fp_wake_helper(&m);   /* the watcher sees to it */
    CHECK(is_announced(2));
    fp_watch_drop(&m, 1);
    fp_wake_helper(&m);
    CHECK(!is_announced(2));
}

static void
test_busy_is_who_neither_sleeps_nor_watches(void)
{
    fresh(70);
    fp_store_seq_cst(&m.head->hd_live, 5);
    CHECK_EQ(fp_busy_workers(&m), 5);
    fp_sleep_announce(&m, 0);
    fp_sleep_announce(&m, 69);
    fp_watch_take(&m, 3);
    CHECK_EQ(fp_busy_workers(&m), 2);
    fp_store_seq_cst(&m.head->hd_live, 1);
    CHECK_EQ(fp_busy_workers(&m), 0);
}

/* ------------------------------------- a task at a time, and a worker that sleeps between */

#define ROUNDS 3000u

static fp_a32 executed;

static void *
work(void *arg)
{
    fp_worker *k = arg;
    fp_call call;
    for (int rc; (rc = fp_worker_next(k, &call)) != FP_CLOSED;) {
        if (rc == FP_OK) {
            atomic_fetch_add(&executed, 1);
            fp_futex_wake(&executed, 1, false);
        }
        else {
            fp_worker_wait(k, FP_NEVER);
        }
    }
    return NULL;
}

/* Publish after `pause` turns of a short loop, so that every moment of the way to sleep is met. */
static void
publish_after(u32 slot, u32 pause, u64 *tail)
{
    for (u32 i = 0; i < pause; i++) {
        fp_relax();
    }
    CHECK_EQ(fp_publish(&m, tail, slot % m.nslots, slot + 1), FP_OK);
    fp_wake_for_task(&m);
}

static void
test_no_wake_is_lost(unsigned cpus, u32 nworkers)
{
    fresh(nworkers);
    fp_worker workers[4];
    pthread_t threads[4];
    u64 tail = 0;
    int bell = fp_eventfd_create();
    fp_store_seq_cst(&executed, 0);
    fp_store_seq_cst(&m.head->hd_live, nworkers);
    for (u32 w = 0; w < nworkers; w++) {
        workers[w] = (fp_worker){.shm = m, .w = w, .bell = bell};
        fp_spin_init(&workers[w].spin);
        workers[w].spin.cpus = cpus;   /* 1: never watches */
        CHECK_EQ(pthread_create(&threads[w], NULL, work, &workers[w]), 0);
    }
    for (u32 i = 0; i < ROUNDS; i++) {
        publish_after(i, i % 97 * 8, &tail);
        u64 bound = BOUND;
        for (u32 n; (n = fp_load_seq_cst(&executed)) <= i;) {
            CHECK(fp_futex_wait(&executed, n, bound, false) != FP_TIMEDOUT);
        }
    }
    atomic_fetch_or(&m.head->hd_flags, FP_STOP);
    fp_wake_all(&m);
    for (u32 w = 0; w < nworkers; w++) {
        pthread_join(threads[w], NULL);
    }
    close(bell);
}

/* ------------------------------------- two tasks that need each other, and two workers asleep */

static fp_a32 met;

/* The first task of each pair waits inside for the second: whoever relies on its worker waits for ever. */
static void *
work_in_pairs(void *arg)
{
    fp_worker *k = arg;
    fp_call call;
    for (int rc; (rc = fp_worker_next(k, &call)) != FP_CLOSED;) {
        if (rc != FP_OK) {
            fp_worker_wait(k, FP_NEVER);
            continue;
        }
        u32 now = atomic_fetch_add(&met, 1) + 1;
        u64 bound = BOUND;
        fp_futex_wake(&met, 2, false);
        while (now % 2 == 1 && fp_load_seq_cst(&met) == now) {
            CHECK(fp_futex_wait(&met, now, bound, false) != FP_TIMEDOUT);
        }
    }
    return NULL;
}

static void
test_two_tasks_get_two_workers(unsigned cpus)
{
    fresh(2);
    fp_worker workers[2];
    pthread_t threads[2];
    u64 tail = 0;
    int bell = fp_eventfd_create();
    fp_store_seq_cst(&met, 0);
    fp_store_seq_cst(&m.head->hd_live, 2);
    for (u32 w = 0; w < 2; w++) {
        workers[w] = (fp_worker){.shm = m, .w = w, .bell = bell};
        fp_spin_init(&workers[w].spin);
        workers[w].spin.cpus = cpus;
        CHECK_EQ(pthread_create(&threads[w], NULL, work_in_pairs, &workers[w]), 0);
    }
    for (u32 i = 0; i < ROUNDS; i++) {
        publish_after(2 * i, i % 97 * 8, &tail);
        publish_after(2 * i + 1, i % 89 * 2, &tail);
        u64 bound = BOUND;
        for (u32 n; (n = fp_load_seq_cst(&met)) < 2 * i + 2;) {
            CHECK(fp_futex_wait(&met, n, bound, false) != FP_TIMEDOUT);
        }
    }
    atomic_fetch_or(&m.head->hd_flags, FP_STOP);
    fp_wake_all(&m);
    for (u32 w = 0; w < 2; w++) {
        pthread_join(threads[w], NULL);
    }
    close(bell);
}

int
main(void)
{
    check_within(120);
    test_a_wake_is_for_one_sleeper();
    test_one_wake_is_under_way_at_a_time();
    test_promises_name_the_worker_and_their_time();
    test_a_sleep_can_be_called_off();
    test_more_than_one_word_of_sleepers();
    test_bits_of_no_worker_are_ignored();
    test_one_watches_and_a_task_uses_that_up();
    test_a_claimer_passes_the_word_on();
    test_busy_is_who_neither_sleeps_nor_watches();
    test_no_wake_is_lost(1, 1);
    test_no_wake_is_lost(1, 3);
    test_no_wake_is_lost(64, 3);
    test_two_tasks_get_two_workers(1);
    test_two_tasks_get_two_workers(64);
    return 0;
}
