#include "pool_object.h"
#include "errors.h"
#include "future.h"
#include "submit.h"
#include "../core/crash.h"
#include "../core/error.h"
#include "../core/limits.h"
#include "../core/orphan.h"
#include "../core/os.h"

#include <structmember.h>

static fp_pool_object *
as_pool(PyObject *self)
{
    return (fp_pool_object *)self;
}

/* ------------------------------------------------------------------ life */

static PyObject *
pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"workers", "future_type", "start_thread", "of_pool", "survives", "shared_memory", "retries", "min_workers",
                            NULL};
    unsigned int workers, retries = 0, min_workers = 0;
    int of_pool = false, survives = false;
    unsigned long long shared_memory = 0;
    PyObject *future_type, *start_thread;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "IOO|ppKII:Pool", names, &workers, &future_type, &start_thread,
                                     &of_pool, &survives, &shared_memory, &retries, &min_workers)) {
        return NULL;
    }
    fp_state *st = fp_state_by_type(type);
    if (!PyType_Check(future_type) || !PyType_IsSubtype((PyTypeObject *)future_type, st->Future)) {
        PyErr_SetString(PyExc_TypeError, "future_type must be a subclass of FutureBase");
        return NULL;
    }
    fp_pool_object *self = (fp_pool_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->monitor.epoll = -1;
    self->of_pool = of_pool;
    self->survives = survives;
    self->terms.limits.retries = retries;
    self->future_type = Py_NewRef(future_type);
    self->start_thread = Py_NewRef(start_thread);
    if (workers > FP_MAX_WORKERS) {
        workers = FP_MAX_WORKERS;
    }
    int rc = fp_pool_new(&self->pool, workers, shared_memory);
    if (rc == FP_OK) {
        self->pool->retries = survives;
        self->pool->min_workers = min_workers;
        rc = fp_monitor_init(&self->monitor, workers, self->pool->bell);
    }
    if (rc != FP_OK) {
        Py_DECREF(self);
        return fp_raise_code(rc);
    }
    return (PyObject *)self;
}

static int
pool_traverse(PyObject *self, visitproc visit, void *arg)
{
    fp_pool_object *p = as_pool(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(p->future_type);
    Py_VISIT(p->start_thread);
    Py_VISIT(p->functions.ids);
    return fp_deferred_traverse(p, visit, arg);
}

static int
pool_clear(PyObject *self)
{
    fp_pool_object *p = as_pool(self);
    fp_functions_clear(&p->functions);
    Py_CLEAR(p->future_type);
    Py_CLEAR(p->start_thread);
    fp_deferred_clear(p);
    return 0;
}

static void
pool_dealloc(PyObject *self)
{
    fp_pool_object *p = as_pool(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (p->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    pool_clear(self);
    /* in a forked child the mapping is not there and the descriptors are the parent's affair */
    if (p->pool != NULL && p->pool->fork_generation == fp_fork_generation()) {
        fp_monitor_fini(&p->monitor);
        fp_pool_decref(p->pool);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- submit */

/* A Pool has looked before whether it is closed, but that may have come between. */
static PyObject *
or_refuse(const fp_pool_object *p, PyObject *f)
{
    if (f == NULL && !PyErr_Occurred()) {
        PyErr_SetString(p->of_pool ? PyExc_ValueError : PyExc_RuntimeError,
                        p->of_pool ? "Pool not running" : "the pool takes no more tasks");
    }
    return f;
}

static PyObject *
pool_submit(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_pool_object *p = as_pool(self);
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "submit() needs the function to call");
        return NULL;
    }
    return or_refuse(p, fp_submit(fp_state_by_type(cls), p, args[0], args + 1, nargs - 1, kwnames, &p->terms));
}

/* submit(), with terms of its own. */
static PyObject *
pool_submit_on(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_pool_object *p = as_pool(self);
    fp_call_terms terms;
    if (nargs < 2) {
        PyErr_SetString(PyExc_TypeError, "submit_on() needs the terms and the function to call");
        return NULL;
    }
    if (fp_parse_terms(args[0], &terms) < 0) {
        return NULL;
    }
    return or_refuse(p, fp_submit(fp_state_by_type(cls), p, args[1], args + 2, nargs - 2, kwnames, &terms));
}

/* The arguments (fn, items, star, data=None, terms=None) of submit_each. -1 with an exception. */
static int
parse_each(fp_pool_object *p, PyObject *const *args, Py_ssize_t nargs, PyObject **data, fp_call_terms *terms)
{
    if (nargs < 3 || nargs > 5 || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) == 0) {
        PyErr_SetString(PyExc_TypeError,
                        "submit_each(fn, items, star, data=None, terms=None) needs a tuple that is not empty");
        return -1;
    }
    *terms = p->terms;
    if (nargs == 5 && args[4] != Py_None && fp_parse_terms(args[4], terms) < 0) {
        return -1;
    }
    *data = nargs >= 4 && args[3] != Py_None ? args[3] : NULL;
    if (*data != NULL && !PyBytes_Check(*data)) {
        PyErr_SetString(PyExc_TypeError, "a function by value is a bytes object");
        return -1;
    }
    return 0;
}

static u32
call_kind(PyObject *star)
{
    return star == Py_None ? 0 : Py_IsTrue(star) ? FP_CALL_STAR : FP_CALL_EACH;
}

static PyObject *
pool_submit_each(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *Py_UNUSED(kwnames))
{
    fp_state *st = fp_state_by_type(cls);
    PyObject *data;
    fp_call_terms terms;
    if (parse_each(as_pool(self), args, nargs, &data, &terms) < 0) {
        return NULL;
    }
    PyObject **items = ((PyTupleObject *)args[1])->ob_item;
    Py_ssize_t n = PyTuple_GET_SIZE(args[1]);
    terms.each = call_kind(args[2]);
    fp_pool_object *p = as_pool(self);
    return or_refuse(p, data ? fp_submit_by_value(st, p, args[0], data, items, n, &terms)
                             : fp_submit(st, p, args[0], items, n, NULL, &terms));
}

/* ------------------------------------------------------ the manager's calls */

/* The loop that needs no Python: until workers ended, one is to be killed, or all is done; or until then. */
static int
manage_without_gil(fp_pool_object *p, u32 *ended, int most, u64 then)
{
    fp_pool *pool = p->pool;
    for (;;) {
        bool drained = fp_pool_manage(pool);
        u64 look = fp_pool_enforce_limits(pool), trim = fp_pool_trim(pool);
        if (look == 0 || drained || fp_load_acquire(&pool->broken) || fp_now() >= then) {
            return 0;
        }
        u64 until = look < trim ? look : trim;
        int n = fp_monitor_wait(&p->monitor, ended, most, until < then ? until : then);
        if (n != 0) {
            return n;
        }
    }
}

static PyObject *
index_list(const u32 *indices, int n)
{
    PyObject *list = PyList_New(n);
    for (int i = 0; list != NULL && i < n; i++) {
        PyObject *index = PyLong_FromUnsignedLong(indices[i]);
        if (index == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, index);
    }
    return list;
}

static PyObject *
pool_manage(PyObject *self, PyObject *seconds)
{
    u32 ended[64];
    int n;
    u64 then = FP_NEVER;
    if (seconds != Py_None) {
        double s = PyFloat_AsDouble(seconds);
        if (s == -1 && PyErr_Occurred()) {
            return NULL;
        }
        then = fp_now() + (s > 0 ? (u64)(s * 1e9) : 0);
    }
    if (fp_refuse_after_fork(as_pool(self)->pool)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    n = manage_without_gil(as_pool(self), ended, 64, then);
    Py_END_ALLOW_THREADS
    if (n == FP_INTR) {
        n = 0;
    }
    return n < 0 ? fp_raise_code(n) : index_list(ended, n);
}

/* One worker to be killed: (index, gently, why, seconds, limit, function), or None. */
static PyObject *
pool_next_fate(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_sentence s;
    if (fp_refuse_after_fork(as_pool(self)->pool)) {
        return NULL;
    }
    if (!fp_pool_next_fate(as_pool(self)->pool, &s)) {
        Py_RETURN_NONE;
    }
    static const char *const reasons[] = {NULL, "time", "memory"};
    return Py_BuildValue("IOzddz", s.w, s.gently ? Py_True : Py_False, reasons[s.why], (double)s.ran / 1e9,
                         (double)s.limit / 1e9, s.label);
}

static PyObject *
pool_condemn_for_memory(PyObject *self, PyObject *index)
{
    fp_pool *pool = as_pool(self)->pool;
    unsigned long w = PyLong_AsUnsignedLong(index);
    if (PyErr_Occurred() || fp_refuse_after_fork(pool)) {
        return NULL;
    }
    return PyBool_FromLong(w < pool->shm.nworkers && fp_pool_condemn_for_memory(pool, (u32)w));
}

/* A death that is an exception, pickled. -1 with an exception. */
static int
death_by_exception(PyObject *error, fp_death *death)
{
    if (!PyBytes_Check(error)) {
        PyErr_SetString(PyExc_TypeError, "a pickled exception is a bytes object");
        return -1;
    }
    *death = (fp_death){.error_size = (u64)PyBytes_GET_SIZE(error)};
    if ((death->error = malloc(death->error_size + 1)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(death->error, PyBytes_AS_STRING(error), death->error_size);
    return 0;
}

static PyObject *
pool_fail_overdue(PyObject *self, PyObject *args)
{
    unsigned int w;
    PyObject *error;
    fp_death death;
    fp_pool *pool = as_pool(self)->pool;
    if (!PyArg_ParseTuple(args, "IO:fail_overdue", &w, &error) || fp_refuse_after_fork(pool) ||
        death_by_exception(error, &death) < 0) {
        return NULL;
    }
    if (w < pool->shm.nworkers) {
        fp_pool_fail_overdue(pool, w, death);
    }
    Py_RETURN_NONE;
}

static PyObject *
pool_new_worker(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (fp_refuse_after_fork(as_pool(self)->pool)) {
        return NULL;
    }
    int w = fp_pool_new_worker(as_pool(self)->pool);
    return w < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(w);
}

/* For a process that is to be worker `index`: its pool, or NULL with an exception. */
static fp_pool *
pool_with_worker(PyObject *self, PyObject *index, u32 *w)
{
    fp_pool *pool = as_pool(self)->pool;
    unsigned long value = PyLong_AsUnsignedLong(index);
    if (PyErr_Occurred() || fp_refuse_after_fork(pool)) {
        return NULL;
    }
    if (value >= pool->shm.nworkers) {
        PyErr_SetString(PyExc_ValueError, "no such worker");
        return NULL;
    }
    *w = (u32)value;
    return pool;
}

static PyObject *
pool_new_ticket(PyObject *self, PyObject *index)
{
    u32 w;
    fp_pool *pool = pool_with_worker(self, index, &w);
    return pool == NULL ? NULL : PyLong_FromUnsignedLong(fp_pool_new_ticket(pool, w));
}

static PyObject *
pool_admit(PyObject *self, PyObject *index)
{
    u32 w;
    fp_pool *pool = pool_with_worker(self, index, &w);
    if (pool == NULL) {
        return NULL;
    }
    fp_pool_admit(pool, w);
    Py_RETURN_NONE;
}

/* The process could not be started. */
static PyObject *
pool_cancel_worker(PyObject *self, PyObject *arg)
{
    fp_pool *pool = as_pool(self)->pool;
    unsigned long w = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred() || fp_refuse_after_fork(pool)) {
        return NULL;
    }
    if (w < pool->shm.nworkers) {
        fp_task *task;
        fp_monitor_remove(&as_pool(self)->monitor, (u32)w);
        fp_pool_reap(pool, (u32)w, &task);
        if (task != NULL) {   /* it had begun before it was ended: its death has no details */
            fp_pool_fail(pool, task);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
pool_watch(PyObject *self, PyObject *args)
{
    unsigned int w;
    int pid, sentinel;
    if (!PyArg_ParseTuple(args, "Iii:watch", &w, &pid, &sentinel)) {
        return NULL;
    }
    if (w >= as_pool(self)->pool->shm.nworkers) {
        PyErr_SetString(PyExc_ValueError, "no such worker");
        return NULL;
    }
    int rc = fp_monitor_add(&as_pool(self)->monitor, w, pid, sentinel);
    return rc < 0 ? fp_raise_code(rc) : Py_NewRef(Py_None);
}

static PyObject *
pool_unwatch(PyObject *self, PyObject *arg)
{
    unsigned long w = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (w < as_pool(self)->pool->shm.nworkers) {
        fp_monitor_remove(&as_pool(self)->monitor, (u32)w);
    }
    Py_RETURN_NONE;
}

static char *
copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

static PyObject *
pool_base_memory(PyObject *self, PyObject *index)
{
    fp_pool *pool = as_pool(self)->pool;
    unsigned long w = PyLong_AsUnsignedLong(index);
    if (PyErr_Occurred() || fp_refuse_after_fork(pool)) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(w < pool->shm.nworkers ? fp_load_relaxed(&pool->shm.workers[w].wk_base) : 0);
}

/* What faulthandler has written in that worker: a str, '' if nothing. */
static PyObject *
pool_crash_text(PyObject *self, PyObject *arg)
{
    static const u64 most = 64u << 10;
    fp_pool *pool = as_pool(self)->pool;
    unsigned long w = PyLong_AsUnsignedLong(arg);
    if (PyErr_Occurred() || fp_refuse_after_fork(pool)) {
        return NULL;
    }
    char *text = PyMem_Malloc(most);
    if (text == NULL) {
        return PyErr_NoMemory();
    }
    u64 n = w < pool->shm.nworkers ? fp_crash_read(&pool->shm, (u32)w, text, most) : 0;
    PyObject *str = PyUnicode_DecodeUTF8(text, (Py_ssize_t)n, "replace");
    PyMem_Free(text);
    return str;
}

/* reap's answer: how it ended, and the pickled exception of its initializer or None. Clears `death`. */
static PyObject *
reaped(const char *how, fp_death *death)
{
    PyObject *answer = Py_BuildValue("sy#", how, death->error, (Py_ssize_t)death->error_size);
    fp_death_clear(death);
    return answer;
}

/* A worker has died, and took the task along, or none. What comes of it: the pool breaks, or its task fails. */
static void
answer_for_death(fp_pool_object *p, fp_task *task, fp_death death, bool breaks)
{
    death.label = task ? copy_text(fp_pool_label(p->pool, task)) : NULL;
    /* the reason first: who waits for the task must find it */
    if (breaks) {
        fp_pool_break(p->pool, death);
    }
    else if (task != NULL && (task->death = malloc(sizeof death)) != NULL) {
        *task->death = death;
    }
    else {
        fp_death_clear(&death);
    }
    if (task != NULL) {
        fp_pool_fail(p->pool, task);
    }
}

static PyObject *
pool_reap(PyObject *self, PyObject *args)
{
    fp_pool_object *p = as_pool(self);
    fp_pool *pool = p->pool;
    unsigned int w;
    int pid, oom;
    unsigned long long peak;
    const char *crash;
    PyObject *exitcode;
    if (fp_refuse_after_fork(pool) ||
        !PyArg_ParseTuple(args, "IiOKpz:reap", &w, &pid, &exitcode, &peak, &oom, &crash)) {
        return NULL;
    }
    if (w >= pool->shm.nworkers) {
        PyErr_SetString(PyExc_ValueError, "no such worker");
        return NULL;
    }
    fp_death death = {.pid = pid, .exitcode_known = exitcode != Py_None, .ready = true, .peak = peak, .oom = oom};
    if (death.exitcode_known) {
        death.exitcode = (int)PyLong_AsLong(exitcode);
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    death.crash = copy_text(crash);
    fp_monitor_remove(&p->monitor, w);
    fp_crash_clear(&pool->shm, w);
    u32 phase = fp_pool_last_words(pool, w, &death);
    death.ready = phase != FP_WORKER_STARTED;
    fp_task *task;
    int rc = fp_pool_reap(pool, w, &task);
    if (rc == FP_OK || (rc == FP_CONDEMNED && task == NULL)) {
        return reaped(rc == FP_OK ? "retired" : "killed", &death);
    }
    if (p->survives && task == NULL && (phase == FP_WORKER_STARTED || phase == FP_WORKER_UNFIT)) {
        return reaped("unready", &death);   /* whether the next may do better is for the Python part to judge */
    }
    bool took = task != NULL || rc == FP_AGAIN;
    answer_for_death(p, task, death, !p->survives && rc != FP_CONDEMNED);
    const char *how = rc == FP_CONDEMNED ? "killed" : phase == FP_WORKER_STARTED ? "unready" : took ? "died" : "idle";
    return Py_BuildValue("sO", how, Py_None);
}

/* break_(pickled exception) */
static PyObject *
pool_break(PyObject *self, PyObject *error)
{
    if (as_pool(self)->pool->fork_generation != fp_fork_generation()) {
        Py_RETURN_NONE;   /* inert, see below */
    }
    fp_death death;
    if (death_by_exception(error, &death) < 0) {
        return NULL;
    }
    fp_pool_break(as_pool(self)->pool, death);
    Py_RETURN_NONE;
}

#define SIMPLE(name, call)                                      \
    static PyObject *                                           \
    pool_##name(PyObject *self, PyObject *Py_UNUSED(ignored))   \
    {                                                           \
        fp_pool *pool = as_pool(self)->pool;                    \
        if (pool->fork_generation == fp_fork_generation()) {    \
            call(pool); /* a copy in a forked child is inert */ \
        }                                                       \
        Py_RETURN_NONE;                                         \
    }

SIMPLE(close, fp_pool_close)
SIMPLE(stop_workers, fp_pool_stop_workers)
SIMPLE(cancel_pending, fp_pool_cancel_pending)
SIMPLE(bury, fp_pool_bury)

static PyObject *
pool_check_owner(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return fp_refuse_after_fork(as_pool(self)->pool) ? NULL : Py_NewRef(Py_None);
}

static PyObject *
pool_wants_worker(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_pool *pool = as_pool(self)->pool;
    return fp_refuse_after_fork(pool) ? NULL : PyBool_FromLong(fp_pool_wants_worker(pool));
}

static PyObject *
pool_attachment(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_pool *pool = as_pool(self)->pool;
    int lifeline = fp_lifeline();
    return lifeline < 0 ? fp_raise_code(lifeline) : Py_BuildValue("iii", pool->shm.fd, pool->bell, lifeline);
}

/* ---------------------------------------------------------------- courier */

int
fp_pool_object_want_courier(fp_pool_object *p)
{
    if (p->courier_wanted) {
        return 0;
    }
    p->courier_wanted = true;
    PyObject *r = PyObject_CallFunction(p->start_thread, "Oss", p, "deliver", "courier");
    if (r == NULL) {
        p->courier_wanted = false;
        return -1;
    }
    Py_DECREF(r);
    return 0;
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

/* The courier thread's whole life: returns when it was told to leave and nothing is left. */
static PyObject *
pool_deliver(PyObject *self, PyTypeObject *cls, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs),
             PyObject *Py_UNUSED(kwnames))
{
    fp_pool_object *p = as_pool(self);
    fp_state *st = fp_state_by_type(cls);
    p->courier = PyThread_get_thread_ident();
    for (;;) {
        deliver_all(st, p->pool);
        if (p->courier_leaving) {
            p->courier_wanted = false;   /* no GIL was let go of since the list was found empty */
            Py_RETURN_NONE;
        }
        Py_BEGIN_ALLOW_THREADS
        fp_wait(p->pool, &p->pool->courier, 1, FP_NEVER);
        Py_END_ALLOW_THREADS
    }
}

static PyObject *
pool_call_when_done(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    fp_state *st = fp_state_by_type(cls);
    if (nargs != 2 || !PyObject_TypeCheck(args[0], st->Future)) {
        PyErr_SetString(PyExc_TypeError, "call_when_done() takes a future of fastpool and a callable");
        return NULL;
    }
    if (fp_refuse_after_fork(as_pool(self)->pool) ||
        fp_future_call_in_courier(as_pool(self), (fp_future *)args[0], args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The courier may leave once it has delivered all: called when no task is unfinished. */
static void
dismiss_courier(fp_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->courier.nready, 1);   /* a wake without a task */
    fp_wait_notify_locked(pool, &pool->courier);
    pthread_mutex_unlock(&pool->lock);
}

static PyObject *
pool_dismiss_courier(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    as_pool(self)->courier_leaving = true;
    if (as_pool(self)->pool->fork_generation == fp_fork_generation()) {
        dismiss_courier(as_pool(self)->pool);
    }
    Py_RETURN_NONE;
}

static PyObject *
pool_send_deferred(PyObject *self, PyTypeObject *cls, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs),
                   PyObject *Py_UNUSED(kwnames))
{
    fp_send_deferred(fp_state_by_type(cls), as_pool(self));
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ facts */

static void
pump_here(fp_pool *pool)
{
    if (pool->fork_generation == fp_fork_generation()) {
        fp_pool_pump(pool);
    }
}

static PyObject *
get_unfinished(PyObject *self, void *Py_UNUSED(closure))
{
    pump_here(as_pool(self)->pool);
    return PyLong_FromUnsignedLongLong(fp_load_acquire(&as_pool(self)->pool->unfinished));
}

static PyObject *
get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    fp_pool *pool = as_pool(self)->pool;
    pump_here(pool);
    return PyLong_FromUnsignedLongLong(fp_pool_waiting(pool));
}

static PyObject *
get_broken(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(fp_load_acquire(&as_pool(self)->pool->broken) != 0);
}

static PyObject *
get_drained(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(fp_pool_is_drained(as_pool(self)->pool));
}

static PyObject *
get_started(PyObject *self, void *Py_UNUSED(closure))
{
    fp_pool *pool = as_pool(self)->pool;
    bool here = pool->fork_generation == fp_fork_generation();
    return PyLong_FromUnsignedLong(here ? fp_load_relaxed(&pool->shm.head->hd_live) : 0);
}

static PyObject *
get_ready(PyObject *self, void *Py_UNUSED(closure))
{
    const fp_pool *pool = as_pool(self)->pool;
    bool here = pool->fork_generation == fp_fork_generation();
    return PyLong_FromUnsignedLong(here ? fp_pool_ready_workers(pool) : 0);
}

static PyObject *
get_served(PyObject *self, void *Py_UNUSED(closure))
{
    fp_pool *pool = as_pool(self)->pool;
    pthread_mutex_lock(&pool->lock);
    u64 served = pool->served;
    pthread_mutex_unlock(&pool->lock);
    return PyLong_FromUnsignedLongLong(served);
}

static PyObject *
get_retired(PyObject *self, void *Py_UNUSED(closure))
{
    const fp_pool *pool = as_pool(self)->pool;
    PyObject *list = PyList_New(0);
    for (u32 w = 0; list != NULL && w < pool->shm.nworkers; w++) {
        if (fp_load_acquire(&pool->shm.workers[w].wk_phase) == FP_WORKER_RETIRED) {
            PyObject *index = PyLong_FromUnsignedLong(w);
            if (index == NULL || PyList_Append(list, index) < 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(index);
        }
    }
    return list;
}

static PyObject *
get_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(as_pool(self)->pool->shm.nworkers);
}

static PyGetSetDef pool_getset[] = {
    {"size", get_size, NULL, PyDoc_STR("The most workers at a time."), NULL},
    {"unfinished", get_unfinished, NULL, PyDoc_STR("Tasks submitted and not ended."), NULL},
    {"waiting", get_waiting, NULL, PyDoc_STR("Tasks that no worker has taken yet."), NULL},
    {"broken", get_broken, NULL, PyDoc_STR("Has the pool broken?"), NULL},
    {"drained", get_drained, NULL, PyDoc_STR("Closed, and every task has ended?"), NULL},
    {"ready", get_ready, NULL, PyDoc_STR("Workers that take tasks."), NULL},
    {"served", get_served, NULL, PyDoc_STR("Tasks that have ended, so far."), NULL},
    {"retired", get_retired, NULL, PyDoc_STR("The indices of workers that have taken their last task, and have not been reaped."), NULL},
    {"started", get_started, NULL, PyDoc_STR("Workers started and not reaped."), NULL},
    {NULL},
};

#define CLASS_METHOD(f) ((PyCFunction)(void (*)(void))(f)), METH_METHOD | METH_FASTCALL | METH_KEYWORDS

static PyMethodDef pool_methods[] = {
    {"submit", CLASS_METHOD(pool_submit), PyDoc_STR(
     "submit(fn, /, *args, **kwargs)\n\nA Future for the call.")},
    {"submit_on", CLASS_METHOD(pool_submit_on), PyDoc_STR(
     "submit_on(terms, fn, /, *args, **kwargs)\n\nThe same on terms of its own: a tuple of seconds that it may run and\n"
     "seconds from SIGTERM to SIGKILL when it is stopped (0: no such), how often it is sent again if its worker dies,\n"
     "and a name for messages, or None.")},
    {"submit_each", CLASS_METHOD(pool_submit_each), PyDoc_STR(
     "submit_each(fn, items, star, data=None, terms=None, /)\n\nA Future for the list of the results of fn for each of a tuple of items,\n"
     "with `star` for each of a tuple of arguments; if `star` is None, for the result of fn(*items). `data` is the\n"
     "function's pickle if it goes by value.")},
    {"manage", pool_manage, METH_O, PyDoc_STR(
     "manage($self, seconds, /)\n--\n\nThe manager thread's work that needs no Python, for so long, or None. Returns the\n"
     "indices of workers that ended; an empty list: all tasks of a closed pool have ended, the pool broke, a worker is\n"
     "to be killed, or the time is over.")},
    {"next_fate", pool_next_fate, METH_NOARGS, PyDoc_STR(
     "next_fate($self)\n--\n\nA worker to be killed, or None: (index, by SIGTERM?, why, for how many seconds its task ran,\n"
     "how many it had, its function). If why is 'time' or 'memory', fail_overdue() is to be called; it may be None.")},
    {"condemn_for_memory", pool_condemn_for_memory, METH_O, PyDoc_STR(
     "condemn_for_memory($self, index, /)\n--\n\nThat worker has become too large: if it runs a task, next_fate() will name it.")},
    {"base_memory", pool_base_memory, METH_O, PyDoc_STR(
     "base_memory($self, index, /)\n--\n\nThe bytes of its own that that worker had before its first task, if they are limited.")},
    {"crash_text", pool_crash_text, METH_O, PyDoc_STR(
     "crash_text($self, index, /)\n--\n\nWhat faulthandler has written in that worker, '' if nothing.")},
    {"fail_overdue", pool_fail_overdue, METH_VARARGS, PyDoc_STR(
     "fail_overdue($self, index, error, /)\n--\n\nThe task of that worker ends with a pickled exception.")},
    {"new_worker", pool_new_worker, METH_NOARGS, PyDoc_STR(
     "new_worker($self)\n--\n\nThe index of a worker that is about to be started. None if all are.")},
    {"new_ticket", pool_new_ticket, METH_O, PyDoc_STR(
     "new_ticket($self, index, /)\n--\n\nFor the process that is about to be started as that worker. No earlier one may be it any more.")},
    {"admit", pool_admit, METH_O, PyDoc_STR(
     "admit($self, index, /)\n--\n\nThe process with the last ticket is known: it may begin.")},
    {"cancel_worker", pool_cancel_worker, METH_O, PyDoc_STR(
     "cancel_worker($self, index, /)\n--\n\nIt could not be started after all.")},
    {"watch", pool_watch, METH_VARARGS, PyDoc_STR(
     "watch($self, index, pid, sentinel, /)\n--\n\nNotice when that process ends.")},
    {"unwatch", pool_unwatch, METH_O, PyDoc_STR(
     "unwatch($self, index, /)\n--\n\nIts end needs no notice any more: close its descriptors.")},
    {"reap", pool_reap, METH_VARARGS, PyDoc_STR(
     "reap($self, index, pid, exitcode, peak, oom, crash, /)\n--\n\nThe worker is dead: clean up after it. For its error: the\n"
     "bytes of memory that it had at most (0: not known), whether memory ran out, what crash_text() was, or None. 'retired' if it had been told to end,\n"
     "'killed' if next_fate() had named it, 'unready' if it never got so far as to take tasks, 'idle' if it died without a task, else 'died'; and what its initializer raised, pickled, or\n"
     "None. A pool that survives deaths fails the task that it was running; any other breaks.")},
    {"break_", pool_break, METH_O, PyDoc_STR(
     "break_($self, error, /)\n--\n\nFail every task that has not ended; `error`: a pickled exception.")},
    {"bury", pool_bury, METH_NOARGS, PyDoc_STR(
     "bury($self)\n--\n\nAll workers are dead: whatever is still open has failed.")},
    {"close", pool_close, METH_NOARGS, PyDoc_STR("close($self)\n--\n\nTake no more tasks.")},
    {"stop_workers", pool_stop_workers, METH_NOARGS, PyDoc_STR(
     "stop_workers($self)\n--\n\nTell the workers to go when there is nothing left to do.")},
    {"cancel_pending", pool_cancel_pending, METH_NOARGS, PyDoc_STR(
     "cancel_pending($self)\n--\n\nCancel every task that no worker has started.")},
    {"check_owner", pool_check_owner, METH_NOARGS, PyDoc_STR(
     "check_owner($self)\n--\n\nRuntimeError in a process that was forked from the pool's.")},
    {"wants_worker", pool_wants_worker, METH_NOARGS, PyDoc_STR(
     "wants_worker($self)\n--\n\nWould the next task have to wait although another worker may be started?")},
    {"attachment", pool_attachment, METH_NOARGS, PyDoc_STR(
     "attachment($self)\n--\n\nThe descriptors that a worker needs: shared memory, bell, lifeline.")},
    {"deliver", CLASS_METHOD(pool_deliver), PyDoc_STR(
     "deliver()\n\nThe courier thread's work: callbacks and foreign waiters. Returns after dismiss_courier().")},
    {"call_when_done", CLASS_METHOD(pool_call_when_done), PyDoc_STR(
     "call_when_done($self, future, callback, /)\n--\n\n"
     "Call callback(future) in the courier's thread, never here, even if the future is done. Only for a future that\n"
     "nobody else has seen.")},
    {"send_deferred", CLASS_METHOD(pool_send_deferred), PyDoc_STR(
     "send_deferred()\n\nThe sender thread's work: pickle calls when there is room for them. Returns when none is left.")},
    {"dismiss_courier", pool_dismiss_courier, METH_NOARGS, PyDoc_STR(
     "dismiss_courier($self)\n--\n\nLet deliver() return once nothing is left to deliver.")},
    {NULL},
};

static PyMemberDef pool_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(fp_pool_object, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_traverse, pool_traverse},
    {Py_tp_clear, pool_clear},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_tp_members, pool_members},
    {Py_tp_doc, PyDoc_STR("Pool(workers, future_type, start_thread, of_pool=False, survives=False, shared_memory=0, retries=0, min_workers=0)\n\n"
                         "The shared memory of one pool, and the parent's side of it.")},
    {0, NULL},
};

PyType_Spec fp_pool_object_spec = {
    .name = "fastpool._core.Pool",
    .basicsize = sizeof(fp_pool_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pool_slots,
};
