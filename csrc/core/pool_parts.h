/* What the files that make up fp_pool share: not for others.
 *
 * pool.c            its life; closing it; the manager's turn
 * pool_functions.c  the table of functions, and their names
 * pool_room.c       memory for payloads: whether there is some, who waits for it, when it goes back to the system
 * pool_send.c       tasks on their way to the workers: into the ring, or into the backlog behind it
 * pool_settle.c     tasks that end: the pump, replies, whom to tell; when the bell is to ring
 * pool_held.c       calls that are held until they have ended, replies that are read at once: what threads of Python's see to
 * pool_cancel.c     tasks that are taken back
 * pool_workers.c    how many workers are wanted, and which there are
 * pool_death.c      the end of a worker, of the pool, of all of them
 *
 * limits.h, audit.h and wait.h are parts, too, with more to say about them.
 */
#ifndef FP_POOL_PARTS_H
#define FP_POOL_PARTS_H

#include "pool.h"

/* ---------------------------------------------------------- in pool_room.c */

/* The payload of a call is gone. */
void fp_free_room_locked(fp_pool *p, u64 block, u64 size);
/* The same, but the first `kept` bytes of its run of spans are its reply's by now. */
void fp_keep_room_locked(fp_pool *p, u64 block, u64 size, u64 kept);
/* The sender is to try again, if it waits for room. */
void fp_wake_sender_locked(fp_pool *p);
/* There is idle memory from now on: the manager gives it back later, and tells the sender now if that waits for it. (This
 * is called with and without the lock.) */
void fp_spans_came_free(fp_pool *p);

/* ---------------------------------------------------------- in pool_send.c */

/* From the backlog into the ring, as much as there is room for. */
void fp_refill_locked(fp_pool *p);
/* The first of the backlog, which is not empty; it may have ended meanwhile. nbacklog is the caller's to count. */
fp_task *fp_take_backlog_locked(fp_pool *p);
/* It was lost with its worker: it comes before all that the workers have not been given yet. */
void fp_send_again_locked(fp_pool *p, fp_task *t);

/* -------------------------------------------------------- in pool_settle.c */

/* The one place where a task ends. Drops the pool's reference. */
void fp_settle_locked(fp_pool *p, fp_task *t, u32 outcome);
/* The slot is nobody's from here on; its task, if it still had one, is returned. */
fp_task *fp_empty_slot_locked(fp_pool *p, u32 s);
/* Another task may have it. */
void fp_free_slot_locked(fp_pool *p, u32 s);
/* Slot s is DONE|w: settle its task and free it. */
void fp_finish_slot_locked(fp_pool *p, u32 s, u32 w);
/* Have the bell rung in time, if the manager must hear of progress. */
void fp_arm_bell_locked(fp_pool *p);
/* What calls that have ended had kept alive. Takes the lock, and its time without it. */
void fp_free_dropped(fp_pool *p);

/* ---------------------------------------------------------- in pool_held.c */

/* One more unfinished task that may hold its call, or hand something over; and one less. */
void fp_count_call_locked(fp_pool *p, const fp_task *t);
void fp_uncount_call_locked(fp_pool *p, fp_task *t);
/* Its reply is there, its slot another's, and it ends when the reader has read it: who waits for it, waits for that. */
void fp_read_at_once_locked(fp_pool *p, fp_task *t);

/* -------------------------------------------------------- in pool_cancel.c */

/* True if it had not started: it is settled as cancelled. */
bool fp_cancel_locked(fp_pool *p, fp_task *t);
/* Take a task back that no worker has claimed: it is in no slot any more, and not settled. False: one has. */
bool fp_withdraw_locked(fp_pool *p, fp_task *t);

/* ------------------------------------------------------- in pool_workers.c */

/* It is dead and its slots are reaped: nobody is to wait for it, and its index is free. */
void fp_clear_worker_locked(fp_pool *p, u32 w);

/* --------------------------------------------------------- in pool_death.c */

/* Nobody can say any more what became of the tasks that are out. */
void fp_break_damaged_locked(fp_pool *p);

static inline u64
fp_task_limit(const fp_task *t)
{
    return t->terms ? t->terms->limit : 0;
}

#endif
