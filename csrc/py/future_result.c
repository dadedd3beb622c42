#include "future_parts.h"
#include "errors.h"
#include "../core/error.h"
#include "../core/os.h"

/* ---------------------------------------------------------------- waiting */

/* A time-out in seconds as a deadline. -1 with an exception. */
static int
deadline_from(PyObject *timeout, u64 *deadline)
{
    *deadline = FP_NEVER;
    if (timeout == NULL || timeout == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (seconds != seconds) {
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
        return -1;
    }
    u64 now = fp_now();
    if (seconds <= 0) {
        *deadline = now;
    }
    else if (seconds < 4e9) {
        *deadline = now + (u64)(seconds * 1e9);
    }
    return 0;
}

/* A handler that is due must run before this thread sleeps: a signal interrupts a sleep, but not the moments before
 * it. So the core comes back once more before each; only the main thread runs handlers. */
int
fp_wait_with_signals(fp_pool *p, fp_waiter *w, u32 want, u64 deadline)
{
    w->wary = fp_is_main_thread() ? FP_WARY : FP_CAREFREE;
    for (;;) {
        int rc;
        Py_BEGIN_ALLOW_THREADS
        rc = fp_wait(p, w, want, deadline);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
        if (rc == FP_OK || rc == FP_TIMEDOUT) {
            return rc == FP_TIMEDOUT;
        }
        if (rc == FP_AGAIN) {
            w->wary = FP_CHECKED;
        }
    }
}

/* Wait for the task. 0: it is done; 1: timed out; -1: exception. */
static int
wait_task(fp_future *f, u64 deadline)
{
    fp_pool_object *pool = (fp_pool_object *)Py_NewRef(f->pool);
    if (fp_refuse_after_fork(pool->pool)) {
        Py_DECREF(pool);
        return -1;
    }
    fp_task *task = f->task;
    fp_waiter waiter;
    fp_node node;
    fp_waiter_init(&waiter);
    fp_task_incref(task);
    fp_wait_add(pool->pool, &waiter, &node, task);
    int rc = fp_wait_with_signals(pool->pool, &waiter, 1, deadline);
    fp_wait_remove(pool->pool, &node);
    fp_pool_drop_task(pool->pool, task);
    Py_DECREF(pool);
    return rc;
}

/* Native: the same, or it is no longer native. */
static int
wait_native(fp_future *f, u64 deadline)
{
    int rc = 0;
    while (rc == 0 && !f->foreign && !fp_future_is_final(f)) {
        rc = wait_task(f, deadline);
    }
    return rc;
}

/* Only the courier publishes, and this is the courier: a callback waits. So publish this one first. */
static int
wait_as_courier(fp_state *st, fp_future *f, u64 deadline)
{
    int rc = wait_task(f, deadline);
    return rc != 0 ? rc : f->task == NULL || fp_is_final_state(f->state) ? 0 : fp_future_publish(st, f);
}

/* Wait until the future is done: 0; 1: the answer is `*answer` (standard's way); -1. */
static int
wait_done(fp_state *st, fp_future *f, PyObject *timeout, const char *method, PyObject **answer)
{
    if (fp_future_is_final(f) && (!f->foreign || f->task == NULL)) {
        return 0;
    }
    u64 deadline;
    if (deadline_from(timeout, &deadline) < 0) {
        return -1;
    }
    int rc = 0;
    if (!f->foreign) {
        rc = wait_native(f, deadline);
    }
    else if (f->task != NULL && f->pool->courier == PyThread_get_thread_ident()) {
        rc = wait_as_courier(st, f, deadline);
    }
    if (rc > 0 && !fp_future_is_final(f)) {
        PyErr_SetNone(st->TimeoutError);
        return -1;
    }
    if (rc < 0) {
        return -1;
    }
    if (f->foreign && !fp_is_final_state(f->state)) {
        PyObject *left = Py_NewRef(Py_None);
        if (deadline != FP_NEVER) {
            u64 now = fp_now();
            Py_SETREF(left, PyFloat_FromDouble(deadline > now ? (double)(deadline - now) * 1e-9 : 0.0));
        }
        *answer = left ? fp_future_standard(st, f, method, left) : NULL;
        Py_XDECREF(left);
        return *answer ? 1 : -1;
    }
    return 0;
}

/* ------------------------------------------------------ result, exception */

static PyObject *
raise_cancelled(fp_state *st)
{
    PyErr_SetNone(st->CancelledError);
    return NULL;
}

/* As the statement: set_exception() takes anything. */
static PyObject *
raise_it(PyObject *exception)
{
    if (PyExceptionInstance_Check(exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    }
    else if (PyExceptionClass_Check(exception)) {
        PyErr_SetNone(exception);
    }
    else {
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    }
    return NULL;
}

/* The future is done: return the result or raise. */
static PyObject *
get_result(fp_state *st, fp_future *f)
{
    if (f->state != FP_F_FINISHED) {
        return raise_cancelled(st);
    }
    if (f->task != NULL && fp_future_materialize(st, f) < 0) {
        return NULL;
    }
    return f->exception ? raise_it(f->exception) : Py_NewRef(f->result ? f->result : Py_None);
}

PyObject *
fp_future_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_future *f = (fp_future *)self;
    fp_state *st = fp_state_of_future(f);
    PyObject *answer = NULL, *timeout = fp_one_argument("result", "timeout", Py_None, args, nargs, kwnames);
    if (timeout == NULL) {
        return NULL;
    }
    Py_INCREF(self);   /* the caller may have no other reference left while we wait */
    int rc = wait_done(st, f, timeout, "result", &answer);
    if (rc == 0) {
        answer = get_result(st, f);
    }
    Py_DECREF(self);
    return answer;
}

PyObject *
fp_future_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_future *f = (fp_future *)self;
    fp_state *st = fp_state_of_future(f);
    PyObject *answer = NULL, *timeout = fp_one_argument("exception", "timeout", Py_None, args, nargs, kwnames);
    if (timeout == NULL) {
        return NULL;
    }
    int rc = wait_done(st, f, timeout, "exception", &answer);
    if (rc != 0) {
        return answer;
    }
    if (f->state != FP_F_FINISHED) {
        return raise_cancelled(st);
    }
    if (f->task != NULL && fp_future_materialize(st, f) < 0) {
        return NULL;
    }
    return Py_NewRef(f->exception ? f->exception : Py_None);
}

PyObject *
fp_future_get_result(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return get_result(fp_state_of_future((fp_future *)self), (fp_future *)self);
}

/* (done, cancelled, result, exception), as asyncio of Python 3.15 asks */
PyObject *
fp_future_get_snapshot(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future *f = (fp_future *)self;
    if (!fp_future_is_final(f)) {
        return Py_BuildValue("OOOO", Py_False, Py_False, Py_None, Py_None);
    }
    if (f->state != FP_F_FINISHED) {
        return Py_BuildValue("OOOO", Py_True, Py_True, Py_None, Py_None);
    }
    if (f->task != NULL && fp_future_materialize(fp_state_of_future(f), f) < 0) {
        return NULL;
    }
    return Py_BuildValue("OOOO", Py_True, Py_False, f->result ? f->result : Py_None,
                         f->exception ? f->exception : Py_None);
}
