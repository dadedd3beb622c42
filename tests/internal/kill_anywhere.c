/* SIGKILL a worker after a random number of instructions, thousands of times, then see what the pool makes of it.
 *
 * kill_every_step.c takes every instruction of a few short runs. This is the other way round: every trial is another run,
 * made from its own seed: how many tasks, of what sizes (in the slot, in blocks, in runs of spans; replies in the slot, the
 * byte ring, spans; a shared object to look into), memory in pieces so that a claim of spans fails half-way and gives back
 * what it had, positions near the ends of the rings, a peer or none, a waiting thread before or after, watching or not, when
 * the tasks come. The worker is single-stepped from its first look for a task until its number is up, or until it sleeps;
 * then it is killed, and others have to end all that it leaves:
 *
 *   - the task that it had claimed, and no other, has failed; a result that it had completed is kept
 *   - every other task has ended with its result, executed once
 *   - slots, spans, blocks, shared objects and descriptors are all given back
 *   - every worker can be reached, the new one at its index among them
 *
 * kill_anywhere [TRIALS [SEED]]     by default 200; "kill_anywhere 1 SEED" does one trial again
 */
#define _GNU_SOURCE
#include "crew.h"
#include "step.h"

#include <dirent.h>

#define TASKS 6u
#define BYTES (64u << 20)

typedef struct {
    u32 steps;          /* instructions until the end */
    u32 ntasks;
    u32 comes[TASKS];   /* task i comes after so many instructions: at once, meanwhile, or when it is dead */
    order orders[TASKS];
    u64 sizes[TASKS];
    u32 ring_at;        /* where the byte ring begins */
    u64 head_at;        /* where the ring of hints begins */
    u32 held;           /* every held-th span is somebody else's */
    bool peer, watches, waits_before, in_the_call, late_news;
} plan;

static plan the;
static crew c;
static fp_task *tasks[TASKS];
static fp_share *share;
static u32 given, A;

/* ------------------------------------------------------------------------- a plan */

static u32
one_of(u64 *seed, const u32 *values, u32 n)
{
    return values[check_random(seed) % n];
}

#define ONE_OF(seed, ...) \
    one_of((seed), (const u32[]){__VA_ARGS__}, sizeof((const u32[]){__VA_ARGS__}) / sizeof(u32))

static bool
one_in(u64 *seed, u32 n)
{
    return check_random(seed) % n == 0;
}

static plan
make_plan(u64 seed)
{
    plan p = {.ntasks = 1 + (u32)(check_random(&seed) % TASKS), .held = ONE_OF(&seed, 0, 0, 0, 2, 4)};
    u32 largest_call = p.held == 2 ? FP_SPAN : UINT32_MAX;   /* a caller would get an error at once */
    p.steps = (u32)(check_random(&seed) % (400 + 500 * p.ntasks));
    for (u32 i = 0; i < p.ntasks; i++) {
        u32 reply = ONE_OF(&seed, 0, 16, 300, 600, 8000, 30000, FP_RING_MAX + 8, 300000, 600000, 900000);
        p.orders[i] = (order){.id = i, .size = reply};
        p.orders[i].act = one_in(&seed, 6) ? LOOK : ANSWER;
        u64 size = ONE_OF(&seed, 0, 0, 400, 600, 2000, 40000, 200000, 700000);
        p.sizes[i] = size < largest_call ? size : largest_call;
        p.comes[i] = one_in(&seed, 2) ? 0 : (u32)(check_random(&seed) % (2 * p.steps + 1));
    }
    p.ring_at = ONE_OF(&seed, 0, 0, FP_RING - 700, FP_RING - 20000, UINT32_MAX - 500, UINT32_MAX - 40000);
    p.head_at = ONE_OF(&seed, 0, 0, 2 * FP_NSLOTS_MIN - 2, UINT32_MAX - 2);
    p.peer = one_in(&seed, 2);
    p.watches = one_in(&seed, 3);
    p.waits_before = one_in(&seed, 2);
    p.in_the_call = one_in(&seed, 2);
    p.late_news = one_in(&seed, 2);
    for (u32 i = 0; p.waits_before && i < p.ntasks; i++) {
        p.comes[i] = 0;   /* a thread that waits for all has all to wait for */
    }
    return p;
}

/* --------------------------------------------------------------- the worker that is stepped */

static void
be_stepped(fp_worker *k)
{
    k->ring_tail = the.ring_at;
    fp_store_seq_cst(&k->shm.workers[k->w].wk_ring_head, the.ring_at);
    k->spin.cpus = the.watches ? CREW_MOST : 1;
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
    if (the.peer && the.comes[given] == 0) {
        /* A is the watcher: the task is left to it, and the peer sleeps on until A or the manager wakes it */
        fp_store_seq_cst(&c.pool->shm.head->wk_watch, A + 1);
    }
    order o = the.orders[given];
    tasks[given] = o.act == LOOK ? crew_give_look(&c, o, share) : crew_give(&c, o, the.sizes[given]);
    given++;
}

static void
give_what_comes_by(u32 steps)
{
    while (given < the.ntasks && the.comes[given] <= steps) {
        give_next();
    }
}

/* Where it was when its time came, for the table. */
enum { LOOKING, RUNNING, WITH_SPANS, DONE_NOT_TAKEN, IDLE, ASLEEP, PLACES };
static const char *const place_names[PLACES] = {
    "before a claim", "with a task", "with a task and spans", "with a result that nobody had taken",
    "with nothing to do", "asleep",
};
static u32 places[PLACES];

static u32
place_of_A(bool asleep)
{
    fp_pool *p = c.pool;
    u32 s = fp_load_seq_cst(&p->shm.workers[A].wk_slot);
    u64 word = s ? fp_load_seq_cst(&p->shm.slots[s - 1].sl_state) : 0;
    if (asleep) {
        return ASLEEP;
    }
    if (fp_word_owner(word) == A && fp_word_state(word) == FP_CLAIMED) {
        return spans_owned_by(p, FP_SPAN_WORKER + A) > 0 ? WITH_SPANS : RUNNING;
    }
    if (fp_word_owner(word) == A && fp_word_state(word) == FP_DONE) {
        return DONE_NOT_TAKEN;
    }
    return fp_ring_is_empty(&p->shm) ? IDLE : LOOKING;
}

static u64 steps;   /* of all trials */

/* True: it sleeps, and nothing more would wake it. */
static bool
step_it(void)
{
    const pid_t pid = c.members[A].pid;
    const fp_a32 *futex = &c.pool->shm.workers[A].wk_futex;
    for (u32 n = 0; n < the.steps; n++) {
        give_what_comes_by(n);
        step_registers r = step_where(pid);
        if (step_is_at_futex_wait(&r) && fp_load_seq_cst(futex) == 1) {
            while (given < the.ntasks && the.comes[given] < the.steps && fp_load_seq_cst(futex) == 1) {
                give_next();
            }
            if (fp_load_seq_cst(futex) == 1) {
                return true;
            }
        }
        CHECK(step_one(pid));
        steps++;
    }
    return false;
}

static fp_task *
kill_it(bool sleeps)
{
    const pid_t pid = c.members[A].pid;
    fp_task *task;
    if (sleeps && the.in_the_call) {
        CHECK_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
        EVENTUALLY(step_is_asleep(pid));
    }
    places[place_of_A(sleeps)]++;
    kill(pid, SIGKILL);
    CHECK(WIFSIGNALED(crew_wait(&c, A)));
    fp_task *lost = crew_claimed_by(&c, A, tasks, given);
    if (the.late_news) {
        give_what_comes_by(UINT32_MAX);   /* between the death and the news of it */
    }
    CHECK_EQ(crew_reap(&c, A, &task), FP_BROKEN);
    CHECK(task == lost);
    if (task != NULL) {
        fp_pool_fail(c.pool, task);
    }
    give_what_comes_by(UINT32_MAX);
    return lost;
}

/* -------------------------------------------------------------------------- one trial */

/* As if the pool had worked for a while; and memory in pieces. */
static void
set_the_scene(void)
{
    fp_pool *p = c.pool;
    p->spin.cpus = 1;
    p->tail = the.head_at;
    fp_store_seq_cst(&p->shm.head->rg_head, the.head_at);
    fp_store_seq_cst(&p->shm.head->rg_tail, the.head_at);
    for (u32 i = 0; the.held && i < p->shm.nspans; i += the.held) {
        fp_store_seq_cst(&p->shm.owners[i], FP_SPAN_OWNER - 2);
    }
}

static void
clear_the_scene(void)
{
    for (u32 i = 0; the.held && i < c.pool->shm.nspans; i += the.held) {
        CHECK_EQ(fp_load_seq_cst(&c.pool->shm.owners[i]) & FP_SPAN_OWNER, FP_SPAN_OWNER - 2);
        fp_store_seq_cst(&c.pool->shm.owners[i], FP_SPAN_FREE);
    }
}

static void
expect_all(const fp_task *lost)
{
    for (u32 i = 0; i < given; i++) {
        CHECK(fp_load_acquire(&stage->runs[i]) <= 1);
        if (tasks[i] == lost) {
            crew_expect_outcome(&c, tasks[i], FP_OUTCOME_BROKEN);
        }
        else if (tasks[i]->outcome == FP_OUTCOME_NOMEM) {
            CHECK(the.held && the.orders[i].size > FP_RING_MAX);   /* there is no such run */
            CHECK_EQ(fp_load_acquire(&stage->runs[i]), 1);
            fp_pool_drop_task(c.pool, tasks[i]);
        }
        else {
            crew_expect(&c, tasks[i], the.orders[i]);
        }
    }
}

static u32
descriptors(void)
{
    u32 n = 0;
    DIR *d = opendir("/proc/self/fd");
    CHECK(d != NULL);
    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

static bool
one_trial(u64 seed)
{
    crew_waiter waiter;
    u32 before = descriptors();
    the = make_plan(seed);
    given = 0;
    crew_open_with(&c, 1 + the.peer, BYTES);
    set_the_scene();
    if (the.peer) {
        crew_start_with(&c, be_peer);
        EVENTUALLY(worker_is_asleep(c.pool, 0));
    }
    A = crew_start_with(&c, be_stepped);
    CHECK_EQ(step_await_stop(c.members[A].pid), SIGSTOP);
    give_what_comes_by(0);
    if (the.waits_before) {
        crew_begin_waiting(&c, &waiter, tasks, given);
        EVENTUALLY(leader_is_asleep(c.pool));
    }
    bool sleeps = step_it();
    fp_task *lost = kill_it(sleeps);
    if (!the.waits_before) {
        crew_begin_waiting(&c, &waiter, tasks, given);
    }
    CHECK_EQ(crew_start_with(&c, be_peer), A);   /* without a peer nobody else could go on */
    crew_manage_by_the_bell(&c, &waiter);
    expect_all(lost);
    clear_the_scene();
    fp_pool_manage(c.pool);   /* drops what the tasks held */
    CHECK_EQ(fp_load_seq_cst(&share->refs), 1);
    crew_check_empty(&c);
    crew_check_reachable(&c, 1 + the.peer);
    crew_close(&c);
    CHECK_EQ(descriptors(), before);
    return lost != NULL;
}

/* ------------------------------------------------------------------------ many of them */

/* Whatever hangs: what the pool looked like. (Not for a signal handler, but it is the program's last act.) */
static void
show_state(int signal_number)
{
    const fp_pool *p = c.pool;
    const fp_head_shm *h = p->shm.head;
    (void)signal_number;
    fprintf(stderr, "hangs: %s; %u of %u tasks given\n", check_subject, given, the.ntasks);
    fprintf(stderr, "head %llu, tail %llu (%llu), list %#x, watch %u, waking %#llx, idle %#llx\n",
            (unsigned long long)h->rg_head, (unsigned long long)h->rg_tail, (unsigned long long)p->tail, h->cq_head,
            h->wk_watch, (unsigned long long)h->wk_waking, (unsigned long long)p->shm.idle[0]);
    for (u32 w = 0; w < p->shm.nworkers; w++) {
        const fp_worker_shm *k = &p->shm.workers[w];
        fprintf(stderr, "worker %u: futex %u, slot %u, phase %u\n", w, k->wk_futex, k->wk_slot, k->wk_phase);
    }
    for (u32 s = 0; s < p->shm.nslots; s++) {
        if (p->slots[s].out) {
            fprintf(stderr, "slot %u: state %#llx, generation %u\n", s, (unsigned long long)p->shm.slots[s].sl_state,
                    p->slots[s].generation);
        }
    }
    _exit(1);
}

static fp_share *
something_shared(void)
{
    static u8 data[100000];
    fp_share *s;
    fp_piece piece = {data, sizeof data};
    fp_payload payload = {.pieces = &piece, .npieces = 1};
    fp_payload_measure(&payload);
    CHECK_EQ(fp_share_create(&payload, &s), FP_OK);
    return s;
}

int
main(int argc, char **argv)
{
    u64 trials = argc > 1 ? strtoull(argv[1], NULL, 0) : 200;
    u64 first = argc > 2 ? strtoull(argv[2], NULL, 0) : fp_now(), failed = 0;
    u64 began = fp_now();
    signal(SIGALRM, show_state);
    step_share_one_cpu();
    share = something_shared();
    for (u64 seed = first; seed < first + trials; seed++) {
        char text[64];
        snprintf(text, sizeof text, "seed %llu", (unsigned long long)seed);
        check_doing(text);
        alarm(3 * BOUND_S);
        failed += one_trial(seed);
    }
    fp_share_decref(share);
    printf("  %llu trials from seed %llu on, %llu instructions, %llu tasks failed (%.1f s); killed",
           (unsigned long long)trials, (unsigned long long)first, (unsigned long long)steps, (unsigned long long)failed,
           (double)(fp_now() - began) / 1e9);
    for (u32 i = 0; i < PLACES; i++) {
        printf("%s %s: %u", i ? "," : "", place_names[i], places[i]);
    }
    printf("\n");
    return 0;
}
