/* A pool and its workers, for the tests: what a program over csrc/core looks like without an interpreter.
 *
 * A task's payload is an order; its reply carries id * 3 + 1 at each 64 KiB and at its end.
 * Workers are forked processes; under ThreadSanitizer they are threads that share the parent's mapping,
 * so that it sees both sides of every access.
 */
#ifndef CREW_H
#define CREW_H

#include "check.h"
#include "core/monitor.h"
#include "core/pool.h"
#include "core/worker.h"

#include <sys/types.h>

#if defined(__SANITIZE_THREAD__)
#define CREW_THREADS 1
#else
#define CREW_THREADS 0
#endif

#define CREW_MOST 64u
#define IDS (1u << 20)

enum {
    ANSWER,   /* reply at once */
    HOLD,     /* say that it has begun, reply when the gate is open */
    DIE,      /* kill this worker's process */
    DIE_LATE, /* the same, when the gate is open */
    RETIRE,   /* reply, then leave as a worker does that has run its number of tasks */
    LOOK,     /* look into a shared object, then reply */
    HAND,     /* reply with what is to be read at once */
};

typedef struct {
    u64 id;
    u32 act;
    u32 size;   /* of the reply: 0, or 8 and more */
} order;

/* In memory that all processes share. */
typedef struct {
    fp_a32 began;        /* HOLD and DIE_LATE orders that have begun, ever */
    fp_a32 gate;
    fp_a32 turns;        /* executions, ever */
    fp_a32 runs[IDS];    /* how often each id was executed */
    fp_a32 turn[IDS];    /* and as the how-manieth, from 0 */
} stage_shm;
extern stage_shm *stage;

typedef struct {
    pid_t pid;           /* 0: no worker has this index */
    pthread_t thread;
    fp_worker side;      /* a thread's own */
} member;

typedef struct {
    fp_pool *pool;
    fp_monitor monitor;
    member members[CREW_MOST];
    u32 retries;         /* of the tasks that are given to it */
    void *call;          /* that they hold */
    bool hands_over;     /* they do */
} crew;

void crew_open(crew *c, u32 nworkers);
/* The same, with so many bytes of shared memory for what is large. */
void crew_open_with(crew *c, u32 nworkers, u64 bytes);
/* One more worker; its index. */
u32 crew_start(crew *c);
/* The same, with `before` run in the new process when it has attached. */
u32 crew_start_with(crew *c, void (*before)(fp_worker *));
/* The worker's part: attach and work until the end. */
void crew_work(fp_worker *k);
/* SIGKILL, and wait until it is dead. The pool does not know yet. */
void crew_kill(crew *c, u32 w);
/* Worker w has ended by itself: its exit status, as waitpid has it. */
int crew_wait(crew *c, u32 w);
/* Tell the pool that w is dead. */
int crew_reap(crew *c, u32 w, fp_task **task);
/* Be the manager until every task has ended; a worker that dies takes its task along and is replaced if `replace`.
 * The number of deaths. */
u32 crew_manage(crew *c, bool replace);
/* Close, drain, stop the workers, check that everything was given back. */
void crew_close(crew *c);
/* Only the last: no worker is left, no task is out. */
void crew_check_empty(crew *c);
void crew_free(crew *c);

/* Submit an order padded to `size` bytes (0: just the order). The caller's reference. */
fp_task *crew_give(crew *c, order o, u64 size);
int crew_try(crew *c, order o, u64 size, fp_task **t);
/* A LOOK order, which holds the object until it has ended. */
fp_task *crew_give_look(crew *c, order o, fp_share *share);
/* A task whose payload comes later, with crew_place, which waits for room; false: the task has ended meanwhile. */
fp_task *crew_give_unplaced(crew *c);
bool crew_place(crew *c, fp_task *t, order o, u64 size);
/* It is done, with this order's reply. Drops the reference. */
void crew_expect(crew *c, fp_task *t, order o);
void crew_expect_outcome(crew *c, fp_task *t, u32 outcome);
/* Wait for it. A wait that only its bound ended has failed, though the task is done by then. */
void crew_wait_for(crew *c, fp_task *t);
/* Both. */
void crew_await(crew *c, fp_task *t, order o);

/* A thread that waits natively for all of these tasks. */
typedef struct {
    crew *c;
    fp_task **tasks;
    u32 n;
    int through;         /* eventfd */
    pthread_t thread;
} crew_waiter;
void crew_begin_waiting(crew *c, crew_waiter *w, fp_task **tasks, u32 n);
/* Until that thread is through: the bell, and only the bell, makes the manager do something. */
void crew_manage_by_the_bell(crew *c, crew_waiter *w);

/* The one of these tasks that w has claimed and not completed, or NULL; found without the words that reap goes by. */
fp_task *crew_claimed_by(crew *c, u32 w, fp_task **tasks, u32 n);
/* Workers 0 to n - 1 can be reached, all at the same time. */
void crew_check_reachable(crew *c, u32 n);

void stage_init(void);   /* crew_open does it */
void stage_open_gate(void);
void stage_close_gate(void);
void stage_await_began(u32 n);   /* until n HOLD orders have begun */

bool worker_is_asleep(const fp_pool *p, u32 w);
u32 spans_owned_by(const fp_pool *p, u32 owner);
u32 spans_of_workers(const fp_pool *p);
static inline bool
leader_is_asleep(const fp_pool *p)
{
    return fp_load_acquire(&p->shm.head->cq_head) & FP_CQ_WAITER;
}

#endif
