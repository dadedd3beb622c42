/* What the files that make up FutureBase share: not for others.
 *
 * future.c            the type: its life, what can be asked without waiting, cancel() and kill()
 * future_outcome.c    how the visible state follows the task's, and the reply becomes an object
 * future_result.c     waiting; result() and exception()
 * future_callbacks.c  callbacks, and the courier, which visits when the task has ended
 * future_foreign.c    the foreign manner: the standard library's own methods, and the attributes that its code uses
 */
#ifndef FP_FUTURE_PARTS_H
#define FP_FUTURE_PARTS_H

#include "future.h"

static inline fp_state *
fp_state_of_future(fp_future *f)
{
    return fp_state_by_type(Py_TYPE(f));
}

static inline bool
fp_is_final_state(u8 state)
{
    return state >= FP_F_CANCELLED;
}

/* In a forked child a task stays what it was at the fork. */
static inline bool
fp_future_pool_is_here(const fp_future *f)
{
    return f->pool->pool->fork_generation == fp_fork_generation();
}

/* -------------------------------------------------------------- in future.c */

/* FP_F_RUNNING, too, of a task that runs. */
u8 fp_future_visible_state(fp_future *f);
/* The one parameter of Future.<method>, by position or as `parameter`; `fallback` (NULL: it is required)
 * if it is not given. A borrowed reference, or NULL with the TypeError of a Python function. */
PyObject *fp_one_argument(const char *method, const char *parameter, PyObject *fallback, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames);

/* ------------------------------------------------------ in future_outcome.c */

/* Let go of the task, if there still is one. */
void fp_future_drop_task(fp_future *f);
/* Native manner: let the visible state follow the task's. */
void fp_future_refresh(fp_future *f);
/* The future is done: make result or exception an object. -1 with an exception. */
int fp_future_materialize(fp_state *st, fp_future *f);

/* ------------------------------------------------------- in future_result.c */

PyObject *fp_future_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *fp_future_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *fp_future_get_result(PyObject *self, PyObject *ignored);
PyObject *fp_future_get_snapshot(PyObject *self, PyObject *ignored);

/* ---------------------------------------------------- in future_callbacks.c */

/* Run and forget the callbacks: whoever takes the list runs it. What they raise is logged; beyond
 * Exception it leaves only if `in_caller`: the courier must live. */
int fp_future_run_callbacks(fp_future *f, bool in_caller);
/* Have the courier visit when the task ends. 0: it will; 1: the task is done already; -1: error. */
int fp_future_tell_courier(fp_future *f);
PyObject *fp_future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *fp_future_invoke_callbacks(PyObject *self, PyObject *ignored);

/* ------------------------------------------------------ in future_foreign.c */

/* concurrent.futures.Future.<name>(self, *args) */
PyObject *fp_future_standard(fp_state *st, fp_future *f, const char *name, PyObject *arg);
/* Foreign: make the outcome visible. */
int fp_future_publish(fp_state *st, fp_future *f);
PyObject *fp_future_set_running_or_notify_cancel(PyObject *self, PyObject *ignored);
PyObject *fp_future_set_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *fp_future_set_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *fp_future_settle(PyObject *self, PyObject *args);
extern PyGetSetDef fp_future_getset[];

#endif
