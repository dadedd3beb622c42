/* One submitted call, from submit to its outcome: the parent's private record.
 *
 * Memory    malloc, reference-counted: the pool holds one until the outcome is known, the
 *           Python Future another. A Future that is dropped early leaves the pool's.
 * State     QUEUED -> SENT -> DONE, QUEUED -> DONE (cancelled, broken); the bit COURIER beside it.
 *           Written under the pool's lock; read anywhere (acquire): after DONE all else is constant.
 * COURIER   "somebody else must be told" (callbacks, foreign waiters). Set under the pool's lock, as DONE is.
 */
#ifndef FP_TASK_H
#define FP_TASK_H

#include <stddef.h>
#include "layout.h"
#include "payload.h"
#include "share.h"

enum { FP_TASK_QUEUED = 0, FP_TASK_SENT = 1, FP_TASK_DONE = 2, FP_TASK_COURIER = 4 };

enum {
    FP_OUTCOME_NONE,
    FP_OUTCOME_REPLY,       /* `reply_kind`, `reply` or `reply_offset`, `reply_size` */
    FP_OUTCOME_CANCELLED,
    FP_OUTCOME_BROKEN,      /* its worker died: `death` tells how; or the pool broke: fp_pool.death */
    FP_OUTCOME_CORRUPT,     /* its worker wrote nonsense into shared memory */
    FP_OUTCOME_NOMEM,
};

struct fp_node;

/* Why a task has no outcome of its own: a worker's death, an exception, or a sentence. */
typedef struct {
    int pid;
    int exitcode;           /* as multiprocessing has it: negative for a signal */
    bool exitcode_known;
    bool ready;             /* it had begun to take tasks */
    char *label;            /* what it was running, or NULL */
    u8 *error;              /* instead of a death: a pickled exception, or NULL */
    u64 error_size;
    char *reason;           /* instead of a death: a sentence, or NULL */
    char *crash;            /* what faulthandler said, or NULL */
    u64 peak;               /* bytes of memory that it had at most; 0: not known */
    bool oom;               /* the kernel has killed something lately for want of memory */
} fp_death;

void fp_death_clear(fp_death *death);

/* What was asked for beyond the call itself. */
typedef struct {
    u64 limit;              /* ns that it may run; 0: for ever */
    u64 grace;              /* ns between SIGTERM and SIGKILL when it is stopped; 0: SIGKILL at once */
    u32 retries;            /* how often it is sent again after a worker's death */
} fp_terms;

typedef struct fp_task {
    fp_a32 refs;
    fp_a32 state;
    u32 slot, generation;   /* while SENT */
    u32 kind, fn;           /* FP_CALL_*, function id */
    u64 size, stream;       /* of the call's payload */
    fp_holds *holds;        /* until it has ended: shared objects that it names, or NULL */
    void *call;             /* until it has ended: the Python object that it was made from (a strong reference), or NULL */
    bool hands_over;        /* its payload names what this process hands over, once: a descriptor, say */
    u64 block;              /* where the payload lies in the blocks, 0 if in `small`; until it has ended, or its reply is there */
    char *label;            /* what runs, for messages; NULL: the function table knows */
    struct fp_task *next;   /* in the backlog */
    struct fp_task *next_for_courier;
    struct fp_node *nodes;  /* who waits natively */
    struct fp_task *next_ended;   /* among those whose `call` is to be let go of */
    struct fp_task *next_unread;
    void *owner;            /* the Future, once COURIER is set (a strong reference) */
    u8 *reply;              /* private copy, or NULL */
    u64 reply_size, reply_stream, reply_offset;
    bool at_once;           /* the reader reads the reply, before DONE, whether anybody asks for it or not */
    void *value, *error;    /* what it has read: Python objects (strong references) until the Future takes them; with the GIL */
    bool abandoned;         /* there is no Future any more; with the GIL */
    bool unplaced;          /* while QUEUED: it has no payload yet */
    fp_terms *terms;        /* malloc, or NULL: none */
    u64 seen;               /* SENT, with a limit: when it was first seen to run (fp_now), 0: not yet */
    fp_death *death;        /* its own worker's (malloc), or NULL; set before fp_pool_fail */
    u32 outcome, reply_kind;
    u8 small[];
} fp_task;

/* A task with one reference; a payload of up to FP_INLINE bytes is copied, a larger one must be placed
 * (fp_pool_room); `label` is taken over. */
fp_task *fp_task_new(u32 fn, u32 kind, const fp_payload *payload, char *label);
/* The same, its payload to come: `small` has room for FP_INLINE bytes. */
fp_task *fp_task_new_unplaced(u32 fn, u32 kind, char *label);
/* Before it is submitted. False: no memory. */
bool fp_task_set_terms(fp_task *t, const fp_terms *terms);
void fp_task_incref(fp_task *t);
/* True if that was the last reference: the caller frees what it holds, then calls fp_task_free. */
bool fp_task_decref(fp_task *t);
void fp_task_free(fp_task *t);

static inline bool
fp_task_is_done(const fp_task *t)
{
    return fp_load_acquire(&t->state) & FP_TASK_DONE;
}

#endif
