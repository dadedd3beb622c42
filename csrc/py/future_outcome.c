#include "future_parts.h"
#include "errors.h"
#include "unpickling.h"
#include "../core/os.h"

enum { UNPICKLING = 1, UNPICKLING_AND_WAITED_FOR = 2 };

void
fp_future_drop_task(fp_future *f)
{
    fp_task *task = f->task;
    fp_pool_object *pool = f->pool;
    f->task = NULL;
    f->pool = NULL;
    if (task != NULL) {
        PyObject *value = task->value, *error = task->error;
        task->value = task->error = NULL;
        task->abandoned = true;
        if (pool->pool->fork_generation == fp_fork_generation()) {
            fp_pool_drop_task(pool->pool, task);
        }   /* else it is a copy, of which only the parent's is real */
        Py_DECREF(pool);
        Py_XDECREF(value);
        Py_XDECREF(error);
    }
}

void
fp_future_refresh(fp_future *f)
{
    if (f->task == NULL || f->foreign || fp_is_final_state(f->state)) {
        return;
    }
    if (!fp_task_is_done(f->task)) {
        if (!fp_future_pool_is_here(f)) {
            return;
        }
        fp_pool_pump(f->pool->pool);
        if (!fp_task_is_done(f->task)) {
            return;
        }
    }
    if (f->task->outcome == FP_OUTCOME_CANCELLED) {
        f->state = FP_F_CANCELLED_AND_NOTIFIED;
        fp_future_drop_task(f);
    }
    else {
        f->state = FP_F_FINISHED;
    }
}

bool
fp_future_is_final(fp_future *f)
{
    fp_future_refresh(f);
    return fp_is_final_state(f->state);
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
    if (task->at_once) {
        result = task->value;
        exception = task->error;
        task->value = task->error = NULL;
    }
    else if (task->outcome == FP_OUTCOME_REPLY) {
        rc = read_reply(st, pool->pool, task, &result, &exception);
    }
    else {
        exception = fp_outcome_exception(pool->pool, task);
    }
    if (rc == 0 && f->task == task) {
        f->result = result;
        f->exception = exception;
        fp_future_drop_task(f);
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

int
fp_future_materialize(fp_state *st, fp_future *f)
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

void
fp_read_reply_at_once(fp_state *st, fp_pool *pool, fp_task *t)
{
    PyObject *value = NULL, *error = NULL;
    if (read_reply(st, pool, t, &value, &error) < 0) {   /* there is no later: whatever it is, it is the outcome */
        PyObject *cause = fp_fetch_exception();
        error = unreadable(pool, t, cause);
        Py_DECREF(cause);
    }
    if (!t->abandoned) {
        t->value = value;
        t->error = error;
        value = error = NULL;
    }
    fp_pool_forget_reply(pool, t);
    fp_pool_was_read(pool, t);
    Py_XDECREF(value);   /* nobody wants it; but who handed something over has waited until it was taken */
    Py_XDECREF(error);
}
