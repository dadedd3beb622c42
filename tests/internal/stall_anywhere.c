/* The parent's threads, and its workers, are delayed at any instruction, in thousands of random orders.
 *
 * stall_every_step.c stops one thread at each instruction of one call, while the others come to rest. Here a whole small
 * program runs under a scheduler (schedule.h) that moves one thread by one instruction at a time: threads that submit, wait,
 * cancel, ask and drop; a sender, which places payloads of calls that came first; the courier; the manager; workers, one
 * of which may die; slots so few that calls wait behind the ring; and in some programs the pool breaks. Nobody may wait for
 * ever, every task ends once, in the way that it says, and everything is given back.
 *
 * (The same seed gives the same order; but what goes by the clock, and who gets a lock in the kernel, may differ.)
 *
 * stall_anywhere [TRIALS [SEED]]     by default 4; "stall_anywhere 1 SEED" does one again
 */
#define _GNU_SOURCE
#include "crew.h"
#include "schedule.h"

#include <sys/prctl.h>

#define USERS 3u
#define EACH 3u           /* tasks of a user */
#define BYTES (64u << 20)
#define HORIZON 40000u    /* instructions of a program, about */

static crew c;
static u64 plan_seed;
static u32 nworkers, nusers, narrow;
static bool breaks, dies, watches, has_courier, has_sender;

static void
make_plan(u64 seed)
{
    plan_seed = seed;
    nworkers = 1 + (u32)(check_random(&seed) % 2);
    nusers = 1 + (u32)(check_random(&seed) % USERS);
    narrow = check_random(&seed) % 3 == 0 ? 1 + (u32)(check_random(&seed) % 2) : 0;
    breaks = check_random(&seed) % 8 == 0;
    dies = check_random(&seed) % 4 == 0;
    watches = check_random(&seed) % 3 == 0;
    has_courier = check_random(&seed) % 3 == 0;
    has_sender = check_random(&seed) % 3 == 0;
}

/* ------------------------------------------------------------------- the pool's users */

static fp_a32 users_left, told;

static order
order_of(u64 *seed, u64 id)
{
    static const u32 sizes[] = {0, 16, 600, 1500, 300000};   /* none that is copied by "rep movs", a step for each byte */
    order o = {.id = id, .size = sizes[check_random(seed) % 5]};
    if (dies && id == 1) {
        o.act = DIE;
    }
    return o;
}

static void
end_of(fp_task *t, order o, bool cancelled)
{
    CHECK(fp_load_acquire(&stage->runs[o.id]) <= 1);
    CHECK(fp_task_is_done(t));
    if (cancelled) {
        CHECK_EQ(fp_load_acquire(&stage->runs[o.id]), 0);
        crew_expect_outcome(&c, t, FP_OUTCOME_CANCELLED);
    }
    else if (t->outcome == FP_OUTCOME_BROKEN) {
        CHECK(breaks || dies);
        crew_expect_outcome(&c, t, FP_OUTCOME_BROKEN);
    }
    else {
        crew_expect(&c, t, o);
    }
}

static fp_task *
give(order o, u64 size)
{
    fp_task *t;
    int rc = crew_try(&c, o, size, &t);
    CHECK(rc == FP_OK || (rc == FP_BROKEN && breaks));
    return t;
}

static void
tell_courier(fp_task *t)
{
    fp_task_incref(t);
    t->owner = t;   /* as if it were a Future's */
    atomic_fetch_add(&told, 1);
    fp_pool_tell_courier(c.pool, t, true);
}

static void
use(u64 seed, u64 id)
{
    static const u64 call_sizes[] = {0, 0, 600, 1500};
    order o[EACH];
    fp_task *t[EACH];
    bool cancelled[EACH] = {false};
    u32 n = 1 + (u32)(check_random(&seed) % EACH);
    for (u32 i = 0; i < n; i++) {
        o[i] = order_of(&seed, id + i);
        t[i] = give(o[i], call_sizes[check_random(&seed) % 4]);
    }
    for (u32 i = 0; i < n; i++) {
        if (t[i] == NULL) {
            continue;
        }
        switch (check_random(&seed) % 6) {
        case 0: cancelled[i] = fp_pool_cancel(c.pool, t[i]); break;
        case 1: fp_pool_is_running(c.pool, t[i]); break;
        case 2: fp_pool_pump(c.pool); break;
        case 3: if (has_courier) tell_courier(t[i]); break;
        case 4: fp_pool_wants_worker(c.pool); break;
        }
    }
    for (u32 i = 0; i < n; i++) {
        if (t[i] != NULL) {
            CHECK_EQ(fp_wait_task(c.pool, t[i], FP_NEVER), FP_OK);
            end_of(t[i], o[i], cancelled[i]);
        }
    }
}

static void
one_user_less(void)
{
    if (atomic_fetch_sub(&users_left, 1) == 1) {
        fp_eventfd_ring(c.pool->bell);   /* the manager can go */
    }
}

/* What the C library does when a thread first wants memory takes thousands of instructions. */
static void
warm_up(void)
{
    free(calloc(1, 600));
}

static void *
be_user(void *arg)
{
    u64 number = (u64)(uintptr_t)arg;
    warm_up();
    schedule_line_up();
    use(plan_seed * 7 + number, number * EACH);
    one_user_less();
    return NULL;
}

/* Its task is submitted first, and given its payload later. */
static void *
be_sender(void *arg)
{
    order o = {.id = 100, .size = 16};
    (void)arg;
    warm_up();
    schedule_line_up();
    fp_task *t = fp_task_new_unplaced(0, FP_CALL_WHOLE, NULL);
    CHECK(t != NULL);
    if (fp_pool_submit(c.pool, t) == FP_OK) {
        crew_place(&c, t, o, 1500);
        CHECK_EQ(fp_wait_task(c.pool, t, FP_NEVER), FP_OK);
        end_of(t, o, false);
    }
    else {
        CHECK(breaks);
        fp_pool_drop_task(c.pool, t);
    }
    one_user_less();
    return NULL;
}

static fp_a32 courier_leaves;

static fp_task *
next_for_courier(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    fp_task *t = p->courier_first;
    if (t != NULL) {
        p->courier_first = t->next_for_courier;
        p->courier_last = p->courier_first ? p->courier_last : NULL;
        atomic_fetch_sub(&p->courier.nready, 1);
    }
    pthread_mutex_unlock(&p->lock);
    return t;
}

static void *
be_courier(void *arg)
{
    (void)arg;
    schedule_line_up();
    for (;;) {
        for (fp_task *t; (t = next_for_courier(c.pool)) != NULL; atomic_fetch_sub(&told, 1)) {
            CHECK(fp_task_is_done(t));
            fp_pool_drop_task(c.pool, t->owner);
            fp_pool_drop_task(c.pool, t);
        }
        if (fp_load_acquire(&courier_leaves)) {
            return NULL;
        }
        fp_wait(c.pool, &c.pool->courier, 1, FP_NEVER);
    }
}

static void
dismiss_courier(pthread_t thread)
{
    fp_store_release(&courier_leaves, 1);
    pthread_mutex_lock(&c.pool->lock);
    atomic_fetch_add(&c.pool->courier.nready, 1);   /* a wake without a task */
    fp_wait_notify_locked(c.pool, &c.pool->courier);
    pthread_mutex_unlock(&c.pool->lock);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(told, 0);
}

/* ------------------------------------------------------------- the manager, and the program */

static void
line_up(fp_worker *k)
{
    k->spin.cpus = watches ? CREW_MOST : 1;
    schedule_line_up();
}

static void
replace(u32 w)
{
    fp_task *task;
    crew_wait(&c, w);
    if (crew_reap(&c, w, &task) == FP_BROKEN && task != NULL) {
        fp_pool_fail(c.pool, task);
    }
    CHECK_EQ(crew_start_with(&c, line_up), w);
}

static void
break_it(void)
{
    fp_pool_break(c.pool, (fp_death){.pid = 1});
    for (u32 w = 0; w < nworkers; w++) {
        fp_task *none;
        kill(c.members[w].pid, SIGKILL);   /* it may have gone by itself: it hears that it is condemned */
        crew_wait(&c, w);
        crew_reap(&c, w, &none);
        CHECK(none == NULL);
    }
    fp_pool_bury(c.pool);
}

/* True: it is broken. */
static bool
manage(void)
{
    u64 seed = plan_seed;
    for (u32 turns = (u32)(check_random(&seed) % 4); fp_load_acquire(&users_left) > 0; turns--) {
        if (breaks && turns == 0) {
            break_it();
            return true;
        }
        u32 ended[CREW_MOST];
        int n = fp_monitor_wait(&c.monitor, ended, CREW_MOST, breaks ? 0 : FP_NEVER);
        for (int i = 0; i < n; i++) {
            replace(ended[i]);
        }
        fp_pool_manage(c.pool);
    }
    return false;
}

static void
be_the_program(void)
{
    pthread_t users[USERS], courier, sender;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    schedule_me();
    crew_open_with(&c, nworkers, BYTES);
    c.pool->spin.cpus = watches ? CREW_MOST : 1;
    c.pool->nfree = narrow ? narrow : c.pool->nfree;
    for (u32 w = 0; w < nworkers; w++) {
        crew_start_with(&c, line_up);
    }
    fp_store_relaxed(&users_left, nusers + has_sender);
    for (u64 i = 0; i < nusers; i++) {
        pthread_create(&users[i], NULL, be_user, (void *)(uintptr_t)i);
    }
    if (has_sender) {
        pthread_create(&sender, NULL, be_sender, NULL);
    }
    if (has_courier) {
        pthread_create(&courier, NULL, be_courier, NULL);
    }
    schedule_line_up();
    bool broken = manage();
    for (u32 i = 0; i < nusers; i++) {
        pthread_join(users[i], NULL);
    }
    if (has_sender) {
        pthread_join(sender, NULL);
    }
    if (has_courier) {
        dismiss_courier(courier);
    }
    raise(SIGUSR1);   /* the rest has been seen elsewhere */
    if (narrow) {
        CHECK_EQ(c.pool->nfree, narrow);
        c.pool->nfree = c.pool->shm.nslots;
    }
    if (broken) {
        crew_check_empty(&c);
        crew_free(&c);
    }
    else {
        crew_close(&c);
    }
    exit(0);
}

/* -------------------------------------------------------------------------- many of them */

static schedule s;

static void
one_trial(u64 seed)
{
    make_plan(seed);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        be_the_program();
    }
    schedule_begin(&s, pid, seed, HORIZON);
    if (!schedule_run(&s, 50 * HORIZON)) {
        fprintf(stderr, "%s: it hangs, or has ended, after %llu instructions\n", check_subject, (unsigned long long)s.steps);
        schedule_show(&s);
        _exit(1);
    }
    CHECK_EQ(schedule_end(&s), 0);
}

int
main(int argc, char **argv)
{
    u64 trials = argc > 1 ? strtoull(argv[1], NULL, 0) : 4;
    u64 first = argc > 2 ? strtoull(argv[2], NULL, 0) : fp_now(), steps = 0, changes = 0;
    u64 began = fp_now();
    step_share_one_cpu();
    stage_init();
    for (u64 seed = first; seed < first + trials; seed++) {
        char text[64];
        snprintf(text, sizeof text, "seed %llu", (unsigned long long)seed);
        check_doing(text);
        check_within(6 * BOUND_S);
        one_trial(seed);
        steps += s.steps;
        changes += s.changes;
    }
    printf("  %llu programs from seed %llu on, %llu instructions, %llu changes of turn (%.1f s)\n",
           (unsigned long long)trials, (unsigned long long)first, (unsigned long long)steps, (unsigned long long)changes,
           (double)(fp_now() - began) / 1e9);
    return 0;
}
