/* Waiting for tasks, natively: one leader sleeps on the completed list, the rest on words of their own.
 *
 * Memory    private to the parent. A waiter lives on its thread's stack or in a Python object,
 *           its nodes (one per task waited for) likewise.
 * Leader    the first to wait: spins, then sleeps on cq_head (bit FP_CQ_WAITER), so a worker's
 *           completion wakes the thread that needs it with one system call and no hop.
 *           Whoever pumps (anyone) wakes the waiters whose tasks it settled.
 * Courier   leads like any other, until somebody else waits while no task is to be told of: then it stands aside. As long as it
 *           has never been told of any, it always does; so does the reader.
 * Handover  a leader that leaves names the next before it returns, so never waits for the GIL as leader.
 * Ordering  leader: set WAITER, then read `nready` (both seq_cst). Settler: `nready` first, then WAITER.
 */
#ifndef FP_WAIT_H
#define FP_WAIT_H

#include "task.h"

struct fp_pool;
struct fp_waiter;

typedef struct fp_node {
    struct fp_waiter *waiter;
    fp_task *task;
    struct fp_node *next;          /* of the same task; after that: among the ready */
    bool fired;
} fp_node;

/* Must the waiter come back (FP_AGAIN) before it sleeps? */
enum {
    FP_CAREFREE,    /* no */
    FP_WARY,        /* yes */
    FP_CHECKED,     /* it has: one sleep, at once, then FP_WARY again */
};

typedef struct fp_waiter {
    fp_a32 word;                   /* a follower's futex: 0 asleep, 1 awake */
    fp_a32 nready;
    fp_node *ready_first, *ready_last;
    struct fp_waiter *next;        /* among the followers */
    u8 wary;                       /* its own thread's */
} fp_waiter;

static inline void
fp_waiter_init(fp_waiter *w)
{
    *w = (fp_waiter){.word = 1};
}

/* Wait for `t`, too: fires at once if it is done. The node must stay where it is. */
void fp_wait_add(struct fp_pool *p, fp_waiter *w, fp_node *node, fp_task *t);
/* Stop waiting for it. */
void fp_wait_remove(struct fp_pool *p, fp_node *node);
/* Take one ready node, or NULL. */
fp_node *fp_wait_take(struct fp_pool *p, fp_waiter *w);
/* Wait until `want` nodes are ready: 0, FP_TIMEDOUT, FP_INTR, or FP_AGAIN (see `wary`). */
int fp_wait(struct fp_pool *p, fp_waiter *w, u32 want, u64 deadline);
/* One task, the commonest case: 0, FP_TIMEDOUT or FP_INTR. */
int fp_wait_task(struct fp_pool *p, fp_task *t, u64 deadline);

/* The settler's side, under the pool's lock. */
void fp_wait_fire_locked(struct fp_pool *p, fp_task *t);
void fp_wait_notify_locked(struct fp_pool *p, fp_waiter *w);
/* If nobody waits, nobody would notice the end of a task that the courier is to visit: it has to wait itself. */
void fp_wait_courier_is_needed_locked(struct fp_pool *p);
/* The leader has to look again: a worker died that may have owed it a wake. */
void fp_wait_rouse_leader(struct fp_pool *p);

#endif
