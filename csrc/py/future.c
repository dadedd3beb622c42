#include "future.h"
#include "errors.h"
#include "unpickling.h"
#include "../core/error.h"
#include "../core/limits.h"
#include "../core/os.h"

#include <structmember.h>
#include <time.h>

enum { UNPICKLING = 1, UNPICKLING_AND_WAITED_FOR = 2 };

static fp_state *
state_of(fp_future *f)
{
    return fp_state_by_type(Py_TYPE(f));
}

static bool
is_final_state(u8 state)
{
    return state >= FP_F_CANCELLED;
}

/* ------------------------------------------------------- taking the outcome over */

static void
drop_task(fp_future *f)
{
    fp_task *task = f->task;
    fp_pool_object *pool = f->pool;
    f->task = NULL;
    f->pool = NULL;
    if (task != NULL) {
        if (pool->pool->fork_generation == fp_fork_generation()) {
            fp_pool_drop_task(pool->pool, task);
        }   /* else it is a copy, of which only the parent's is real */
        Py_DECREF(pool);
    }
}

/* In a forked child a task stays what it was at the fork. */
static bool
pool_is_here(const fp_future *f)
{
    return f->pool->pool->fork_generation == fp_fork_generation();
}

/* Native manner: let the visible state follow the task's. */
static void
refresh(fp_future *f)
{
    if (f->task == NULL || f->foreign || is_final_state(f->state)) {
        return;
    }
    if (!fp_task_is_done(f->task)) {
        if (!pool_is_here(f)) {
            return;
        }
        fp_pool_pump(f->pool->pool);
        if (!fp_task_is_done(f->task)) {
            return;
        }
    }
    if (f->task->outcome == FP_OUTCOME_CANCELLED) {
        f->state = FP_F_CANCELLED_AND_NOTIFIED;
        drop_task(f);
    }
    else {
        f->state = FP_F_FINISHED;
    }
}

static const u8 *
reply_data(const fp_pool *pool, const fp_task *t)
{
    return t->reply_offset ? fp_shm_at(&pool->shm, t->reply_offset) : t->reply;
}

/* An exception object, whatever happens. */
static PyObject *
unreadable(const fp_pool *pool, const fp_task *t, PyObject *cause)
{
    PyObject *error = fp_call_helper("fastpool.errors", "result_unreadable", "(Oz)", cause, fp_pool_label(pool, t));
    return error ? error : fp_fetch_exception();
}

/* Unpickle the reply into *result or *exception. -1: an exception is set, and nothing is lost: interrupted, or a
 * forked child asks for a result that lies in shared memory, which it does not have. */
static int
read_reply(fp_state *st, const fp_pool *pool, const fp_task *t, PyObject **result, PyObject **exception)
{
    if (t->reply_kind == FP_REPLY_NONE) {
        *result = Py_NewRef(Py_None);
        return 0;
    }
    if (t->reply_offset && fp_refuse_after_fork(pool)) {
        return -1;
    }
    PyObject *object = fp_unpickle(st, reply_data(pool, t), t->reply_size, t->reply_stream);
    if (object == NULL) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
            return -1;
        }
        bool no_memory = PyErr_ExceptionMatches(PyExc_MemoryError);   /* that says nothing of the result */
        PyObject *cause = fp_fetch_exception();
        *exception = no_memory ? Py_NewRef(cause) : unreadable(pool, t, cause);
        Py_DECREF(cause);
    }
    else if (t->reply_kind == FP_REPLY_VALUE) {
        *result = object;
    }
    else if (PyExceptionInstance_Check(object)) {
        *exception = object;
    }
    else {
        Py_DECREF(object);
        *exception = unreadable(pool, t, Py_None);
    }
    return 0;
}

/* Another thread unpickles: wait for it. -1 with an exception. */
static int
wait_for_unpickler(fp_future *f)
{
    if (f->unpickler == PyThread_get_thread_ident()) {
        PyErr_SetString(PyExc_RuntimeError, "a result asks for itself while it is unpickled");
        return -1;
    }
    while (fp_load_acquire(&f->unpickling)) {
        fp_cas32(&f->unpickling, UNPICKLING, UNPICKLING_AND_WAITED_FOR);
        Py_BEGIN_ALLOW_THREADS
        fp_futex_wait(&f->unpickling, UNPICKLING_AND_WAITED_FOR, FP_NEVER, false);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    return 0;
}

/* Unpickling runs user code, which may set the future's result itself: then that counts. -1 with an exception. */
static int
take_outcome(fp_state *st, fp_future *f)
{
    PyObject *result = NULL, *exception = NULL;
    fp_pool_object *pool = (fp_pool_object *)Py_NewRef(f->pool);
    fp_task *task = f->task;
    int rc = 0;
    fp_task_incref(task);
    if (task->outcome == FP_OUTCOME_REPLY) {
        rc = read_reply(st, pool->pool, task, &result, &exception);
    }
    else {
        exception = fp_outcome_exception(pool->pool, task);
    }
    if (rc == 0 && f->task == task) {
        f->result = result;
        f->exception = exception;
        drop_task(f);
    }
    else {
        Py_XDECREF(result);
        Py_XDECREF(exception);
    }
    if (pool->pool->fork_generation == fp_fork_generation()) {
        fp_pool_drop_task(pool->pool, task);
    }
    Py_DECREF(pool);
    return rc;
}

/* The future is done: make result or exception an object. -1 with an exception. */
static int
materialize(fp_state *st, fp_future *f)
{
    while (f->task != NULL) {
        if (fp_load_relaxed(&f->unpickling)) {
            if (wait_for_unpickler(f) < 0) {
                return -1;
            }
            continue;
        }
        fp_store_relaxed(&f->unpickling, UNPICKLING);
        f->unpickler = PyThread_get_thread_ident();
        int rc = take_outcome(st, f);
        if (atomic_exchange(&f->unpickling, 0) == UNPICKLING_AND_WAITED_FOR) {
            fp_futex_wake(&f->unpickling, INT32_MAX, false);   /* a system call for each result would be dear */
        }
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

bool
fp_future_is_final(fp_future *f)
{
    refresh(f);
    return is_final_state(f->state);
}

/* ------------------------------------------------------------- life */

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
    drop_task(f);
    future_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --------------------------------------------- the standard library's own methods */

/* concurrent.futures.Future.<name>(self, *args) */
static PyObject *
standard(fp_state *st, fp_future *f, const char *name, PyObject *arg)
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

/* Run and forget the callbacks: whoever takes the list runs it. What they raise is logged; beyond
 * Exception it leaves only if `in_caller`: the courier must live. */
static int
run_callbacks(fp_future *f, bool in_caller)
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

/* ------------------------------------------------------------------ courier */

/* Have the courier visit when the task ends. 0: it will; 1: the task is done already; -1: error. */
static int
tell_courier(fp_future *f)
{
    if (f->told) {
        return 0;
    }
    if (!pool_is_here(f)) {
        return 0;   /* nothing will ever happen to it in this process */
    }
    if (fp_pool_object_want_courier(f->pool) < 0) {
        return -1;
    }
    if (f->task == NULL) {   /* starting the courier may have let another thread in */
        return 1;
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

/* Foreign manner, from here on; unless it is done: then there is nothing left to change. */
static int
become_foreign(fp_future *f)
{
    refresh(f);
    if (f->foreign || f->task == NULL || is_final_state(f->state)) {
        return 0;
    }
    int told = tell_courier(f);
    if (told < 0) {
        return -1;
    }
    if (told > 0) {
        refresh(f);
        return 0;
    }
    f->foreign = true;
    return 0;
}

/* Set the outcome the standard library's way (condition, waiters, callbacks). `exception`, `result`: NULL, NULL: cancelled. */
static int
settle_by_standard(fp_state *st, fp_future *f, PyObject *exception, PyObject *result)
{
    PyObject *r;
    if (exception == NULL && result == NULL) {
        r = standard(st, f, "cancel", NULL);
        if (r != NULL && f->state == FP_F_CANCELLED) {
            Py_DECREF(r);
            r = standard(st, f, "set_running_or_notify_cancel", NULL);
        }
    }
    else {
        r = exception ? standard(st, f, "set_exception", exception) : standard(st, f, "set_result", result);
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
    if (!is_final_state(f->state) || f->state == FP_F_CANCELLED) {
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

/* Foreign: make the outcome visible. */
static int
publish(fp_state *st, fp_future *f)
{
    if (f->task->outcome == FP_OUTCOME_CANCELLED) {
        drop_task(f);
        return settle(st, f, NULL, NULL);
    }
    f->state = FP_F_RUNNING;   /* until it is finished: too late to cancel */
    if (materialize(st, f) < 0) {
        return -1;
    }
    PyObject *result = f->result || f->exception ? f->result : Py_NewRef(Py_None), *exception = f->exception;
    f->result = f->exception = NULL;
    int rc = settle(st, f, exception, result);
    Py_XDECREF(result);
    Py_XDECREF(exception);
    return rc;
}

int
fp_future_deliver(fp_state *st, fp_future *f)
{
    if (f->foreign && f->task != NULL && !is_final_state(f->state)) {
        return publish(st, f);
    }
    refresh(f);
    return run_callbacks(f, false);
}

/* ------------------------------------------------------------------ queries */

static PyObject *
future_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future *f = (fp_future *)self;
    refresh(f);
    return PyBool_FromLong(f->state == FP_F_CANCELLED || f->state == FP_F_CANCELLED_AND_NOTIFIED);
}

static u8
visible_state(fp_future *f)
{
    refresh(f);
    if (f->state == FP_F_PENDING && f->task != NULL && !fp_task_is_done(f->task) && pool_is_here(f) &&
        fp_pool_is_running(f->pool->pool, f->task)) {
        return FP_F_RUNNING;
    }
    refresh(f);   /* the question pumped */
    return f->state;
}

static PyObject *
future_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(visible_state((fp_future *)self) == FP_F_RUNNING);
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
    u8 state = visible_state(f);
    PyObject *name = PyType_GetName(Py_TYPE(self)), *text = NULL;
    if (name == NULL) {
        return NULL;
    }
    if (state == FP_F_FINISHED && f->task != NULL && materialize(state_of(f), f) < 0) {
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

/* --------------------------------------------------------- result, exception */

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
    return rc != 0 ? rc : f->task == NULL || is_final_state(f->state) ? 0 : publish(st, f);
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
    if (f->foreign && !is_final_state(f->state)) {
        PyObject *left = Py_NewRef(Py_None);
        if (deadline != FP_NEVER) {
            u64 now = fp_now();
            Py_SETREF(left, PyFloat_FromDouble(deadline > now ? (double)(deadline - now) * 1e-9 : 0.0));
        }
        *answer = left ? standard(st, f, method, left) : NULL;
        Py_XDECREF(left);
        return *answer ? 1 : -1;
    }
    return 0;
}

static PyObject *
raise_cancelled(fp_state *st)
{
    PyErr_SetNone(st->CancelledError);
    return NULL;
}

/* The one parameter of Future.<method>, by position or as `parameter`; `fallback` (NULL: it is required)
 * if it is not given. A borrowed reference, or NULL with the TypeError of a Python function. */
static PyObject *
one_argument(const char *method, const char *parameter, PyObject *fallback, PyObject *const *args,
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
    if (f->task != NULL && materialize(st, f) < 0) {
        return NULL;
    }
    return f->exception ? raise_it(f->exception) : Py_NewRef(f->result ? f->result : Py_None);
}

static PyObject *
future_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_future *f = (fp_future *)self;
    fp_state *st = state_of(f);
    PyObject *answer = NULL, *timeout = one_argument("result", "timeout", Py_None, args, nargs, kwnames);
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

static PyObject *
future_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_future *f = (fp_future *)self;
    fp_state *st = state_of(f);
    PyObject *answer = NULL, *timeout = one_argument("exception", "timeout", Py_None, args, nargs, kwnames);
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
    if (f->task != NULL && materialize(st, f) < 0) {
        return NULL;
    }
    return Py_NewRef(f->exception ? f->exception : Py_None);
}

static PyObject *
future_get_result(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return get_result(state_of((fp_future *)self), (fp_future *)self);
}

/* (done, cancelled, result, exception), as asyncio of Python 3.15 asks */
static PyObject *
future_get_snapshot(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future *f = (fp_future *)self;
    if (!fp_future_is_final(f)) {
        return Py_BuildValue("OOOO", Py_False, Py_False, Py_None, Py_None);
    }
    if (f->state != FP_F_FINISHED) {
        return Py_BuildValue("OOOO", Py_True, Py_True, Py_None, Py_None);
    }
    if (f->task != NULL && materialize(state_of(f), f) < 0) {
        return NULL;
    }
    return Py_BuildValue("OOOO", Py_True, Py_False, f->result ? f->result : Py_None,
                         f->exception ? f->exception : Py_None);
}

/* ------------------------------------------------------------------ changes */

/* `how`: fp_pool_cancel or fp_pool_kill. */
static PyObject *
cancel_by(fp_future *f, bool (*how)(fp_pool *, fp_task *))
{
    fp_state *st = state_of(f);
    refresh(f);
    if (f->task == NULL) {
        if (!f->foreign) {   /* was native, is final */
            return PyBool_FromLong(f->state != FP_F_FINISHED);
        }
        return standard(st, f, "cancel", NULL);
    }
    if (is_final_state(f->state)) {
        Py_RETURN_FALSE;
    }
    if (fp_refuse_after_fork(f->pool->pool)) {
        return NULL;
    }
    if (!how(f->pool->pool, f->task)) {
        refresh(f);
        return PyBool_FromLong(f->task != NULL ? f->task->outcome == FP_OUTCOME_CANCELLED
                                               : f->state != FP_F_FINISHED);
    }
    /* as in the standard library: whoever cancels tells the waiters and runs the callbacks */
    if (f->foreign) {
        if (f->task != NULL) {
            return publish(st, f) < 0 ? NULL : Py_NewRef(Py_True);
        }
        return standard(st, f, "cancel", NULL);   /* the courier is at it */
    }
    refresh(f);
    return run_callbacks(f, true) < 0 ? NULL : Py_NewRef(Py_True);
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
static PyObject *
future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_future *f = (fp_future *)self;
    PyObject *callback = one_argument("add_done_callback", "fn", NULL, args, nargs, kwnames);
    if (callback == NULL) {
        return NULL;
    }
    if (fp_future_is_final(f)) {
        return call_callback(f, callback);
    }
    if (add_callback(f, callback) < 0) {
        return NULL;
    }
    if (f->task != NULL && !f->foreign && tell_courier(f) < 0) {
        withdraw_callback(f, callback);
        return NULL;
    }
    if (fp_future_is_final(f) && run_callbacks(f, true) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
future_invoke_callbacks(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_future *f = (fp_future *)self;
    /* the courier calls this through set_result and must survive; a caller of his own gets the rest */
    if (run_callbacks(f, !f->told) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
future_set_running_or_notify_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    refresh((fp_future *)self);
    return standard(state_of((fp_future *)self), (fp_future *)self, "set_running_or_notify_cancel", NULL);
}

static PyObject *
future_set_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *result = one_argument("set_result", "result", NULL, args, nargs, kwnames);
    if (result == NULL) {
        return NULL;
    }
    refresh((fp_future *)self);
    return standard(state_of((fp_future *)self), (fp_future *)self, "set_result", result);
}

static PyObject *
future_set_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *exception = one_argument("set_exception", "exception", NULL, args, nargs, kwnames);
    if (exception == NULL) {
        return NULL;
    }
    refresh((fp_future *)self);
    return standard(state_of((fp_future *)self), (fp_future *)self, "set_exception", exception);
}

/* _settle(exception or None, result): set_exception() or set_result(), even without memory. */
static PyObject *
future_settle(PyObject *self, PyObject *args)
{
    PyObject *exception, *result;
    if (!PyArg_ParseTuple(args, "OO:_settle", &exception, &result)) {
        return NULL;
    }
    exception = exception == Py_None ? NULL : exception;
    int rc = settle(state_of((fp_future *)self), (fp_future *)self, exception, exception ? NULL : result);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* ------------------------------------------------ attributes that the standard library's code uses */

static PyObject *
get_state(PyObject *self, void *Py_UNUSED(closure))
{
    fp_future *f = (fp_future *)self;
    fp_state *st = state_of(f);
    return Py_NewRef(st->state_names[visible_state(f)]);
}

static int
set_state(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    fp_future *f = (fp_future *)self;
    fp_state *st = state_of(f);
    for (u8 i = 0; value != NULL && i < 5; i++) {
        int equal = PyObject_RichCompareBool(value, st->state_names[i], Py_EQ);
        if (equal < 0) {
            return -1;
        }
        if (equal) {
            f->state = i;
            if (is_final_state(i)) {
                drop_task(f);   /* somebody else has decided */
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
    fp_state *st = state_of(f);
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
    if (fp_future_is_final(f) && f->task != NULL && materialize(state_of(f), f) < 0) {
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

static PyGetSetDef future_getset[] = {
    {"_state", get_state, set_state, NULL, NULL},
    {"_condition", get_condition, NULL, NULL, NULL},
    {"_waiters", get_waiters, NULL, NULL, NULL},
    {"_done_callbacks", get_callbacks, NULL, NULL, NULL},
    {"_result", get_outcome, set_outcome, NULL, NULL},
    {"_exception", get_outcome, set_outcome, NULL, (void *)1},
    {NULL},
};

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
    {"result", FAST(future_result), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "result($self, timeout=None)\n--\n\nWait up to `timeout` seconds (None: for ever) and return what the call returned,\n"
     "or raise what it raised.\n\n"
     "Raises TimeoutError if the call has not finished by then, CancelledError if it was cancelled,\n"
     "BrokenProcessPool if its worker process died.")},
    {"exception", FAST(future_exception), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "exception($self, timeout=None)\n--\n\nWait like result() and return what the call raised, None if it returned.\n\n"
     "Raises TimeoutError and CancelledError as result() does.")},
    {"add_done_callback", FAST(future_add_done_callback), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "add_done_callback($self, fn)\n--\n\nCall fn(future) when the call has finished or was cancelled, in the order of adding;\n"
     "at once if it has. An exception that fn raises is logged.")},
    {"set_running_or_notify_cancel", future_set_running_or_notify_cancel, METH_NOARGS, PyDoc_STR(
     "set_running_or_notify_cancel($self)\n--\n\nFor executors: mark the future as running; False if it was cancelled.")},
    {"set_result", FAST(future_set_result), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "set_result($self, result)\n--\n\nFor executors: the future has finished with this result.\n\n"
     "Raises InvalidStateError if it is done already.")},
    {"set_exception", FAST(future_set_exception), METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "set_exception($self, exception)\n--\n\nFor executors: the future has finished with this exception.\n\n"
     "Raises InvalidStateError if it is done already.")},
    {"_invoke_callbacks", future_invoke_callbacks, METH_NOARGS, NULL},
    {"_get_snapshot", future_get_snapshot, METH_NOARGS, NULL},
    {"_settle", future_settle, METH_VARARGS, NULL},
    {"_Future__get_result", future_get_result, METH_NOARGS, NULL},
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
    {Py_tp_getset, future_getset},
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
