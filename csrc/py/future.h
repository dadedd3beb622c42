/* FutureBase: the storage and the methods of fastpool.Future.
 *
 * Two kinds     with a task (made by an executor) and without (made by hand).
 * Two manners   native: the state is the task's, everybody looks for himself, no lock.
 *               foreign: from the first touch of `_condition` on (the standard library's wait,
 *               as_completed, subclasses). Then only the courier changes the visible state, holding
 *               that condition, and every method waits for that: otherwise those waiters lose wake-ups.
 *               A future without a task is foreign from the start; its condition is still made lazily.
 *               The methods of the foreign manner are the standard library's own, over our attributes.
 * Locking       the GIL for every field. The pump, without the GIL, never touches a Future.
 * Settling      once its outcome is known a future takes it over, and the result is unpickled when
 *               somebody asks, in his thread, once.
 */
#ifndef FP_FUTURE_H
#define FP_FUTURE_H

#include "pool_object.h"

enum { FP_F_PENDING, FP_F_RUNNING, FP_F_CANCELLED, FP_F_CANCELLED_AND_NOTIFIED, FP_F_FINISHED };

typedef struct {
    PyObject_HEAD
    fp_task *task;            /* until its outcome has been taken over; NULL: none */
    fp_pool_object *pool;     /* beside the task */
    PyObject *result, *exception;
    PyObject *callbacks;      /* list, or NULL for none */
    PyObject *waiters;        /* list, or NULL for none */
    PyObject *condition;      /* threading.Condition, or NULL: nobody asked */
    PyObject *weakrefs;
    fp_a32 unpickling;        /* futex: 0; 1 while a thread unpickles, 2 if others wait for it */
    unsigned long unpickler;  /* that thread */
    u8 state;                 /* FP_F_* */
    bool foreign;
    bool told;                /* the courier has it on its list */
} fp_future;

extern PyType_Spec fp_future_spec;

/* A future for a task (takes the reference over), or for a call that failed before it became one. */
fp_future *fp_future_new(PyTypeObject *type, fp_pool_object *pool, fp_task *task);
void fp_future_fail(fp_future *f, PyObject *exception);
int fp_future_call_in_courier(fp_pool_object *p, fp_future *f, PyObject *callback);
/* The courier's visit: what was settled becomes visible to foreign waiters; callbacks run. */
int fp_future_deliver(fp_state *st, fp_future *f);
/* The reply of a task that has not ended before becomes an object, though nobody has asked for it. */
void fp_read_reply_at_once(fp_state *st, fp_pool *pool, fp_task *t);
/* Wait, without the GIL, until `want` nodes of the waiter are ready. 0; 1: timed out; -1: a signal's handler raised. */
int fp_wait_with_signals(fp_pool *p, fp_waiter *w, u32 want, u64 deadline);
/* Is it done, as far as its waiters may see? */
bool fp_future_is_final(fp_future *f);

#endif
