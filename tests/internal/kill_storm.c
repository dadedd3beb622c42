/* Random SIGKILLs while the pool works flat out: every task ends exactly once.
 *
 * Threads submit, cancel and wait natively; one thread kills; one is the manager, which replaces the dead.
 *
 * kill_storm [SECONDS [WORKERS [SEED]]]     by default a second each with 1, 2, 4 and 32 workers
 */
#define _GNU_SOURCE
#include "crew.h"

#include <sys/wait.h>

#define THREADS 3u
#define BATCH 64u

static crew c;
static fp_a32 over, users_left;
static u64 until;
static fp_a64 kept, failed, cancelled;

static u64 call_sizes[] = {0, 0, 0, 600, 5000};
static u32 reply_sizes[] = {0, 16, 300, 600, 600, 8000, FP_RING_MAX + 8};

/* ------------------------------------------------------------------------ the users */

static order
order_of(u64 id)
{
    return (order){.id = id, .size = reply_sizes[id % 7]};
}

static void
end_of(fp_task *t, order o, bool cancel_succeeded)
{
    u32 runs = fp_load_acquire(&stage->runs[o.id]);
    CHECK(runs <= 1);
    if (t->outcome == FP_OUTCOME_BROKEN) {
        atomic_fetch_add(&failed, 1);
        crew_expect_outcome(&c, t, FP_OUTCOME_BROKEN);
    }
    else if (cancel_succeeded) {
        CHECK_EQ(runs, 0);
        atomic_fetch_add(&cancelled, 1);
        crew_expect_outcome(&c, t, FP_OUTCOME_CANCELLED);
    }
    else {
        atomic_fetch_add(&kept, 1);
        crew_expect(&c, t, o);
    }
    fp_store_relaxed(&stage->runs[o.id], 0);
}

/* Each thread has ids of its own, used again and again. */
static void
one_batch(u64 *seed, u64 first)
{
    fp_task *t[BATCH];
    bool cancels[BATCH];
    u32 n = 1 + (u32)(check_random(seed) % BATCH);
    for (u32 i = 0; i < n; i++) {
        t[i] = crew_give(&c, order_of(first + i), call_sizes[check_random(seed) % 5]);
    }
    for (u32 i = 0; i < n; i++) {
        cancels[i] = check_random(seed) % 16 == 0 && fp_pool_cancel(c.pool, t[i]);
    }
    for (u32 i = n; i-- > 0;) {
        crew_wait_for(&c, t[i]);
        end_of(t[i], order_of(first + i), cancels[i]);
    }
}

typedef struct {
    pthread_t thread;
    u64 seed, first;
} user;

static void *
use(void *arg)
{
    user *u = arg;
    while (fp_now() < until) {
        one_batch(&u->seed, u->first);
    }
    if (atomic_fetch_sub(&users_left, 1) == 1) {
        fp_eventfd_ring(c.pool->bell);   /* the manager can go */
    }
    return NULL;
}

/* ---------------------------------------------------------------- the killer, the manager */

/* A pid is a worker's as long as nobody has waited for it. */
static pthread_mutex_t burying = PTHREAD_MUTEX_INITIALIZER;
static u64 kills;

static void *
kill_now_and_then(void *arg)
{
    u64 seed = *(u64 *)arg;
    while (!fp_load_acquire(&over)) {
        struct timespec pause = {.tv_nsec = (long)(check_random(&seed) % 3000000)};
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&burying);
        kill(c.members[check_random(&seed) % c.pool->shm.nworkers].pid, SIGKILL);
        pthread_mutex_unlock(&burying);
        kills++;
    }
    return NULL;
}

static void
reap(u32 w)
{
    fp_task *task;
    if (crew_reap(&c, w, &task) == FP_BROKEN && task != NULL) {
        fp_pool_fail(c.pool, task);
    }
}

static void
manage(void)
{
    while (fp_load_acquire(&users_left) > 0) {
        u32 ended[CREW_MOST];
        int n = fp_monitor_wait(&c.monitor, ended, CREW_MOST, FP_NEVER);
        for (int i = 0; i < n; i++) {
            pthread_mutex_lock(&burying);
            crew_wait(&c, ended[i]);
            reap(ended[i]);
            CHECK_EQ(crew_start(&c), ended[i]);
            pthread_mutex_unlock(&burying);
        }
        fp_pool_manage(c.pool);
    }
}

static void
end_of_storm(u32 nworkers)
{
    fp_pool_close(c.pool);
    CHECK(fp_pool_manage(c.pool));
    for (u32 w = 0; w < nworkers; w++) {
        fp_task *none;
        crew_kill(&c, w);
        CHECK_EQ(crew_reap(&c, w, &none), FP_BROKEN);
        CHECK(none == NULL);
    }
    crew_check_empty(&c);
    crew_free(&c);
}

static void
storm(u32 nworkers, u64 seconds, u64 seed)
{
    user users[THREADS];
    pthread_t killer;
    char text[64];
    snprintf(text, sizeof text, "%u workers, seed %llu", nworkers, (unsigned long long)seed);
    check_doing(text);
    kept = failed = cancelled = kills = 0;
    crew_open(&c, nworkers);
    for (u32 w = 0; w < nworkers; w++) {
        crew_start(&c);
    }
    until = fp_now() + seconds * 1000000000u;
    fp_store_seq_cst(&over, 0);
    fp_store_seq_cst(&users_left, THREADS);
    for (u32 i = 0; i < THREADS; i++) {
        users[i] = (user){.seed = seed + i, .first = i * BATCH};
        pthread_create(&users[i].thread, NULL, use, &users[i]);
    }
    pthread_create(&killer, NULL, kill_now_and_then, &seed);
    manage();
    fp_store_release(&over, 1);
    pthread_join(killer, NULL);
    for (u32 i = 0; i < THREADS; i++) {
        pthread_join(users[i].thread, NULL);
    }
    end_of_storm(nworkers);
    CHECK(kept > 0 && failed <= kills);
    printf("  %s: %llu kills, %llu tasks kept, %llu failed with their worker, %llu cancelled\n", text,
           (unsigned long long)kills, (unsigned long long)kept, (unsigned long long)failed,
           (unsigned long long)cancelled);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    static const u32 counts[] = {1, 2, 4, 32};
    u64 seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    u64 seed = argc > 3 ? strtoull(argv[3], NULL, 0) : fp_now();
    check_within(60 + 8 * (unsigned)seconds);
    if (argc > 2 && atoi(argv[2]) > 0) {
        storm((u32)atoi(argv[2]), seconds, seed);
        return 0;
    }
    for (u32 i = 0; i < 4; i++) {
        storm(counts[i], seconds, seed);
    }
    return 0;
}
