/* A worker's side of the transport: next task, room for the reply, done, sleep. No Python.
 *
 * Memory    fp_worker is private to the worker process; what it shares is in layout.h.
 * Replies   up to FP_INLINE bytes in the slot, up to FP_RING_MAX in the worker's own byte ring
 *           (written by it, freed by the parent in order), else in spans: those of the call, if that is about as
 *           large and will not be sent again, or others that the worker claims and the parent takes over.
 * Blocking  fp_worker_wait only.
 */
#ifndef FP_WORKER_H
#define FP_WORKER_H

#include "ring.h"
#include "spin.h"

typedef struct {
    fp_shm shm;
    u32 w;              /* my index */
    int bell;           /* eventfd of the parent's manager */
    u32 ring_tail;      /* bytes ever put into my reply ring, mod 2^32 */
    fp_spin spin;
    bool watched;       /* in vain: the next wait sleeps */
    fp_view call, function, reply;   /* in the spans */
} fp_worker;

typedef struct {
    u32 slot, generation;
    u32 kind, fn;       /* FP_CALL_*, id in the function table */
    const u8 *data;     /* the payload: valid until the reply is begun; NULL: no address space for it */
    u64 size, stream;
    u64 offset;         /* where that is in the file, 0: in the slot */
} fp_call;

typedef struct {
    u32 kind;           /* FP_REPLY_* */
    u32 ring_end;
    u64 offset, size, stream;
} fp_reply;

/* Takes both descriptors over. 0, FP_SYSTEM or FP_CORRUPT. */
int fp_worker_attach(fp_worker *k, int memfd, int bell, u32 w);
void fp_worker_detach(fp_worker *k);

/* The next task without waiting. 0, FP_EMPTY, or FP_CLOSED: nothing to do, and never again. */
int fp_worker_next(fp_worker *k, fp_call *call);
/* The call has been unpickled and begins. */
void fp_worker_begin(const fp_worker *k, const fp_call *call);
/* Wait until there may be something: 0; FP_INTR; FP_TIMEDOUT: nothing came, nobody counts on this worker. First it spins
 * and comes back, so that the caller looks for signals once more before the sleep that it begins when called again. */
int fp_worker_wait(fp_worker *k, u64 deadline);
/* Room for a reply of `size` bytes: 0; FP_NOMEM: shared memory has run out; FP_SYSTEM: this process's address space has. */
int fp_worker_reply(fp_worker *k, const fp_call *call, u64 size, fp_reply *reply, u8 **room);
/* Hand the reply over. 0, FP_CONDEMNED or FP_CORRUPT: see fp_complete. */
int fp_worker_complete(fp_worker *k, const fp_call *call, const fp_reply *reply);
/* Where function `id` lies: 0 with `*data`, valid until the next; FP_NOMEM or FP_CORRUPT. */
int fp_worker_function(fp_worker *k, u32 id, const u8 **data, u64 *size);
/* The same function: has it come by value? */
bool fp_worker_function_is_by_value(const fp_worker *k, u32 id);
/* Has been idle for long: may it go? Only if enough others stay. Then it must look for a task once more, and either go or
 * change its mind. */
bool fp_worker_may_leave(fp_worker *k);
void fp_worker_stays(fp_worker *k);
/* How much memory is its own now, before its first task; and that again. */
void fp_worker_note_memory(fp_worker *k);
u64 fp_worker_base_memory(const fp_worker *k);
/* This worker's share of the memory that may be kept: see warm.h. */
u64 fp_worker_warm_limit(const fp_worker *k);
/* Before it ever takes a task: say why it will not, in up to FP_RING bytes, a pickled exception. */
void fp_worker_resign(fp_worker *k, const u8 *data, u32 size);
/* Tell the parent what this worker is up to (FP_WORKER_*). */
void fp_worker_phase(fp_worker *k, u32 phase);

#endif
