/* A call on its way to the workers: what is pickled, when, and by whom.
 *
 * Pickling  happens in the caller's thread, while the calls that have been pickled and have not ended are few or small
 *           (fp_pool_has_room). From the first call on for which there is no room, calls are deferred: kept by
 *           reference, in order, and pickled by the sender, a thread that lives while there are any.
 * Locking   the GIL; the list of deferred calls changes under it only.
 */
#ifndef FP_SUBMIT_H
#define FP_SUBMIT_H

#include "pool_object.h"

/* A tuple as `_core.Pool.submit_on` takes it, which has to outlive the terms. -1 with an exception. */
int fp_parse_terms(PyObject *tuple, fp_call_terms *terms);

/* submit(fn, *args, **kwargs) as a vectorcall; a new Future. NULL without an exception: the pool is
 * closed or broken, the caller says which. */
PyObject *fp_submit(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames, const fp_call_terms *terms);

/* The same for a function that goes by value, as `data`, a bytes object. */
PyObject *fp_submit_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, PyObject *const *args,
                             Py_ssize_t nargs, const fp_call_terms *terms);
/* A call for a pool that has broken: a Future that has failed. An executor refuses such a call, a Pool does not. */
PyObject *fp_submit_to_broken(fp_pool_object *p);

/* The sender thread's whole life: until nothing is deferred. */
void fp_send_deferred(fp_state *st, fp_pool_object *p);
/* Start the sender if it is wanted and not there. -1 with an exception. */
int fp_make_up_for_sender(fp_pool_object *p);
int fp_deferred_traverse(fp_pool_object *p, visitproc visit, void *arg);
void fp_deferred_clear(fp_pool_object *p);

#endif
