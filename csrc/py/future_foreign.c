#include "future_parts.h"

#include <time.h>

PyObject *
fp_future_standard(fp_state *st, fp_future *f, const char *name, PyObject *arg)
{
    PyObject *method = PyObject_GetAttrString(st->BaseFuture, name);
    if (method == NULL) {
        return NULL;
    }
    PyObject *argv[2] = {(PyObject *)f, arg};
    PyObject *result = PyObject_Vectorcall(method, argv, arg ? 2 : 1, NULL);
    Py_DECREF(method);
    return result;
}

/* Foreign manner, from here on; unless it is done: then there is nothing left to change. */
static int
become_foreign(fp_future *f)
{
    fp_future_refresh(f);
    if (f->foreign || f->task == NULL || fp_is_final_state(f->state)) {
        return 0;
    }
    int told = fp_future_tell_courier(f);
    if (told < 0) {
        return -1;
    }
    if (told > 0) {
        fp_future_refresh(f);
    }
    if (!fp_is_final_state(f->state)) {
        f->foreign = true;
    }
    return 0;
}

/* --------------------------------------------------------------- settling */

/* Set the outcome the standard library's way (condition, waiters, callbacks). `exception`, `result`: NULL, NULL: cancelled. */
static int
settle_by_standard(fp_state *st, fp_future *f, PyObject *exception, PyObject *result)
{
    PyObject *r;
    if (exception == NULL && result == NULL) {
        r = fp_future_standard(st, f, "cancel", NULL);
        if (r != NULL && f->state == FP_F_CANCELLED) {
            Py_DECREF(r);
            r = fp_future_standard(st, f, "set_running_or_notify_cancel", NULL);
        }
    }
    else {
        r = exception ? fp_future_standard(st, f, "set_exception", exception)
                      : fp_future_standard(st, f, "set_result", result);
    }
    Py_XDECREF(r);
    return r ? 0 : -1;
}

/* Memory ran out in the middle of that, and nobody else will do it: set the outcome without any, and go on trying to tell
 * those who wait. -1 with an exception: in vain. */
static int
settle_somehow(fp_future *f, PyObject *exception, PyObject *result)
{
    static const struct timespec pause = {.tv_nsec = 10000000};
    PyErr_Clear();
    if (!fp_is_final_state(f->state) || f->state == FP_F_CANCELLED) {
        Py_XSETREF(f->exception, Py_XNewRef(exception));
        Py_XSETREF(f->result, Py_XNewRef(result));
        f->state = exception || result ? FP_F_FINISHED : FP_F_CANCELLED_AND_NOTIFIED;
    }
    for (int tries = 100; tries > 0; tries--) {
        PyObject *r = fp_call_helper("fastpool.errors", "tell_waiters", "(O)", f);
        if (r != NULL) {
            Py_DECREF(r);
            return 0;
        }
        if (tries == 1 || !PyErr_ExceptionMatches(PyExc_MemoryError)) {
            break;
        }
        PyErr_Clear();
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
    }
    return -1;
}

/* Is it because of the memory? Locks say it in their own way. */
static bool
is_out_of_memory(const fp_future *f)
{
    return PyErr_ExceptionMatches(PyExc_MemoryError) ||
           (PyErr_ExceptionMatches(PyExc_RuntimeError) && f->condition == NULL);   /* "can't allocate lock" */
}

static int
settle(fp_state *st, fp_future *f, PyObject *exception, PyObject *result)
{
    int rc = settle_by_standard(st, f, exception, result);
    return rc < 0 && is_out_of_memory(f) ? settle_somehow(f, exception, result) : rc;
}

int
fp_future_publish(fp_state *st, fp_future *f)
{
    if (f->task->outcome == FP_OUTCOME_CANCELLED) {
        fp_future_drop_task(f);
        return settle(st, f, NULL, NULL);
    }
    f->state = FP_F_RUNNING;   /* until it is finished: too late to cancel */
    if (fp_future_materialize(st, f) < 0) {
        return -1;
    }
    PyObject *result = f->result || f->exception ? f->result : Py_NewRef(Py_None), *exception = f->exception;
    f->result = f->exception = NULL;
    int rc = settle(st, f, exception, result);
    Py_XDECREF(result);
    Py_XDECREF(exception);
    return rc;
}

/* ---------------------------------------------------------------- methods */

PyObject *
fp_future_set_running_or_notify_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future_refresh((fp_future *)self);
    return fp_future_standard(fp_state_of_future((fp_future *)self), (fp_future *)self, "set_running_or_notify_cancel", NULL);
}

PyObject *
fp_future_set_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *result = fp_one_argument("set_result", "result", NULL, args, nargs, kwnames);
    if (result == NULL) {
        return NULL;
    }
    fp_future_refresh((fp_future *)self);
    return fp_future_standard(fp_state_of_future((fp_future *)self), (fp_future *)self, "set_result", result);
}

PyObject *
fp_future_set_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *exception = fp_one_argument("set_exception", "exception", NULL, args, nargs, kwnames);
    if (exception == NULL) {
        return NULL;
    }
    fp_future_refresh((fp_future *)self);
    return fp_future_standard(fp_state_of_future((fp_future *)self), (fp_future *)self, "set_exception", exception);
}

/* _settle(exception or None, result): set_exception() or set_result(), even without memory. */
PyObject *
fp_future_settle(PyObject *self, PyObject *args)
{
    PyObject *exception, *result;
    if (!PyArg_ParseTuple(args, "OO:_settle", &exception, &result)) {
        return NULL;
    }
    exception = exception == Py_None ? NULL : exception;
    int rc = settle(fp_state_of_future((fp_future *)self), (fp_future *)self, exception, exception ? NULL : result);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* ----------------------- attributes that the standard library's code uses */

static PyObject *
get_state(PyObject *self, void *Py_UNUSED(closure))
{
    fp_future *f = (fp_future *)self;
    fp_state *st = fp_state_of_future(f);
    return Py_NewRef(st->state_names[fp_future_visible_state(f)]);
}

static int
set_state(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    fp_future *f = (fp_future *)self;
    fp_state *st = fp_state_of_future(f);
    for (u8 i = 0; value != NULL && i < 5; i++) {
        int equal = PyObject_RichCompareBool(value, st->state_names[i], Py_EQ);
        if (equal < 0) {
            return -1;
        }
        if (equal) {
            f->state = i;
            if (fp_is_final_state(i)) {
                fp_future_drop_task(f);   /* somebody else has decided */
            }
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "not a state of a future: %R", value ? value : Py_None);
    return -1;
}

static PyObject *
get_condition(PyObject *self, void *Py_UNUSED(closure))
{
    fp_future *f = (fp_future *)self;
    fp_state *st = fp_state_of_future(f);
    if (become_foreign(f) < 0) {
        return NULL;
    }
    if (f->condition == NULL) {
        PyObject *condition = PyObject_CallNoArgs(st->Condition);
        if (condition == NULL) {
            return NULL;
        }
        if (f->condition == NULL) {   /* making it may have let another thread in */
            f->condition = Py_NewRef(condition);
        }
        Py_DECREF(condition);
    }
    return Py_NewRef(f->condition);
}

static PyObject *
get_list(PyObject **list)
{
    if (*list == NULL && (*list = PyList_New(0)) == NULL) {
        return NULL;
    }
    return Py_NewRef(*list);
}

static PyObject *
get_waiters(PyObject *self, void *Py_UNUSED(closure))
{
    return get_list(&((fp_future *)self)->waiters);
}

static PyObject *
get_callbacks(PyObject *self, void *Py_UNUSED(closure))
{
    return get_list(&((fp_future *)self)->callbacks);
}

static PyObject *
get_outcome(PyObject *self, void *closure)
{
    fp_future *f = (fp_future *)self;
    if (fp_future_is_final(f) && f->task != NULL && fp_future_materialize(fp_state_of_future(f), f) < 0) {
        return NULL;
    }
    PyObject *object = closure ? f->exception : f->result;
    return Py_NewRef(object ? object : Py_None);
}

static int
set_outcome(PyObject *self, PyObject *value, void *closure)
{
    fp_future *f = (fp_future *)self;
    PyObject **place = closure ? &f->exception : &f->result;
    Py_XSETREF(*place, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

PyGetSetDef fp_future_getset[] = {
    {"_state", get_state, set_state, NULL, NULL},
    {"_condition", get_condition, NULL, NULL, NULL},
    {"_waiters", get_waiters, NULL, NULL, NULL},
    {"_done_callbacks", get_callbacks, NULL, NULL, NULL},
    {"_result", get_outcome, set_outcome, NULL, NULL},
    {"_exception", get_outcome, set_outcome, NULL, (void *)1},
    {NULL},
};
