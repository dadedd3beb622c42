/* The parent stands still at EVERY instruction of a submit or a wait, and everybody else does what he can.
 *
 * A process in the parent's part is single-stepped through the call. Before some instruction of this program's
 * own, or some system call, it stands until its workers, and another thread of its own, have come to rest;
 * then it goes on, and everything has to end. In the next run it stands at the next. So each interleaving of
 * one pause is met: a wake that gets lost in one of them is lost here.
 *
 * stall_every_step [NUMBER OF SCENARIO]
 */
#define _GNU_SOURCE
#include "crew.h"
#include "step.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define WORKERS 2u

/* Between the stepped process and its tracer. */
typedef struct {
    pid_t workers[WORKERS], helper;
    fp_a32 asked, answered;   /* of the helper, a thread of the stepped process */
} shared;

typedef struct {
    const char *name;
    void (*before)(void);     /* in the stepped process: up to the call */
    void (*call)(void);       /* what is stepped */
    void (*after)(void);
    void (*help)(void);       /* in its other thread, while it stands */
    bool opens_gate;          /* the gate is opened while it stands */
} scenario;

static shared *common;
static const scenario *s;
static crew c;
static fp_task *t[2];
static u32 id;

/* ------------------------------------------------------------- in the stepped process */

static order
held(u32 i)
{
    return (order){.id = id + i, .act = HOLD, .size = 16};
}

static void
begin_round(void)
{
    for (u32 w = 0; w < WORKERS; w++) {
        EVENTUALLY(worker_is_asleep(c.pool, w));
    }
    fp_pool_pump(c.pool);
    stage_close_gate();
    id = (id + 2) % IDS;
    fp_store_seq_cst(&stage->runs[id], 0);
    fp_store_seq_cst(&stage->runs[id + 1], 0);
}

static void
end_round(void)
{
    for (u32 i = 0; i < 2; i++) {
        if (t[i] != NULL) {
            crew_await(&c, t[i], held(i));
            t[i] = NULL;
        }
    }
}

/* Two tasks that wait for each other: no worker may be left asleep. */
static order prepared[2];

static void
before_two(void)
{
    begin_round();
    for (u32 i = 0; i < 2; i++) {
        prepared[i] = held(i);
        fp_piece piece = {(const u8 *)&prepared[i], sizeof prepared[i]};
        fp_payload payload = {.pieces = &piece, .npieces = 1};
        fp_payload_measure(&payload);
        t[i] = fp_task_new(0, FP_CALL_WHOLE, &payload, NULL);
    }
}

static void
submit_first(void)
{
    CHECK_EQ(fp_pool_submit(c.pool, t[0]), FP_OK);
}

static void
submit_second(void)
{
    CHECK_EQ(fp_pool_submit(c.pool, t[1]), FP_OK);
}

static void
after_two(void)
{
    stage_await_began(2);
    stage_open_gate();
    end_round();
}

static void
before_second(void)
{
    before_two();
    submit_first();
}

static void
after_first(void)
{
    submit_second();
    after_two();
}

static void
before_one(void)
{
    begin_round();
    t[0] = crew_give(&c, held(0), 0);
    stage_await_began(1);
}

static void
wait_for_first(void)
{
    crew_wait_for(&c, t[0]);
}

static void
pump(void)
{
    fp_pool_pump(c.pool);
}

static void
before_cancel(void)
{
    begin_round();
    for (u32 i = 0; i < WORKERS; i++) {   /* all busy */
        fp_pool_drop_task(c.pool, crew_give(&c, held(1), 0));
    }
    stage_await_began(WORKERS);
    t[0] = crew_give(&c, held(0), 0);
}

static void
cancel_first(void)
{
    CHECK(fp_pool_cancel(c.pool, t[0]));
}

static void
after_cancel(void)
{
    crew_expect_outcome(&c, t[0], FP_OUTCOME_CANCELLED);
    t[0] = NULL;
    stage_open_gate();
}

/* The helper leads, the stepped thread follows. */
static fp_a32 leads;

static void
lead(void)
{
    crew_wait_for(&c, t[1]);
}

static void
before_following(void)
{
    before_one();
    t[1] = crew_give(&c, held(1), 0);
    stage_await_began(2);
    fp_store_seq_cst(&leads, 1);
    fp_futex_wake(&leads, 1, false);
    EVENTUALLY(leader_is_asleep(c.pool));
}

static const scenario scenarios[] = {
    {"submit the first of two", before_two, submit_first, after_first, NULL, false},
    {"submit the second", before_second, submit_second, after_two, NULL, false},
    {"wait", before_one, wait_for_first, end_round, NULL, true},
    {"wait, while another thread settles it", before_one, wait_for_first, end_round, pump, true},
    {"wait, while another thread cancels it", before_cancel, wait_for_first, after_cancel, cancel_first, false},
    {"wait, while another thread leads", before_following, wait_for_first, end_round, NULL, true},
};

static void *
help(void *arg)
{
    (void)arg;
    common->helper = (pid_t)syscall(SYS_gettid);
    for (u32 n = 0;; n++) {
        while (fp_load_seq_cst(&common->asked) == n) {
            fp_futex_wait(&common->asked, n, FP_NEVER, true);
        }
        s->help();
        fp_store_seq_cst(&common->answered, n + 1);
    }
    return NULL;
}

static void *
lead_when_told(void *arg)
{
    (void)arg;
    for (;;) {
        while (fp_load_seq_cst(&leads) == 0) {
            fp_futex_wait(&leads, 0, FP_NEVER, false);
        }
        fp_store_seq_cst(&leads, 0);
        lead();
    }
    return NULL;
}

static void
sleep_at_once(fp_worker *k)
{
    k->spin.cpus = 1;
}

static void
be_stepped(void)
{
    pthread_t helper, leader;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    crew_open(&c, WORKERS);
    c.pool->spin.cpus = 1;
    for (u32 w = 0; w < WORKERS; w++) {
        common->workers[crew_start_with(&c, sleep_at_once)] = c.members[w].pid;
    }
    pthread_create(&helper, NULL, help, NULL);
    pthread_create(&leader, NULL, lead_when_told, NULL);
    EVENTUALLY(common->helper != 0);
    CHECK_EQ(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
    for (;;) {
        s->before();
        raise(SIGSTOP);
        s->call();
        raise(SIGSTOP);
        s->after();
    }
}

/* --------------------------------------------------------------------- the tracer */

static void
let_go(pid_t pid)
{
    CHECK_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
}

static void
let_others_do_all_they_can(void)
{
    if (s->opens_gate) {
        stage_open_gate();
    }
    for (u32 w = 0; w < WORKERS; w++) {
        EVENTUALLY(step_is_asleep(common->workers[w]));
    }
    if (s->help != NULL) {
        u32 n = atomic_fetch_add(&common->asked, 1) + 1;
        fp_futex_wake(&common->asked, 1, true);
        EVENTUALLY(fp_load_seq_cst(&common->answered) == n || step_is_asleep(common->helper));
    }
}

/* Stand before the k-th instruction of the call that counts. False: there are no more, or it sleeps. */
static bool
one_run(pid_t pid, u32 k)
{
    bool more = true, through = false;
    CHECK_EQ(step_await_stop(pid), SIGSTOP);
    for (u32 counted = 0; more;) {
        step_registers r = step_where(pid);
        counted += step_is_at_home(&r) || step_is_at_call(&r);
        if (counted > k) {
            break;
        }
        if (step_is_at_futex_wait(&r)) {
            more = false;
        }
        else if (!step_one(pid)) {   /* at its second stop */
            more = false;
            through = true;
        }
    }
    let_others_do_all_they_can();
    let_go(pid);
    if (!through) {
        CHECK_EQ(step_await_stop(pid), SIGSTOP);
        let_go(pid);
    }
    return more;
}

static void
play(const scenario *which)
{
    s = which;
    check_doing(s->name);
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(common != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        be_stepped();
    }
    u32 k = 0;
    u64 began = fp_now();
    while (one_run(pid, k)) {
        k++;
    }
    CHECK_EQ(step_await_stop(pid), SIGSTOP);   /* and the last round, too, is over */
    kill(pid, SIGKILL);
    CHECK_EQ(step_await_stop(pid), 0);
    munmap(common, sizeof *common);
    printf("  %s: stood at each of %u instructions (%.1f s)\n", s->name, k, (double)(fp_now() - began) / 1e9);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    check_within(argc > 1 ? 3600 : 300);
    step_share_one_cpu();
    stage_init();
    for (u32 i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (argc < 2 || (u32)atoi(argv[1]) == i) {
            play(&scenarios[i]);
        }
    }
    return 0;
}
