#include "pool_object_parts.h"
#include "errors.h"
#include "future.h"
#include "submit.h"
#include "../core/os.h"

int
fp_pool_object_start_thread(fp_pool_object *p, const char *method, const char *name, bool *wanted, const bool *runs)
{
    *wanted = true;
    PyObject *r = PyObject_CallFunction(p->start_thread, "Oss", p, method, name);
    if (r == NULL) {
        *wanted = *runs;   /* a signal's handler may raise when it has begun already */
        return -1;
    }
    Py_DECREF(r);
    return 0;
}

static int
start_courier(fp_pool_object *p)
{
    return fp_pool_object_start_thread(p, "deliver", "courier", &p->courier_wanted, &p->pool->has_courier);
}

static int
start_reader(fp_pool_object *p)
{
    return fp_pool_object_start_thread(p, "read_at_once", "reader", &p->reader_wanted, &p->pool->has_reader);
}

int
fp_pool_object_want_courier(fp_pool_object *p)
{
    if (p->courier_wanted) {
        p->courier_relied_on = true;
        return 0;
    }
    if (start_courier(p) < 0) {
        if (p->courier_relied_on) {
            fp_pool_object_miss_thread(p);
        }
        return -1;
    }
    return 0;
}

/* To start a thread lets others in. They take it for there, and may have gone to sleep before its start fails, of which nobody
 * tells them. So the manager tries again. */
void
fp_pool_object_miss_thread(fp_pool_object *p)
{
    fp_store_release(&p->pool->thread_missed, 1);
    fp_eventfd_ring(p->pool->bell);
}

PyObject *
fp_pool_object_make_up_for_threads(PyObject *self, PyObject *again)
{
    fp_pool_object *p = fp_as_pool(self);
    bool missed = atomic_exchange(&p->pool->thread_missed, 0) || again == Py_True;
    if (!missed || p->pool->fork_generation != fp_fork_generation()) {
        Py_RETURN_FALSE;
    }
    bool needs_courier = fp_pool_needs_courier(p->pool), needs_reader = fp_pool_needs_reader(p->pool);
    bool failed = (needs_courier || p->courier_relied_on) && !p->courier_wanted && start_courier(p) < 0;
    PyErr_Clear();   /* whoever tried first has been told */
    failed |= needs_reader && !p->reader_wanted && start_reader(p) < 0;
    PyErr_Clear();
    failed |= fp_make_up_for_sender(p) < 0;
    PyErr_Clear();
    return PyBool_FromLong(failed);
}

static fp_task *
next_for_courier(fp_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    fp_task *t = pool->courier_first;
    if (t != NULL) {
        pool->courier_first = t->next_for_courier;
        if (pool->courier_first == NULL) {
            pool->courier_last = NULL;
        }
        atomic_fetch_sub(&pool->courier.nready, 1);
    }
    else {
        atomic_store(&pool->courier.nready, 0);   /* a wake without a task */
    }
    pthread_mutex_unlock(&pool->lock);
    return t;
}

static void
deliver_all(fp_state *st, fp_pool *pool)
{
    fp_task *t;
    while ((t = next_for_courier(pool)) != NULL) {
        fp_future *f = t->owner;
        t->owner = NULL;
        fp_pool_drop_task(pool, t);
        if (f == NULL) {
            continue;
        }
        if (fp_future_deliver(st, f) < 0) {
            PyErr_WriteUnraisable((PyObject *)f);
        }
        Py_DECREF(f);
    }
}

bool
fp_pool_object_let_go(fp_pool_object *p)
{
    fp_task *t = fp_pool_take_ended(p->pool);
    if (t == NULL) {
        return false;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    while (t != NULL) {
        fp_task *next = t->next_ended;
        PyObject *call = t->call;
        t->call = NULL;
        fp_pool_drop_task(p->pool, t);
        Py_DECREF(call);   /* may run anything */
        t = next;
    }
    PyErr_Restore(type, value, traceback);
    return true;
}

PyObject *
fp_pool_object_let_go_of_calls(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (fp_as_pool(self)->pool->fork_generation == fp_fork_generation()) {
        fp_pool_object_let_go(fp_as_pool(self));
    }
    Py_RETURN_NONE;
}

/* The courier thread's whole life: returns when it was told to leave and nothing is left. */
PyObject *
fp_pool_object_deliver(PyObject *self, PyTypeObject *cls, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs),
             PyObject *Py_UNUSED(kwnames))
{
    fp_pool_object *p = fp_as_pool(self);
    fp_state *st = fp_state_by_type(cls);
    if (p->pool->has_courier) {   /* this one has begun after its start had failed, and another is there */
        Py_RETURN_NONE;
    }
    p->courier_wanted = true;
    p->courier = PyThread_get_thread_ident();
    fp_pool_has_courier(p->pool, true);
    for (;;) {
        do {
            deliver_all(st, p->pool);
        } while (fp_pool_object_let_go(p));   /* what that has run may have brought more */
        if (p->leaving) {
            fp_pool_has_courier(p->pool, false);
            p->courier_wanted = p->courier_relied_on = false;   /* no GIL was let go of since the list was found empty */
            Py_RETURN_NONE;
        }
        Py_BEGIN_ALLOW_THREADS
        fp_wait(p->pool, &p->pool->courier, 1, FP_NEVER);
        Py_END_ALLOW_THREADS
    }
}

PyObject *
fp_pool_object_call_when_done(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    fp_state *st = fp_state_by_type(cls);
    if (nargs != 2 || !PyObject_TypeCheck(args[0], st->Future)) {
        PyErr_SetString(PyExc_TypeError, "call_when_done() takes a future of fastpool and a callable");
        return NULL;
    }
    if (fp_refuse_after_fork(fp_as_pool(self)->pool) ||
        fp_future_call_in_courier(fp_as_pool(self), (fp_future *)args[0], args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Here, in whatever thread. */
static void
read_all(fp_state *st, fp_pool *pool)
{
    fp_task *t;
    while ((t = fp_pool_next_unread(pool)) != NULL) {
        fp_read_reply_at_once(st, pool, t);
    }
}

PyObject *
fp_pool_object_read_replies(PyObject *self, PyTypeObject *cls, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs),
                            PyObject *Py_UNUSED(kwnames))
{
    if (fp_as_pool(self)->pool->fork_generation == fp_fork_generation()) {
        read_all(fp_state_by_type(cls), fp_as_pool(self)->pool);
    }
    Py_RETURN_NONE;
}

/* The reader thread's whole life. It does nothing else: what callbacks and finalizers wait for, which are the courier's, may be
 * what it has to read. */
PyObject *
fp_pool_object_read_at_once(PyObject *self, PyTypeObject *cls, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs),
                            PyObject *Py_UNUSED(kwnames))
{
    fp_pool_object *p = fp_as_pool(self);
    fp_state *st = fp_state_by_type(cls);
    if (p->pool->has_reader) {   /* this one has begun after its start had failed, and another is there */
        Py_RETURN_NONE;
    }
    p->reader_wanted = true;
    fp_pool_has_reader(p->pool, true);
    for (;;) {
        read_all(st, p->pool);
        if (p->leaving) {
            fp_pool_has_reader(p->pool, false);
            p->reader_wanted = false;   /* no GIL was let go of since the list was found empty */
            Py_RETURN_NONE;
        }
        Py_BEGIN_ALLOW_THREADS
        fp_wait(p->pool, &p->pool->reader, 1, FP_NEVER);
        Py_END_ALLOW_THREADS
    }
}

/* They may leave once they have done all: called when no task is unfinished, or the pool has broken. */
PyObject *
fp_pool_object_dismiss_threads(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_as_pool(self)->leaving = true;
    if (fp_as_pool(self)->pool->fork_generation == fp_fork_generation()) {
        fp_pool_wake_threads(fp_as_pool(self)->pool);
    }
    Py_RETURN_NONE;
}

PyObject *
fp_pool_object_send_deferred(PyObject *self, PyTypeObject *cls, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs),
                   PyObject *Py_UNUSED(kwnames))
{
    fp_send_deferred(fp_state_by_type(cls), fp_as_pool(self));
    Py_RETURN_NONE;
}
