#include "future_parts.h"
#include "errors.h"
#include "../core/limits.h"

#include <structmember.h>

/* ------------------------------------------------------------------- life */

fp_future *
fp_future_new(PyTypeObject *type, fp_pool_object *pool, fp_task *task)
{
    fp_future *f = (fp_future *)type->tp_alloc(type, 0);
    if (f != NULL && task != NULL) {
        f->task = task;
        f->pool = (fp_pool_object *)Py_NewRef(pool);
    }
    return f;
}

void
fp_future_fail(fp_future *f, PyObject *exception)
{
    f->state = FP_F_FINISHED;
    f->exception = Py_NewRef(exception);
    f->foreign = true;
}

/* Made by hand: foreign from the start, even if a subclass forgets our __init__. */
static PyObject *
future_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        ((fp_future *)self)->foreign = true;
    }
    return self;
}

static int
future_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *keyword, *value;
    Py_ssize_t position = 0;
    if (kwargs && PyDict_Next(kwargs, &position, &keyword, &value)) {
        PyErr_Format(PyExc_TypeError, "Future.__init__() got an unexpected keyword argument '%U'", keyword);
        return -1;
    }
    if (PyTuple_GET_SIZE(args)) {
        PyErr_Format(PyExc_TypeError, "%s.__init__() takes 1 positional argument but %zd were given",
                     _PyType_Name(Py_TYPE(self)),
                     1 + PyTuple_GET_SIZE(args));
        return -1;
    }
    return 0;
}

static int
future_traverse(PyObject *self, visitproc visit, void *arg)
{
    fp_future *f = (fp_future *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(f->pool);
    Py_VISIT(f->result);
    Py_VISIT(f->exception);
    Py_VISIT(f->callbacks);
    Py_VISIT(f->waiters);
    Py_VISIT(f->condition);
    return 0;
}

static int
future_clear(PyObject *self)
{
    fp_future *f = (fp_future *)self;
    Py_CLEAR(f->result);
    Py_CLEAR(f->exception);
    Py_CLEAR(f->callbacks);
    Py_CLEAR(f->waiters);
    Py_CLEAR(f->condition);
    return 0;
}

static void
future_dealloc(PyObject *self)
{
    fp_future *f = (fp_future *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (f->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    fp_future_drop_task(f);
    future_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- queries */

static PyObject *
future_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future *f = (fp_future *)self;
    fp_future_refresh(f);
    return PyBool_FromLong(f->state == FP_F_CANCELLED || f->state == FP_F_CANCELLED_AND_NOTIFIED);
}

u8
fp_future_visible_state(fp_future *f)
{
    fp_future_refresh(f);
    if (f->state == FP_F_PENDING && f->task != NULL && !fp_task_is_done(f->task) && fp_future_pool_is_here(f) &&
        fp_pool_is_running(f->pool->pool, f->task)) {
        return FP_F_RUNNING;
    }
    fp_future_refresh(f);   /* the question pumped */
    return f->state;
}

static PyObject *
future_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(fp_future_visible_state((fp_future *)self) == FP_F_RUNNING);
}

static PyObject *
future_done(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(fp_future_is_final((fp_future *)self));
}

static PyObject *
future_repr(PyObject *self)
{
    static const char *const words[] = {"pending", "running", "cancelled", "cancelled", "finished"};
    fp_future *f = (fp_future *)self;
    u8 state = fp_future_visible_state(f);
    PyObject *name = PyType_GetName(Py_TYPE(self)), *text = NULL;
    if (name == NULL) {
        return NULL;
    }
    if (state == FP_F_FINISHED && f->task != NULL && fp_future_materialize(fp_state_of_future(f), f) < 0) {
        Py_DECREF(name);
        return NULL;
    }
    if (state != FP_F_FINISHED) {
        text = PyUnicode_FromFormat("<%U at %p state=%s>", name, (void *)self, words[state]);
    }
    else {
        PyObject *shown = f->exception ? f->exception : f->result ? f->result : Py_None;
        PyObject *type = PyType_GetName(Py_TYPE(shown));
        if (type != NULL) {
            text = PyUnicode_FromFormat("<%U at %p state=finished %s %U>", name, (void *)self,
                                        f->exception ? "raised" : "returned", type);
            Py_DECREF(type);
        }
    }
    Py_DECREF(name);
    return text;
}

/* ----------------------------------------------------------- cancel, kill */

/* `how`: fp_pool_cancel or fp_pool_kill. */
static PyObject *
cancel_by(fp_future *f, bool (*how)(fp_pool *, fp_task *))
{
    fp_state *st = fp_state_of_future(f);
    fp_future_refresh(f);
    if (f->task == NULL) {
        if (!f->foreign) {   /* was native, is final */
            return PyBool_FromLong(f->state != FP_F_FINISHED);
        }
        return fp_future_standard(st, f, "cancel", NULL);
    }
    if (fp_is_final_state(f->state)) {
        Py_RETURN_FALSE;
    }
    if (fp_refuse_after_fork(f->pool->pool)) {
        return NULL;
    }
    if (!how(f->pool->pool, f->task)) {
        fp_future_refresh(f);
        return PyBool_FromLong(f->task != NULL ? f->task->outcome == FP_OUTCOME_CANCELLED
                                               : f->state != FP_F_FINISHED);
    }
    /* as in the standard library: whoever cancels tells the waiters and runs the callbacks */
    if (f->foreign) {
        if (f->task != NULL) {
            return fp_future_publish(st, f) < 0 ? NULL : Py_NewRef(Py_True);
        }
        return fp_future_standard(st, f, "cancel", NULL);   /* the courier is at it */
    }
    fp_future_refresh(f);
    return fp_future_run_callbacks(f, true) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *
future_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return cancel_by((fp_future *)self, fp_pool_cancel);
}

static PyObject *
future_kill(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return cancel_by((fp_future *)self, fp_pool_kill);
}

/* --------------------------------------------------------------- the type */

PyObject *
fp_one_argument(const char *method, const char *parameter, PyObject *fallback, PyObject *const *args,
                Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t nkw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject *keyword = nkw ? PyTuple_GET_ITEM(kwnames, 0) : NULL;
    if (keyword != NULL && PyUnicode_CompareWithASCIIString(keyword, parameter) != 0) {
        PyErr_Format(PyExc_TypeError, "Future.%s() got an unexpected keyword argument '%U'", method, keyword);
        return NULL;
    }
    if (nargs == 1 && nkw == 1) {
        PyErr_Format(PyExc_TypeError, "Future.%s() got multiple values for argument '%s'", method, parameter);
        return NULL;
    }
    if (nargs + nkw > 1) {
        PyErr_Format(PyExc_TypeError, "Future.%s() takes %s positional arguments but %zd were given", method,
                     fallback ? "from 1 to 2" : "2", 1 + nargs);
        return NULL;
    }
    if (nargs + nkw == 1) {
        return args[0];
    }
    if (fallback == NULL) {
        PyErr_Format(PyExc_TypeError, "Future.%s() missing 1 required positional argument: '%s'", method, parameter);
    }
    return fallback;
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))

static PyMethodDef future_methods[] = {
    {"cancel", future_cancel, METH_NOARGS, PyDoc_STR(
     "cancel($self)\n--\n\nCancel the call if no worker has started it.\n\n"
     "Returns True if it is cancelled now, False if it runs or has finished.")},
    {"kill", future_kill, METH_NOARGS, PyDoc_STR(
     "kill($self)\n--\n\nCancel the call, even if it runs: then its worker process is killed, with the children that it has\n"
     "started, and replaced.\n\nReturns True if it is cancelled now, False if it has finished.")},
    {"cancelled", future_cancelled, METH_NOARGS, PyDoc_STR(
     "cancelled($self)\n--\n\nTrue if the call was cancelled.")},
    {"running", future_running, METH_NOARGS, PyDoc_STR(
     "running($self)\n--\n\nTrue while a worker runs the call.")},
    {"done", future_done, METH_NOARGS, PyDoc_STR(
     "done($self)\n--\n\nTrue if the call was cancelled or has finished.")},
    {"result", FAST(fp_future_result), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "result($self, timeout=None)\n--\n\nWait up to `timeout` seconds (None: for ever) and return what the call returned,\n"
     "or raise what it raised.\n\n"
     "Raises TimeoutError if the call has not finished by then, CancelledError if it was cancelled,\n"
     "BrokenProcessPool if its worker process died.")},
    {"exception", FAST(fp_future_exception), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "exception($self, timeout=None)\n--\n\nWait like result() and return what the call raised, None if it returned.\n\n"
     "Raises TimeoutError and CancelledError as result() does.")},
    {"add_done_callback", FAST(fp_future_add_done_callback), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "add_done_callback($self, fn)\n--\n\nCall fn(future) when the call has finished or was cancelled, in the order of adding;\n"
     "at once if it has. An exception that fn raises is logged.")},
    {"set_running_or_notify_cancel", fp_future_set_running_or_notify_cancel, METH_NOARGS, PyDoc_STR(
     "set_running_or_notify_cancel($self)\n--\n\nFor executors: mark the future as running; False if it was cancelled.")},
    {"set_result", FAST(fp_future_set_result), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "set_result($self, result)\n--\n\nFor executors: the future has finished with this result.\n\n"
     "Raises InvalidStateError if it is done already.")},
    {"set_exception", FAST(fp_future_set_exception), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "set_exception($self, exception)\n--\n\nFor executors: the future has finished with this exception.\n\n"
     "Raises InvalidStateError if it is done already.")},
    {"_invoke_callbacks", fp_future_invoke_callbacks, METH_NOARGS, NULL},
    {"_get_snapshot", fp_future_get_snapshot, METH_NOARGS, NULL},
    {"_settle", fp_future_settle, METH_VARARGS, NULL},
    {"_Future__get_result", fp_future_get_result, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, PyDoc_STR("Future[int] and the like.")},
    {NULL},
};

static PyMemberDef future_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(fp_future, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_new, future_new},
    {Py_tp_init, future_init},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},
    {Py_tp_repr, future_repr},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, fp_future_getset},
    {Py_tp_members, future_members},
    {Py_tp_doc, PyDoc_STR("Storage and methods of fastpool.Future.")},
    {0, NULL},
};

PyType_Spec fp_future_spec = {
    .name = "fastpool._core.FutureBase",
    .basicsize = sizeof(fp_future),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = future_slots,
};
