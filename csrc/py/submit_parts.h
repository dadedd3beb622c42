/* What the files that send calls share: not for others.
 *
 * submit.c        which way a call goes: by name, by value, or not at all
 * submit_pack.c   what of it is to be pickled
 * submit_send.c   its payload into shared memory, its task to the pool
 * submit_defer.c  calls that are kept until there is room for them, and the sender thread
 */
#ifndef FP_SUBMIT_PARTS_H
#define FP_SUBMIT_PARTS_H

#include "submit.h"
#include "pickling.h"

/* What is to be sent. */
typedef struct {
    PyObject *fn;
    PyObject *packed;      /* what is pickled; NULL: the call has no payload */
    u32 kind;
    int id;                /* in the function table, or 0: `packed` holds the function, too */
    bool by_value;         /* the arguments may hold what was defined at an interactive prompt */
    bool fn_by_value;      /* the function is not in `packed`: bytes of it are */
    const fp_call_terms *terms;
} fp_packed_call;

/* --------------------------------------------------------- in submit_pack.c */

/* -1 with an exception. */
int fp_pack_call(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                 const fp_call_terms *terms, fp_packed_call *call);
/* The call of a function that goes by value, as `data`. -1 with an exception. */
int fp_pack_call_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms, fp_packed_call *call);
fp_pickler *fp_pickle_packed(fp_state *st, PyObject *packed, bool by_value);

/* --------------------------------------------------------- in submit_send.c */

/* A new Future. NULL with an exception: from pickling, if `*unpicklable`; without one: closed or broken. */
PyObject *fp_send_call(fp_state *st, fp_pool_object *p, const fp_packed_call *call, bool *unpicklable);
/* Give the task to the pool, and a reference to it away. A new Future, or NULL (without an exception: closed or broken).
 * `accepted`: the Future is the task's, and not the answer of a Pool that has broken. */
PyObject *fp_hand_over(fp_pool_object *p, fp_task *task, bool *accepted);
/* A task for the call, its payload to come if `payload` is NULL. NULL with an exception. */
fp_task *fp_new_task(fp_state *st, const fp_packed_call *call, const fp_payload *payload);
/* What the call's task is to hold until it has ended: *held, a strong reference, or NULL. -1 with an exception. */
int fp_call_to_hold(const fp_packed_call *call, const fp_pickler *pickler, PyObject **held);
/* Room for the payload, and the payload in it. 0, FP_FULL, FP_NOMEM. */
int fp_place_payload(fp_pool_object *p, const fp_payload *payload, u64 *block);

/* -------------------------------------------------------- in submit_defer.c */

/* Keep it for the sender. A new Future or NULL. */
PyObject *fp_defer_call(fp_state *st, fp_pool_object *p, const fp_packed_call *call);

#endif
