/* All threads of a process, and its child processes, one instruction at a time, in an order made from a seed.
 *
 * How       by ptrace. Every thread and child runs freely until it raises SIGSTOP (schedule_line_up); from then on it
 *           moves only when it is its turn. The first process does so last, and raises SIGUSR1 when it has seen enough:
 *           then all run freely to the end.
 * Order     one of two, by the seed. Priorities (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of
 *           finding bugs", ASPLOS 2010): the highest that can move moves, and at a few moments whoever moves is put last; what
 *           takes few such moments to go wrong is found with a probability that can be told. Or turns of random length.
 * Signals   none may come that interrupt a system call: it would begin again within a step. SIGCHLD is blocked.
 * Sleepers  a thread that its system call puts to sleep cannot move until somebody's call has woken it. If nobody can move,
 *           and no time-out changes that, they have all been forgotten: the process hangs.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "step.h"

#define SCHEDULE_MOST 32u

enum { SCHEDULE_MOVES, SCHEDULE_SLEEPS, SCHEDULE_GONE };

typedef struct {
    pid_t tid;
    u32 state, priority;
    int signal;            /* to be delivered with its next step */
    u64 pc;                /* where it was last seen in this program's own code: for addr2line */
} schedule_actor;

typedef struct {
    u64 seed, steps, changes;
    schedule_actor actors[SCHEDULE_MOST];
    u32 n;
    bool by_priority;
    u64 at[4];             /* with priorities: when whoever moves is put last */
    schedule_actor *turn;  /* else: whose turn it is, and for how long */
    u64 left;
    u32 lowest;
} schedule;

/* In the first process, before it does anything else. */
static inline void
schedule_me(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    step_begin_here();
}

/* In the process: I am ready to be scheduled. */
static inline void
schedule_line_up(void)
{
    raise(SIGSTOP);
}

static inline u64
schedule_random(schedule *s)
{
    return check_random(&s->seed);
}

static inline schedule_actor *
schedule_add(schedule *s, pid_t tid)
{
    CHECK(s->n < SCHEDULE_MOST);
    schedule_actor *a = &s->actors[s->n++];
    *a = (schedule_actor){.tid = tid, .priority = 1000 + (u32)(schedule_random(s) % 1000000)};
    return a;
}

static inline void
schedule_new_actor(schedule *s, pid_t parent);

/* It has stopped, or ended: what for? True: it is at its line, or has made its step; false: let it go on first. */
static inline bool
schedule_note(schedule *s, schedule_actor *a, int status)
{
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        a->state = SCHEDULE_GONE;
        return true;
    }
    CHECK(WIFSTOPPED(status));
    int signal_number = WSTOPSIG(status);
    if (status >> 16 != 0) {
        schedule_new_actor(s, a->tid);
    }
    else if (signal_number != SIGTRAP && signal_number != SIGSTOP) {
        a->signal = signal_number;
    }
    return status >> 16 == 0;
}

/* It runs freely, up to its line. */
static inline void
schedule_run_to_line(schedule *s, schedule_actor *a)
{
    int status;
    do {
        CHECK_EQ(ptrace(PTRACE_CONT, a->tid, NULL, (void *)(intptr_t)a->signal), 0);
        a->signal = 0;
        CHECK_EQ(waitpid(a->tid, &status, __WALL), a->tid);
    } while (!schedule_note(s, a, status) || a->signal != 0);
}

static inline void
schedule_new_actor(schedule *s, pid_t parent)
{
    unsigned long tid;
    int status;
    CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, parent, NULL, &tid), 0);
    schedule_actor *a = schedule_add(s, (pid_t)tid);
    CHECK_EQ(waitpid(a->tid, &status, __WALL), a->tid);   /* its birth */
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    schedule_run_to_line(s, a);
}

/* What the kernel says of it: 'S' asleep, 't' stopped, 'R' ... */
static inline char
schedule_kernel_state(pid_t tid)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)tid);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fscanf(f, "%*d %*s %c", &state) != 1) {
            state = '?';
        }
        fclose(f);
    }
    return state;
}

/* Wait until it has made its step, or sleeps in a system call. */
static inline void
schedule_settle(schedule *s, schedule_actor *a)
{
    for (;;) {
        int status;
        char state = schedule_kernel_state(a->tid);
        pid_t got = waitpid(a->tid, &status, __WALL | WNOHANG);
        CHECK(got >= 0);
        if (got == 0 && (state == 'S' || state == 'Z')) {   /* Z: the whole process ends, and others of it are not through */
            a->state = state == 'S' ? SCHEDULE_SLEEPS : SCHEDULE_GONE;
            return;
        }
        if (got == 0) {
            sched_yield();
            continue;
        }
        a->state = SCHEDULE_MOVES;
        if (schedule_note(s, a, status)) {
            return;
        }
        CHECK_EQ(ptrace(PTRACE_SINGLESTEP, a->tid, NULL, NULL), 0);   /* the rest of the call that gave birth */
    }
}

/* Who slept may have been woken, and anybody may have been killed. */
static inline void
schedule_look_at_others(schedule *s, const schedule_actor *self)
{
    for (u32 i = 0; i < s->n; i++) {
        schedule_actor *a = &s->actors[i];
        if (a->state == SCHEDULE_SLEEPS ||
            (a->state == SCHEDULE_MOVES && a != self && schedule_kernel_state(a->tid) != 't')) {
            schedule_settle(s, a);
        }
    }
}

static inline void
schedule_step(schedule *s, schedule_actor *a)
{
    step_registers r = step_where(a->tid);
    bool call = step_is_at_call(&r);
    a->pc = step_is_at_home(&r) ? r.pc : a->pc;
    CHECK_EQ(ptrace(PTRACE_SINGLESTEP, a->tid, NULL, (void *)(intptr_t)a->signal), 0);
    a->signal = 0;
    s->steps++;
    if (call) {
        schedule_settle(s, a);
        schedule_look_at_others(s, a);
    }
    else {
        int status;
        CHECK_EQ(waitpid(a->tid, &status, __WALL), a->tid);
        CHECK(schedule_note(s, a, status));
    }
}

static inline bool
schedule_is_change(schedule *s)
{
    for (u32 i = 0; i < 4; i++) {
        if (s->at[i] == s->steps) {
            return true;
        }
    }
    return false;
}

static inline schedule_actor *
schedule_highest(schedule *s)
{
    schedule_actor *best = NULL;
    for (u32 i = 0; i < s->n; i++) {
        schedule_actor *a = &s->actors[i];
        if (a->state == SCHEDULE_MOVES && (best == NULL || a->priority > best->priority)) {
            best = a;
        }
    }
    return best;
}

static inline schedule_actor *
schedule_anyone(schedule *s)
{
    u32 first = (u32)(schedule_random(s) % s->n);
    for (u32 i = 0; i < s->n; i++) {
        schedule_actor *a = &s->actors[(first + i) % s->n];
        if (a->state == SCHEDULE_MOVES) {
            return a;
        }
    }
    return NULL;
}

/* Who moves next? NULL: nobody can. */
static inline schedule_actor *
schedule_next(schedule *s)
{
    if (s->by_priority) {
        schedule_actor *a = schedule_highest(s);
        if (a != NULL && schedule_is_change(s)) {
            a->priority = s->lowest--;
            s->changes++;
            a = schedule_highest(s);
        }
        return a;
    }
    if (s->turn == NULL || s->turn->state != SCHEDULE_MOVES || s->left == 0) {
        s->turn = schedule_anyone(s);
        s->left = 1 + (schedule_random(s) >> 32) % (1u << schedule_random(s) % 10);
        s->changes++;
    }
    s->left--;
    return s->turn;
}

static inline void
schedule_show(const schedule *s)
{
    extern const char __executable_start[];
    for (u32 i = 0; i < s->n; i++) {
        const schedule_actor *a = &s->actors[i];
        fprintf(stderr, "  %d: %s, last seen at %#llx\n", (int)a->tid,
                a->state == SCHEDULE_MOVES ? "could move" : a->state == SCHEDULE_SLEEPS ? "asleep" : "gone",
                (unsigned long long)(a->pc - (u64)(uintptr_t)__executable_start));
    }
}

/* A fork of ours that will line up, and its threads and children with it; about so many steps are ahead. */
static inline void
schedule_begin(schedule *s, pid_t first, u64 seed, u64 horizon)
{
    int status;
    *s = (schedule){.seed = seed, .lowest = 999};
    s->by_priority = schedule_random(s) % 2;
    for (u32 i = 0, n = (u32)(schedule_random(s) % 5); i < n; i++) {
        s->at[i] = 1 + schedule_random(s) % horizon;
    }
    schedule_actor *a = schedule_add(s, first);
    CHECK_EQ(waitpid(first, &status, __WALL), first);   /* schedule_me */
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(ptrace(PTRACE_SETOPTIONS, first, NULL,
                    (void *)(PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL)), 0);
    schedule_run_to_line(s, a);
}

/* In that order until the first process raises SIGUSR1 (true), or for `most` steps. False: it hangs, or has ended. */
static inline bool
schedule_run(schedule *s, u64 most)
{
    u64 bound = 0;
    while (s->actors[0].state != SCHEDULE_GONE && s->steps < most) {
        schedule_actor *a = schedule_next(s);
        if (a == NULL) {   /* perhaps somebody sleeps for a while */
            bound = bound ? bound : BOUND;
            if (fp_now() > bound) {
                return false;
            }
            check_pause();
            schedule_look_at_others(s, NULL);
            continue;
        }
        bound = 0;
        schedule_step(s, a);
        if (s->actors[0].signal == SIGUSR1) {
            s->actors[0].signal = 0;
            return true;
        }
    }
    return s->actors[0].state != SCHEDULE_GONE;
}

/* Everybody runs freely. The exit status of the first, as waitpid has it. */
static inline int
schedule_end(schedule *s)
{
    int status;
    for (u32 i = 0; i < s->n; i++) {
        if (s->actors[i].state == SCHEDULE_MOVES) {
            ptrace(PTRACE_CONT, s->actors[i].tid, NULL, (void *)(intptr_t)s->actors[i].signal);
        }
    }
    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL);
        CHECK(tid > 0);
        if (!WIFSTOPPED(status)) {
            if (tid == s->actors[0].tid) {
                return status;
            }
            continue;
        }
        int signal_number = WSTOPSIG(status);
        bool ours = signal_number == SIGTRAP || signal_number == SIGSTOP || signal_number == SIGUSR1;
        ptrace(PTRACE_CONT, tid, NULL, (void *)(intptr_t)(ours ? 0 : signal_number));
    }
}

#endif
