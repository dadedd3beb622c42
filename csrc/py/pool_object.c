#include "pool_object_parts.h"
#include "errors.h"
#include "submit.h"
#include "../core/error.h"
#include "../core/os.h"

#include <structmember.h>

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
    fp_pool_object *p = fp_as_pool(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(p->future_type);
    Py_VISIT(p->start_thread);
    Py_VISIT(p->functions.ids);
    return fp_deferred_traverse(p, visit, arg);
}

static int
pool_clear(PyObject *self)
{
    fp_pool_object *p = fp_as_pool(self);
    fp_functions_clear(&p->functions);
    Py_CLEAR(p->future_type);
    Py_CLEAR(p->start_thread);
    fp_deferred_clear(p);
    return 0;
}

static void
pool_dealloc(PyObject *self)
{
    fp_pool_object *p = fp_as_pool(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (p->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    pool_clear(self);
    /* in a forked child the mapping is not there and the descriptors are the parent's affair */
    if (p->pool != NULL && p->pool->fork_generation == fp_fork_generation()) {
        fp_pool_object_let_go(p);
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
    fp_pool_object *p = fp_as_pool(self);
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
    fp_pool_object *p = fp_as_pool(self);
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
    if (parse_each(fp_as_pool(self), args, nargs, &data, &terms) < 0) {
        return NULL;
    }
    PyObject **items = ((PyTupleObject *)args[1])->ob_item;
    Py_ssize_t n = PyTuple_GET_SIZE(args[1]);
    terms.each = call_kind(args[2]);
    fp_pool_object *p = fp_as_pool(self);
    return or_refuse(p, data ? fp_submit_by_value(st, p, args[0], data, items, n, &terms)
                             : fp_submit(st, p, args[0], items, n, NULL, &terms));
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
    pump_here(fp_as_pool(self)->pool);
    return PyLong_FromUnsignedLongLong(fp_load_acquire(&fp_as_pool(self)->pool->unfinished));
}

static PyObject *
get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    fp_pool *pool = fp_as_pool(self)->pool;
    pump_here(pool);
    return PyLong_FromUnsignedLongLong(fp_pool_waiting(pool));
}

static PyObject *
get_broken(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(fp_load_acquire(&fp_as_pool(self)->pool->broken) != 0);
}

static PyObject *
get_drained(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(fp_pool_is_drained(fp_as_pool(self)->pool));
}

static PyObject *
get_started(PyObject *self, void *Py_UNUSED(closure))
{
    fp_pool *pool = fp_as_pool(self)->pool;
    bool here = pool->fork_generation == fp_fork_generation();
    return PyLong_FromUnsignedLong(here ? fp_load_relaxed(&pool->shm.head->hd_live) : 0);
}

static PyObject *
get_ready(PyObject *self, void *Py_UNUSED(closure))
{
    const fp_pool *pool = fp_as_pool(self)->pool;
    bool here = pool->fork_generation == fp_fork_generation();
    return PyLong_FromUnsignedLong(here ? fp_pool_ready_workers(pool) : 0);
}

static PyObject *
get_served(PyObject *self, void *Py_UNUSED(closure))
{
    fp_pool *pool = fp_as_pool(self)->pool;
    pthread_mutex_lock(&pool->lock);
    u64 served = pool->served;
    pthread_mutex_unlock(&pool->lock);
    return PyLong_FromUnsignedLongLong(served);
}

static PyObject *
get_retired(PyObject *self, void *Py_UNUSED(closure))
{
    const fp_pool *pool = fp_as_pool(self)->pool;
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
    return PyLong_FromUnsignedLong(fp_as_pool(self)->pool->shm.nworkers);
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
    {"manage", fp_pool_object_manage, METH_O, PyDoc_STR(
     "manage($self, seconds, /)\n--\n\nThe manager thread's work that needs no Python, for so long, or None. Returns the\n"
     "indices of workers that ended; an empty list: all tasks of a closed pool have ended, the pool broke, a worker is\n"
     "to be killed, or the time is over.")},
    {"next_fate", fp_pool_object_next_fate, METH_NOARGS, PyDoc_STR(
     "next_fate($self)\n--\n\nA worker to be killed, or None: (index, by SIGTERM?, why, for how many seconds its task ran,\n"
     "how many it had, its function). If why is 'time' or 'memory', fail_overdue() is to be called; it may be None.")},
    {"condemn_for_memory", fp_pool_object_condemn_for_memory, METH_O, PyDoc_STR(
     "condemn_for_memory($self, index, /)\n--\n\nThat worker has become too large: if it runs a task, next_fate() will name it.")},
    {"base_memory", fp_pool_object_base_memory, METH_O, PyDoc_STR(
     "base_memory($self, index, /)\n--\n\nThe bytes of its own that that worker had before its first task, if they are limited.")},
    {"crash_text", fp_pool_object_crash_text, METH_O, PyDoc_STR(
     "crash_text($self, index, /)\n--\n\nWhat faulthandler has written in that worker, '' if nothing.")},
    {"fail_overdue", fp_pool_object_fail_overdue, METH_VARARGS, PyDoc_STR(
     "fail_overdue($self, index, error, /)\n--\n\nThe task of that worker ends with a pickled exception.")},
    {"new_worker", fp_pool_object_new_worker, METH_O, PyDoc_STR(
     "new_worker($self, place, /)\n--\n\nplace.index is the index of a worker that is about to be started. False: all are.")},
    {"new_ticket", fp_pool_object_new_ticket, METH_O, PyDoc_STR(
     "new_ticket($self, index, /)\n--\n\nFor the process that is about to be started as that worker. No earlier one may be it any more.")},
    {"cancel_worker", fp_pool_object_cancel_worker, METH_O, PyDoc_STR(
     "cancel_worker($self, index, /)\n--\n\nIt could not be started after all.")},
    {"enlist", fp_pool_object_enlist, METH_VARARGS, PyDoc_STR(
     "enlist($self, index, pid, sentinel, /)\n--\n\nThat process, which has the last ticket, may begin, and its end is noticed; or neither.")},
    {"enlisted", fp_pool_object_enlisted, METH_O, PyDoc_STR(
     "enlisted($self, index, /)\n--\n\nHas that worker been enlisted, and neither been reaped nor been cancelled?")},
    {"lives", fp_pool_object_lives, METH_O, PyDoc_STR(
     "lives($self, index, /)\n--\n\nHas that worker, which is enlisted, not ended?")},
    {"unwatch", fp_pool_object_unwatch, METH_O, PyDoc_STR(
     "unwatch($self, index, /)\n--\n\nIts end needs no notice any more: close its descriptors.")},
    {"reap", fp_pool_object_reap, METH_VARARGS, PyDoc_STR(
     "reap($self, index, pid, exitcode, peak, oom, crash, /)\n--\n\nThe worker is dead: clean up after it. For its error: the\n"
     "bytes of memory that it had at most (0: not known), whether memory ran out, what crash_text() was, or None. 'retired' if it had been told to end,\n"
     "'killed' if next_fate() had named it, 'unready' if it never got so far as to take tasks, 'idle' if it died without a task, else 'died'; and what its initializer raised, pickled, or\n"
     "None. A pool that survives deaths fails the task that it was running; any other breaks.")},
    {"break_", fp_pool_object_break, METH_O, PyDoc_STR(
     "break_($self, error, /)\n--\n\nFail every task that has not ended; `error`: a pickled exception.")},
    {"bury", fp_pool_object_bury, METH_NOARGS, PyDoc_STR(
     "bury($self)\n--\n\nAll workers are dead: whatever is still open has failed.")},
    {"close", fp_pool_object_close, METH_NOARGS, PyDoc_STR("close($self)\n--\n\nTake no more tasks.")},
    {"stop_workers", fp_pool_object_stop_workers, METH_NOARGS, PyDoc_STR(
     "stop_workers($self)\n--\n\nTell the workers to go when there is nothing left to do.")},
    {"cancel_pending", fp_pool_object_cancel_pending, METH_NOARGS, PyDoc_STR(
     "cancel_pending($self)\n--\n\nCancel every task that no worker has started.")},
    {"check_owner", fp_pool_object_check_owner, METH_NOARGS, PyDoc_STR(
     "check_owner($self)\n--\n\nRuntimeError in a process that was forked from the pool's.")},
    {"wants_worker", fp_pool_object_wants_worker, METH_NOARGS, PyDoc_STR(
     "wants_worker($self)\n--\n\nWould the next task have to wait although another worker may be started?")},
    {"attachment", fp_pool_object_attachment, METH_NOARGS, PyDoc_STR(
     "attachment($self)\n--\n\nThe descriptors that a worker needs: shared memory, bell, lifeline.")},
    {"deliver", CLASS_METHOD(fp_pool_object_deliver), PyDoc_STR(
     "deliver()\n\nThe courier thread's work: callbacks and foreign waiters. Returns after dismiss_threads().")},
    {"call_when_done", CLASS_METHOD(fp_pool_object_call_when_done), PyDoc_STR(
     "call_when_done($self, future, callback, /)\n--\n\n"
     "Call callback(future) in the courier's thread, never here, even if the future is done. Only for a future that\n"
     "nobody else has seen.")},
    {"send_deferred", CLASS_METHOD(fp_pool_object_send_deferred), PyDoc_STR(
     "send_deferred()\n\nThe sender thread's work: pickle calls when there is room for them. Returns when none is left.")},
    {"let_go_of_calls", fp_pool_object_let_go_of_calls, METH_NOARGS, PyDoc_STR(
     "let_go_of_calls($self)\n--\n\nDrop the functions and arguments that were held for calls which have ended.")},
    {"make_up_for_threads", fp_pool_object_make_up_for_threads, METH_O, PyDoc_STR(
     "make_up_for_threads($self, again, /)\n--\n\n"
     "Start the courier, the reader and the sender where they are needed and there is none. True: it has failed, try `again`.")},
    {"read_at_once", CLASS_METHOD(fp_pool_object_read_at_once), PyDoc_STR(
     "read_at_once()\n\nThe reader thread's work: results that have to be fetched from their worker. Returns after dismiss_threads().")},
    {"read_replies", CLASS_METHOD(fp_pool_object_read_replies), PyDoc_STR(
     "read_replies()\n\nThe same in this thread, for those that are there.")},
    {"dismiss_threads", fp_pool_object_dismiss_threads, METH_NOARGS, PyDoc_STR(
     "dismiss_threads($self)\n--\n\nLet deliver() and read_at_once() return once nothing is left for them.")},
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
