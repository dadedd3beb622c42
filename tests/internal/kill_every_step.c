/* SIGKILL a worker at EVERY instruction of its cycle, then see what the pool makes of it.
 *
 * Worker A is single-stepped from its first look for a task: claim, execute, reply (in the slot, in the byte
 * ring, in spans), complete, wake, watch, sleep. At some instruction it is killed, then, in the next run, at
 * the next, until it sleeps with nothing left to do. Deaths between two changes of shared memory (a system
 * call counts as one) cannot be told apart by those who live, so one of them stands for all;
 * "kill_every_step all" takes every instruction by itself, which takes minutes. Meanwhile a thread waits
 * natively, asleep, and the manager reacts to its bell and nothing else. Then, each time:
 *
 *   - the task that A had claimed, and no other, has failed; a result that it had completed is kept
 *   - every other task has ended with its result, executed once
 *   - slots, spans and byte rings are all given back
 *   - the peers can be reached, and so can a new worker at A's index
 *
 * Some scenarios do not kill it: others do all they can while it stands at some instruction (here each of the
 * program's own counts: what it has read matters), then it goes on.
 *
 * kill_every_step [all] [NUMBER OF SCENARIO]
 */
#define _GNU_SOURCE
#include "crew.h"
#include "step.h"

typedef struct {
    const char *name;
    bool peer;         /* another worker sleeps beside A */
    bool meanwhile;    /* the tasks arrive while A is on its way, the last after its end */
    bool backlog;      /* most tasks wait behind a ring of two */
    bool watches;      /* A watches before it sleeps */
    bool goes_on;      /* not killed after all */
    bool doomed;       /* the pool breaks at that moment */
} scenario;

static const scenario scenarios[] = {
    {.name = "alone"},
    {.name = "alone, watching", .watches = true},
    {.name = "beside a sleeping peer", .peer = true},
    {.name = "tasks arrive meanwhile", .peer = true, .meanwhile = true},
    {.name = "tasks arrive while it watches", .peer = true, .meanwhile = true, .watches = true},
    {.name = "backlog and bell", .peer = true, .backlog = true},
    {.name = "doomed", .doomed = true},
    {.name = "doomed, and it finds out", .doomed = true, .goes_on = true},
    {.name = "stands on its way to sleep", .meanwhile = true, .goes_on = true},
    {.name = "stands while it watches", .meanwhile = true, .watches = true, .goes_on = true},
    {.name = "stands on its way to sleep, beside a peer", .peer = true, .meanwhile = true, .goes_on = true},
    {.name = "stands at its first task, beside a peer", .peer = true, .goes_on = true},
};

#define TASKS 5u
static const order orders[TASKS] = {
    {.id = 0, .size = 16}, {.id = 1, .size = 600}, {.id = 2, .size = FP_RING_MAX + 8}, {.id = 3}, {.id = 4, .size = 600},
};
static const u64 call_sizes[TASKS] = {0, 2000, 0, 0, 600};

/* How many of them a scenario has; are there before A's first step; have come when it ends. */
static u32 ntasks, nbefore, nwhile;

static crew c;
static const scenario *s;
static fp_task *tasks[TASKS];
static u32 given, A;
static bool every;   /* every instruction counts */

/* ------------------------------------------------------------ the worker that is stepped */

static void
be_stepped(fp_worker *k)
{
    k->spin.cpus = s->watches ? CREW_MOST : 1;
    k->spin.budget = 0;   /* one round of looks */
    step_begin_here();
}

static void
be_peer(fp_worker *k)
{
    k->spin.cpus = 1;
}

static void
give_next(void)
{
    if (s->peer && !s->meanwhile) {
        /* A is the watcher: the task is left to it, and the peer sleeps on until A or the manager wakes it */
        fp_store_seq_cst(&c.pool->shm.head->wk_watch, A + 1);
    }
    tasks[given] = crew_give(&c, orders[given], call_sizes[given]);
    given++;
}

/* What the living can see of A: every word of shared memory but payloads. */
typedef struct {
    const void *at;
    u64 size;
    u8 *seen;
} view;

static view views[6];

static void
look_at(view *v, const void *at, u64 size)
{
    free(v->seen);
    *v = (view){at, size, malloc(size)};
    CHECK(v->seen != NULL);
    memcpy(v->seen, at, size);
}

static void
look(void)
{
    const fp_shm *m = &c.pool->shm;
    look_at(&views[0], m->head, sizeof *m->head);
    look_at(&views[1], m->workers, m->nworkers * sizeof *m->workers);
    look_at(&views[2], m->idle, 8);
    look_at(&views[3], m->slots, 2 * TASKS * sizeof *m->slots);
    look_at(&views[4], m->owners, m->nspans * sizeof *m->owners);
    look_at(&views[5], stage, offsetof(stage_shm, runs) + 200 * sizeof stage->runs[0]);
}

static bool
has_changed(void)
{
    bool changed = false;
    for (u32 i = 0; i < 6; i++) {
        if (memcmp(views[i].seen, views[i].at, views[i].size) != 0) {
            memcpy(views[i].seen, views[i].at, views[i].size);
            changed = true;
        }
    }
    return changed;
}

/* A third time round a loop is like the second. */
static u64 passed[4096];
static u32 npassed;

static bool
is_round_again(u64 pc)
{
    u32 times = 0;
    for (u32 i = 0; i < npassed; i++) {
        times += passed[i] == pc;
    }
    if (npassed < 4096) {
        passed[npassed++] = pc;
    }
    return times > 1 && !every;
}

/* Execute A's instructions until k of them have counted. False, the last run: it was about to sleep, with nothing
 * more to come; or, where all count, it has taken its second task. */
static bool
step_to(u32 k)
{
    const pid_t pid = c.members[A].pid;
    const fp_a32 *futex = &c.pool->shm.workers[A].wk_futex;
    bool each = every || (s->goes_on && !s->doomed);
    u64 first = fp_load_seq_cst(&c.pool->shm.head->rg_head);
    look();
    npassed = 0;
    for (u32 counted = 0; counted < k;) {
        if (given < nwhile && counted >= (given + 1) * k / ntasks) {
            give_next();
        }
        step_registers r = step_where(pid);
        while (step_is_at_futex_wait(&r) && fp_load_seq_cst(futex) == 1) {
            if (given >= nwhile) {
                return false;
            }
            give_next();
        }
        bool call = step_is_at_call(&r);
        CHECK(step_one(pid));
        counted += (each && step_is_at_home(&r) && !is_round_again(r.pc)) || call || has_changed();
    }
    return !s->goes_on || s->doomed || fp_load_seq_cst(&c.pool->shm.head->rg_head) - first < 2;
}

/* ------------------------------------------------------------------- one death */

static u32
kill_and_reap(void)
{
    fp_task *task;
    kill(c.members[A].pid, SIGKILL);
    CHECK(WIFSIGNALED(crew_wait(&c, A)));
    fp_task *lost = crew_claimed_by(&c, A, tasks, given);
    if (s->meanwhile) {
        give_next();   /* between the death and the news of it */
    }
    CHECK_EQ(crew_reap(&c, A, &task), FP_BROKEN);
    CHECK(task == lost);
    if (task != NULL) {
        fp_pool_fail(c.pool, task);
    }
    return lost != NULL;
}

static void
let_it_go_on(void)
{
    while (given < ntasks) {
        give_next();
    }
    if (s->peer) {
        EVENTUALLY(step_is_asleep(c.members[0].pid));
    }
    step_no_more(c.members[A].pid);
}

static u32
expect_all(void)
{
    u32 failed = 0;
    for (u32 i = 0; i < given; i++) {
        CHECK(fp_load_acquire(&stage->runs[i]) <= 1);
        if (tasks[i]->outcome == FP_OUTCOME_BROKEN) {
            crew_expect_outcome(&c, tasks[i], FP_OUTCOME_BROKEN);
            failed++;
        }
        else {
            crew_expect(&c, tasks[i], orders[i]);
        }
    }
    return failed;
}

static void
clear_the_stage(void)
{
    for (u32 i = 0; i < 110; i++) {
        fp_store_seq_cst(&stage->runs[i], 0);
    }
}

/* The parent's stack of free slots, cut down to two; they are put back where they were taken. */
static void
narrow(bool on)
{
    c.pool->nfree = on ? 2 : c.pool->shm.nslots;
}

static bool
one_run(u32 k, u32 *failed)
{
    crew_waiter waiter;
    clear_the_stage();
    given = 0;
    A = crew_start_with(&c, be_stepped);
    CHECK_EQ(step_await_stop(c.members[A].pid), SIGSTOP);
    if (s->backlog) {
        CHECK_EQ(c.pool->nfree, c.pool->shm.nslots);
        narrow(true);
    }
    while (given < nbefore) {
        give_next();
    }
    if (nbefore == ntasks) {
        crew_begin_waiting(&c, &waiter, tasks, ntasks);
        EVENTUALLY(leader_is_asleep(c.pool));
    }
    bool more = step_to(k);
    u32 lost = 0;
    if (s->goes_on) {
        let_it_go_on();
    }
    else {
        lost = kill_and_reap();
    }
    if (nbefore != ntasks) {
        crew_begin_waiting(&c, &waiter, tasks, given);
    }
    if (!s->goes_on && !s->peer) {
        CHECK_EQ(crew_start_with(&c, be_peer), A);   /* nobody else could */
    }
    crew_manage_by_the_bell(&c, &waiter);
    CHECK_EQ(expect_all(), lost);
    *failed += lost;
    if (s->backlog) {
        CHECK_EQ(c.pool->nfree, 2);
        narrow(false);
    }
    crew_check_empty(&c);
    if (!s->goes_on && s->peer) {
        CHECK_EQ(crew_start_with(&c, be_peer), A);
    }
    crew_check_reachable(&c, 1 + s->peer);
    crew_check_empty(&c);
    fp_task *none;
    crew_kill(&c, A);
    crew_reap(&c, A, &none);
    CHECK(none == NULL);
    return more;
}

/* ---------------------------------------------------------------- a pool that breaks */

static bool
one_break(u32 k, u32 *failed)
{
    crew_waiter waiter;
    fp_task *none;
    crew_open(&c, 1);
    c.pool->spin.cpus = 1;
    given = 0;
    A = crew_start_with(&c, be_stepped);
    CHECK_EQ(step_await_stop(c.members[A].pid), SIGSTOP);
    while (given < nbefore) {
        give_next();
    }
    crew_begin_waiting(&c, &waiter, tasks, ntasks);
    EVENTUALLY(leader_is_asleep(c.pool));
    bool more = step_to(k);
    fp_pool_break(c.pool, (fp_death){.pid = 1});
    CHECK(crew_claimed_by(&c, A, tasks, given) == NULL);
    if (s->goes_on) {
        step_no_more(c.members[A].pid);
        fp_pool_stop_workers(c.pool);   /* for one that has nothing to find out */
        CHECK_EQ(crew_wait(&c, A), 0);
    }
    else {
        kill(c.members[A].pid, SIGKILL);
        CHECK(WIFSIGNALED(crew_wait(&c, A)));
    }
    crew_reap(&c, A, &none);
    CHECK(none == NULL);
    crew_manage_by_the_bell(&c, &waiter);
    *failed += expect_all();
    crew_check_empty(&c);
    crew_free(&c);
    return more;
}

/* -------------------------------------------------------------------- a scenario */

static void
play(const scenario *which)
{
    u32 k = 0, failed = 0;
    bool more = true;
    s = which;
    ntasks = s->backlog ? 5 : s->doomed || s->meanwhile ? 3 : 4;
    nbefore = s->meanwhile ? 0 : s->goes_on && !s->doomed ? 2 : ntasks;
    nwhile = s->goes_on || !s->meanwhile ? nbefore : ntasks - 1;
    check_doing(s->name);
    u64 began = fp_now();
    if (!s->doomed) {
        crew_open(&c, 1 + s->peer);
        c.pool->spin.cpus = 1;
        if (s->peer) {
            crew_start_with(&c, be_peer);
            EVENTUALLY(worker_is_asleep(c.pool, 0));
        }
    }
    for (; more; k++) {
        more = s->doomed ? one_break(k, &failed) : one_run(k, &failed);
        if (s->peer) {
            EVENTUALLY(worker_is_asleep(c.pool, 0));
        }
    }
    if (!s->doomed) {
        crew_close(&c);
    }
    printf("  %s: stopped at each of %u moments, %u tasks failed (%.1f s)\n", s->name, k, failed,
           (double)(fp_now() - began) / 1e9);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    check_within(argc > 1 ? 3600 : 300);
    every = argc > 1 && strcmp(argv[1], "all") == 0;
    const char *only = argc > 1 + every ? argv[1 + every] : NULL;
    step_share_one_cpu();
    for (u32 i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (only == NULL || (u32)atoi(only) == i) {
            play(&scenarios[i]);
        }
    }
    return 0;
}
