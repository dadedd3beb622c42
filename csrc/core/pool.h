/* The parent's side: submit, pump, cancel, reap, break. Plain C: no GIL, no Python object.
 *
 * Memory    fp_pool is private to the parent; what it shares with workers is in layout.h.
 * Locking   one mutex, held for short stretches, never while asleep and never while waiting
 *           for the GIL. "_locked" functions want it held.
 * Pumping   whoever needs to know takes the completed list, settles its tasks, frees their slots
 *           and refills the ring from the backlog. Any thread may.
 * Blocking  nothing here; waiting is in wait.h.
 * Death     of workers: fp_pool_reap, after the death is certain. The parent's own: the workers see
 *           to themselves, and the memory has no name.
 * Fork      a child of the parent must not touch it: `fork_generation` tells (csrc/py checks).
 */
#ifndef FP_POOL_H
#define FP_POOL_H

#include <pthread.h>
#include "blocks.h"
#include "nap.h"
#include "spin.h"
#include "task.h"
#include "wait.h"

#define FP_BY_VALUE_MAX (64u << 20)

typedef struct {
    fp_task *task;       /* NULL: the slot is free, or its task was decided without it */
    u32 generation;
    bool out;            /* it is with the workers: not among free_slots */
} fp_slot;

/* See pool_held.c. */
typedef enum { FP_LET_GO_NOTHING, FP_LET_GO_LATER, FP_LET_GO_AT_NEXT_END, FP_LET_GO_TOLD } fp_let_go;

/* What an index is used for. */
typedef struct {
    bool in_use;         /* it has a worker */
    u32 ticket;          /* of the process that was last started as this worker */
    u32 admitted;        /* what wk_ticket is: 0 or `ticket` while it is in use */
} fp_seat;

/* A worker that is to be killed, see limits.h. */
typedef struct {
    bool condemned;
    u64 call_at;         /* when the manager is to be told of it, perhaps again: fp_now, or FP_NEVER */
    u64 grace;           /* ns from SIGTERM to SIGKILL */
    u32 why;             /* FP_FATE_* */
    u64 ran;             /* ns that its task ran for */
    fp_task *overdue;    /* whose outcome waits for the manager, or NULL */
    u64 block, block_size;   /* of its task's payload: it may still read that, or reply there, so nobody gets it before its end */
} fp_fate;

typedef struct fp_pool {
    fp_a32 refs;
    fp_shm shm;
    int bell;                         /* eventfd: the manager listens */
    unsigned fork_generation;
    fp_spin spin;                     /* the leader's */
    pthread_mutex_t lock;
    /* all below: under the lock */
    fp_nap nap;                       /* the leader's */
    fp_blocks blocks;
    fp_slot *slots;
    u32 *free_slots, nfree;
    u64 tail;                         /* of the ring */
    u32 *completed_slots;             /* scratch for the pump */
    fp_task *backlog_first, *backlog_last;
    u64 nbacklog;                     /* tasks in it that still want to run */
    fp_a64 unfinished;
    u64 demanded, served;             /* calls submitted; calls that need no worker any more */
    u32 started;                      /* workers started and not reaped */
    u32 min_workers;                  /* so many stay, however idle */
    fp_seat *seats;                   /* [nworkers] */
    u32 last_ticket;
    fp_fate *fates;                   /* [nworkers] */
    u32 ncondemned;
    bool retries;                     /* a task that was lost with its worker may be sent again */
    u64 ntimed;                       /* unfinished tasks with a limit */
    u64 look_at;                      /* when the manager is to look at limits and fates (fp_now), or FP_NEVER */
    bool closed, draining;
    fp_a32 broken;                    /* read anywhere */
    fp_death death;                   /* why it broke; written once, before `broken` */
    fp_waiter *leader, *followers;
    fp_a32 trim_wanted;               /* there may be idle memory; read and set anywhere */
    u64 trim_at;                      /* the manager's: when to look, 0: not known yet */
    fp_a32 placed;                    /* payloads of calls in blocks */
    fp_a64 placed_bytes;
    u64 place_budget;
    fp_a32 room_wanted;               /* by the sender, which waits: */
    fp_waiter sender;
    fp_holds *dropped;                /* of calls that have ended, for the manager to free */
    u64 ncalls;                       /* unfinished tasks that hold their `call` */
    fp_task *ended;                   /* tasks that have ended and still hold it */
    fp_let_go let_go;                 /* who sees to these */
    u64 let_go_at;                    /* fp_now */
    fp_a32 handing;                   /* unfinished tasks that hand something over */
    fp_task *unread_first, *unread_last;   /* their replies are there, to be read at once */
    fp_waiter reader;                 /* the reader thread's */
    bool has_reader, has_courier;     /* these threads run: else the manager is to start them */
    fp_a32 thread_missed;             /* it is to start a thread of Python's, or to try again; read and set anywhere */
    u64 told;                         /* tasks that have not ended and that the courier is to visit */
    bool has_told;                    /* there have been such */
    fp_waiter courier;                /* the courier thread's; its queue: */
    fp_task *courier_first, *courier_last;
    char *labels[FP_NFUNCTIONS];      /* names of the functions in the table */
    u32 nfunctions, nby_value;
    u64 by_value_bytes;
} fp_pool;

/* With so many bytes for what does not fit into slots and byte rings; 0: half of the memory that there is.
 * 0, FP_NOMEM or FP_SYSTEM. One reference. */
int fp_pool_new(fp_pool **pool, u32 nworkers, u64 bytes);
void fp_pool_incref(fp_pool *p);
void fp_pool_decref(fp_pool *p);

/* Put a pickled function into the table; its id or FP_FULL / FP_NOMEM. */
int fp_pool_add_function(fp_pool *p, const u8 *data, u64 size, const char *label);
/* The same for one that goes by value, of any size; such have half of the table and FP_BY_VALUE_MAX bytes. */
int fp_pool_add_function_by_value(fp_pool *p, const u8 *data, u64 size, const char *label);

/* Room in shared memory for the payload of a call, if it is larger than FP_INLINE: to be written, and handed over
 * with a task or given back. 0; FP_FULL: not before others end, then `sender` is woken; FP_NOMEM. */
int fp_pool_room(fp_pool *p, u64 size, u64 *block);
void fp_pool_free_room(fp_pool *p, u64 block, u64 size);
/* Are there enough payloads on their way to keep every worker busy, and too many bytes, or too much that is handed over?
 * A look without the lock. */
bool fp_pool_is_crowded(const fp_pool *p);
/* May one more payload be placed? If not, and if `wake`, `sender` is woken when another has ended. */
bool fp_pool_has_room(fp_pool *p, bool wake);
/* Hand a task over (the pool takes a reference of its own), its payload in `small` or `block`, or to be placed later,
 * in its turn. 0, FP_CLOSED or FP_BROKEN. */
int fp_pool_submit(fp_pool *p, fp_task *t);
/* What an unplaced task gets once it is pickled; see fp_task. */
typedef struct {
    u64 block, size, stream;   /* `block` 0: the payload is in `small` */
    fp_holds *holds;
    void *call;
    bool hands_over;
} fp_placement;

/* For an unplaced task, in its turn: all of it is taken over. False: the task has ended, and `call` is the caller's. */
bool fp_pool_place(fp_pool *p, fp_task *t, const fp_placement *placement);
/* An unplaced task has no payload: it ends with `death` (malloc, taken over), or, if that is NULL, out of memory
 * for its `size` bytes. */
void fp_pool_fail_unplaced(fp_pool *p, fp_task *t, fp_death *death, u64 size);
/* A call that will never become a task still asked for a worker. */
void fp_pool_count_demand(fp_pool *p);
/* Would one more task, on top of those submitted, have a worker of its own? */
bool fp_pool_wants_worker(fp_pool *p);
/* Are there fewer workers than unfinished tasks, and may there be more? */
bool fp_pool_lacks_worker(fp_pool *p);

/* Have the courier visit this task, `t->owner` set, when it ends. At most once for a task. False: it has ended; then the
 * courier visits it only if `though_done`. */
bool fp_pool_tell_courier(fp_pool *p, fp_task *t, bool though_done);

/* Settle what has completed. Cheap when nothing has. */
void fp_pool_pump(fp_pool *p);
void fp_pool_pump_locked(fp_pool *p);
/* True while a worker runs it. */
bool fp_pool_is_running(fp_pool *p, fp_task *t);
/* True if it had not started: it is settled as cancelled. */
bool fp_pool_cancel(fp_pool *p, fp_task *t);
/* All that has not started, except the oldest, one for each worker that is yet to take its first task: it was
 * started for that. */
void fp_pool_cancel_pending(fp_pool *p);
/* The reply has been read: free its memory. */
void fp_pool_forget_reply(fp_pool *p, fp_task *t);
/* Let go of a reference. */
void fp_pool_drop_task(fp_pool *p, fp_task *t);

/* Tasks that have ended and are to let go of their `call`: a list (`next_ended`), the courier's to empty, with a reference to each.
 * NULL: none. */
fp_task *fp_pool_take_ended(fp_pool *p);
/* The manager's turn with these: when to look again (fp_now), or FP_NEVER. */
u64 fp_pool_see_to_ended(fp_pool *p);
/* The next task whose reply is to be read at once, or NULL: none. */
fp_task *fp_pool_next_unread(fp_pool *p);
/* It has been read: now it has ended. */
void fp_pool_was_read(fp_pool *p, fp_task *t);
/* That thread begins, or ends. */
void fp_pool_has_courier(fp_pool *p, bool has);
void fp_pool_has_reader(fp_pool *p, bool has);
/* Is there something for it, although no future has asked? */
bool fp_pool_needs_courier(fp_pool *p);
bool fp_pool_needs_reader(fp_pool *p);
/* Both are to look. */
void fp_pool_wake_threads(fp_pool *p);

/* No more tasks. From then on the bell rings when the last has ended. */
void fp_pool_close(fp_pool *p);
/* Tell the workers that no work will come. The manager that says so will wait for them only. */
void fp_pool_stop_workers(fp_pool *p);
/* Closed, nothing is unfinished, and nobody is to be killed? */
bool fp_pool_is_drained(fp_pool *p);
/* The manager's turn: pump, refill, say when to ring again. True: it is drained. */
bool fp_pool_manage(fp_pool *p);

/* The manager's: give back memory that has not been used for a while. When to call it again (fp_now), or FP_NEVER. */
u64 fp_pool_trim(fp_pool *p);

/* A worker index for a process about to start, or FP_FULL. */
int fp_pool_new_worker(fp_pool *p);
/* For the process that is about to be started as worker w; none that was started before it will be that worker. */
u32 fp_pool_new_ticket(fp_pool *p, u32 w);
/* Who has that ticket is known: it may begin. */
void fp_pool_admit(fp_pool *p, u32 w);
/* Tasks that no worker has taken yet; 0 in a forked child. */
u64 fp_pool_waiting(fp_pool *p);
/* Workers that take tasks. */
u32 fp_pool_ready_workers(const fp_pool *p);
/* Worker w is dead for certain, and not yet reaped: its last phase; if FP_WORKER_UNFIT, its note is in `*death`. */
u32 fp_pool_last_words(const fp_pool *p, u32 w, fp_death *death);
/* Worker w is dead for certain. FP_OK: it went because it was told to; FP_CONDEMNED: it had been condemned;
 * FP_BROKEN or FP_AGAIN: neither. `*task` is the task that it took along (a reference), or NULL: there was none; with
 * FP_AGAIN it is sent again. */
int fp_pool_reap(fp_pool *p, u32 w, fp_task **task);
/* A dead worker took it along: it ends as BROKEN. Drops the caller's reference. */
void fp_pool_fail(fp_pool *p, fp_task *t);
/* Fail everything that is not done; takes `death` over. Only the first call counts. */
void fp_pool_break(fp_pool *p, fp_death death);
/* All workers are dead: whatever is still undecided (shared memory was damaged) ends as BROKEN. */
void fp_pool_bury(fp_pool *p);

/* What a task is called in messages: valid while the pool and the task live. */
const char *fp_pool_label(const fp_pool *p, const fp_task *t);

#endif
