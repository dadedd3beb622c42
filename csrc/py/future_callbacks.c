#include "future_parts.h"
#include "errors.h"

static void
log_callback(fp_future *f)
{
    PyObject *exc = fp_fetch_exception();
    PyObject *r = fp_call_helper("fastpool.errors", "log_callback", "(OO)", f, exc);
    Py_XDECREF(r);
    Py_DECREF(exc);
    if (r == NULL) {
        PyErr_WriteUnraisable((PyObject *)f);
    }
}

static int
add_callback(fp_future *f, PyObject *callback)
{
    if (f->callbacks == NULL) {
        PyObject *list = PyList_New(0);
        if (list == NULL) {
            return -1;
        }
        if (f->callbacks == NULL) {
            f->callbacks = list;
        }
        else {   /* another thread came in meanwhile, and made one */
            Py_DECREF(list);
        }
    }
    return PyList_Append(f->callbacks, callback);
}

/* Take the last such callback out again: it could not be arranged that anybody runs it. An exception stays set. */
static void
withdraw_callback(fp_future *f, PyObject *callback)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (Py_ssize_t i = f->callbacks ? PyList_GET_SIZE(f->callbacks) - 1 : -1; i >= 0; i--) {
        if (PyList_GET_ITEM(f->callbacks, i) == callback) {
            if (PyList_SetSlice(f->callbacks, i, i + 1, NULL) < 0) {
                PyErr_Clear();
            }
            break;
        }
    }
    PyErr_Restore(type, value, traceback);
}

int
fp_future_run_callbacks(fp_future *f, bool in_caller)
{
    PyObject *callbacks = f->callbacks;
    f->callbacks = NULL;
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && callbacks != NULL && i < PyList_GET_SIZE(callbacks); i++) {
        PyObject *r = PyObject_CallOneArg(PyList_GET_ITEM(callbacks, i), (PyObject *)f);
        if (r == NULL && in_caller && !PyErr_ExceptionMatches(PyExc_Exception)) {
            rc = -1;
        }
        else if (r == NULL) {
            log_callback(f);
        }
        Py_XDECREF(r);
    }
    Py_XDECREF(callbacks);
    return rc;
}

/* ---------------------------------------------------------------- courier */

int
fp_future_tell_courier(fp_future *f)
{
    if (f->told) {
        return 0;
    }
    if (!fp_future_pool_is_here(f)) {
        return 0;   /* nothing will ever happen to it in this process */
    }
    if (fp_pool_object_want_courier(f->pool) < 0) {
        return -1;
    }
    if (f->task == NULL || f->told) {   /* starting the courier may have let another thread in */
        return !f->told;
    }
    f->task->owner = Py_NewRef(f);
    if (!fp_pool_tell_courier(f->pool->pool, f->task, false)) {
        f->task->owner = NULL;
        Py_DECREF(f);
        return 1;
    }
    f->told = true;
    return 0;
}

/* Have the courier call it, even if the future is done already. Only for a future that nobody else has seen. */
int
fp_future_call_in_courier(fp_pool_object *p, fp_future *f, PyObject *callback)
{
    if (add_callback(f, callback) < 0) {
        return -1;
    }
    fp_task *t = f->task;
    if (t == NULL) {   /* it failed before it became a task: one that has ended stands in */
        t = fp_task_new_unplaced(0, 0, NULL);
        if (t == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        fp_store_relaxed(&t->state, FP_TASK_DONE);
    }
    else {
        fp_task_incref(t);
    }
    t->owner = Py_NewRef(f);
    f->told = true;
    fp_pool_tell_courier(p->pool, t, true);
    fp_pool_drop_task(p->pool, t);
    /* last: a courier that is about to leave looks at its list once more, holding the GIL */
    return fp_pool_object_want_courier(p);
}

int
fp_future_deliver(fp_state *st, fp_future *f)
{
    if (f->foreign && f->task != NULL && !fp_is_final_state(f->state)) {
        return fp_future_publish(st, f);
    }
    fp_future_refresh(f);
    return fp_future_run_callbacks(f, false);
}

/* ---------------------------------------------------------------- methods */

/* Call it now, as the standard library does for a future that is done. */
static PyObject *
call_callback(fp_future *f, PyObject *callback)
{
    PyObject *r = PyObject_CallOneArg(callback, (PyObject *)f);
    if (r == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        log_callback(f);
    }
    Py_XDECREF(r);
    Py_RETURN_NONE;
}

/* No lock is needed in either manner: whoever makes the future final does so under the GIL, and takes the list afterwards.
 * So it is in the list first, and then we look whether the future has become final: even to make the list may let another
 * thread in (a garbage collection). Whoever takes the list runs it. */
PyObject *
fp_future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_future *f = (fp_future *)self;
    PyObject *callback = fp_one_argument("add_done_callback", "fn", NULL, args, nargs, kwnames);
    if (callback == NULL) {
        return NULL;
    }
    if (fp_future_is_final(f)) {
        return call_callback(f, callback);
    }
    if (add_callback(f, callback) < 0) {
        return NULL;
    }
    if (f->task != NULL && !f->foreign && fp_future_tell_courier(f) < 0) {
        withdraw_callback(f, callback);
        return NULL;
    }
    if (fp_future_is_final(f) && fp_future_run_callbacks(f, true) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
fp_future_invoke_callbacks(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future *f = (fp_future *)self;
    /* the courier calls this through set_result and must survive; a caller of his own gets the rest */
    if (fp_future_run_callbacks(f, !f->told) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
