#include "submit.h"
#include "errors.h"
#include "future.h"
#include "pickling.h"
#include "../core/error.h"
#include "../core/wait.h"

#include <stdlib.h>
#include <string.h>

/* What is to be sent. */
typedef struct {
    PyObject *fn;
    PyObject *packed;      /* what is pickled; NULL: the call has no payload */
    u32 kind;
    int id;                /* in the function table, or 0: `packed` holds the function, too */
    bool by_value;         /* the arguments may hold what was defined at an interactive prompt */
    const fp_call_terms *terms;
} fp_packed_call;

struct fp_deferred {
    fp_deferred *next;
    fp_task *task;
    PyObject *packed;
    bool by_value;
};

/* ------------------------------------------------------------------ packing */

static PyObject *
positional_of(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *positional = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; positional != NULL && i < nargs; i++) {
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    }
    return positional;
}

static PyObject *
keywords_of(PyObject *const *values, PyObject *kwnames)
{
    PyObject *keywords = PyDict_New();
    Py_ssize_t n = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; keywords != NULL && i < n; i++) {
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i), values[i]) < 0) {
            Py_CLEAR(keywords);
        }
    }
    return keywords;
}

/* (args, kwargs), after fn if there is one */
static PyObject *
whole_call(PyObject *fn, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *positional = positional_of(args, nargs), *keywords = keywords_of(args + nargs, kwnames), *call = NULL;
    if (positional != NULL && keywords != NULL) {
        call = fn ? PyTuple_Pack(3, fn, positional, keywords) : PyTuple_Pack(2, positional, keywords);
    }
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return call;
}

/* -1 with an exception. */
static int
pack_call(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
          const fp_call_terms *terms, fp_packed_call *call)
{
    bool keywords = kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0;
    *call = (fp_packed_call){.fn = fn, .id = fp_function_id(st, p->pool, &p->functions, fn), .terms = terms};
    if (call->id < 0) {
        return -1;
    }
    if (call->id == 0) {
        call->kind = FP_CALL_WHOLE;
        call->packed = whole_call(fn, args, nargs, kwnames);
    }
    else if (keywords) {
        call->kind = FP_CALL_KWARGS;
        call->packed = whole_call(NULL, args, nargs, kwnames);
    }
    else if (nargs > 0) {
        call->kind = FP_CALL_ARGS;
        call->packed = positional_of(args, nargs);
    }
    else {
        call->kind = FP_CALL_EMPTY;
        return 0;
    }
    return call->packed ? 0 : -1;
}

/* Seconds as ns. -1 with an exception. */
static int
parse_seconds(PyObject *object, u64 *ns)
{
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "seconds must be >= 0");
        return -1;
    }
    *ns = seconds < 1e9 ? (u64)(seconds * 1e9) : 0;   /* after 30 years: never */
    if (seconds > 0 && *ns < 1000 && seconds < 1e9) {
        *ns = 1000;   /* less would keep the manager busy with looking */
    }
    return 0;
}

int
fp_parse_terms(PyObject *tuple, fp_call_terms *terms)
{
    PyObject *limit, *grace;
    unsigned int retries;
    *terms = (fp_call_terms){.name = NULL};
    if (!PyArg_ParseTuple(tuple, "OOIz:terms", &limit, &grace, &retries, &terms->name) ||
        parse_seconds(limit, &terms->limits.limit) < 0 || parse_seconds(grace, &terms->limits.grace) < 0) {
        return -1;
    }
    terms->limits.retries = retries;
    return 0;
}

/* The call of a function that goes by value, as `data`. -1 with an exception. */
static int
pack_call_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms, fp_packed_call *call)
{
    *call = (fp_packed_call){.fn = fn, .kind = FP_CALL_KWARGS, .terms = terms};
    call->packed = whole_call(NULL, args, nargs, kwnames);
    call->id = call->packed ? fp_function_id_by_value(st, p->pool, &p->functions, fn, data) : -1;
    if (call->id == 0) {   /* no room in the table: it travels along */
        call->kind = FP_CALL_WHOLE;
        Py_SETREF(call->packed, fp_call_helper("fastpool.by_value", "Whole", "(OO)", data, call->packed));
    }
    if (call->id < 0) {
        Py_CLEAR(call->packed);
    }
    return call->packed ? 0 : -1;
}

static fp_pickler *
pickle_packed(fp_state *st, PyObject *packed, bool by_value)
{
    return by_value ? fp_pickle_by_value(st, packed) : fp_pickle_call(st, packed);
}

/* ------------------------------------------------------------- failed calls */

static PyObject *
failed_future(fp_pool_object *p, PyObject *exception)
{
    fp_future *f = fp_future_new((PyTypeObject *)p->future_type, NULL, NULL);
    if (f != NULL) {
        fp_future_fail(f, exception);
    }
    return (PyObject *)f;
}

/* A call that cannot be pickled is a future that has failed, as in the standard library: its executor adds the
 * traceback as a cause, its Pool does not. */
static PyObject *
failed_submit(fp_pool_object *p)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return NULL;
    }
    PyObject *exc = fp_fetch_exception(), *f = NULL;
    PyObject *r = p->of_pool ? Py_NewRef(Py_None)
                              : fp_call_helper("fastpool.errors", "add_remote_traceback", "(O)", exc);
    if (r != NULL && (f = failed_future(p, exc)) != NULL) {
        fp_pool_count_demand(p->pool);
    }
    Py_XDECREF(r);
    Py_DECREF(exc);
    return f;
}

PyObject *
fp_submit_to_broken(fp_pool_object *p)
{
    PyObject *exc = fp_death_exception(&p->pool->death);
    if (exc == NULL) {
        return NULL;
    }
    PyObject *f = failed_future(p, exc);
    Py_DECREF(exc);
    return f;
}

/* ------------------------------------------------------------ handing over */

/* Give the task to the pool, and a reference to it away. A new Future, or NULL (without an exception: closed or broken).
 * `accepted`: the Future is the task's, and not the answer of a Pool that has broken. */
static PyObject *
hand_over(fp_pool_object *p, fp_task *task, bool *accepted)
{
    u64 block = task->block, size = task->size;
    fp_future *f = fp_future_new((PyTypeObject *)p->future_type, p, task);
    if (f == NULL) {
        fp_pool_drop_task(p->pool, task);
    }
    int rc = f ? fp_pool_submit(p->pool, task) : FP_NOMEM;
    *accepted = rc == FP_OK;
    if (rc == FP_OK) {
        return (PyObject *)f;
    }
    Py_XDECREF(f);
    if (block) {
        fp_pool_free_room(p->pool, block, size);
    }
    return rc == FP_BROKEN && p->of_pool ? fp_submit_to_broken(p) : NULL;
}

static char *
label_for(fp_state *st, const fp_packed_call *call)
{
    return call->terms->name != NULL ? strdup(call->terms->name) : call->id ? NULL : fp_function_label(st, call->fn);
}

/* A task for the call, its payload to come if `payload` is NULL. NULL with an exception. */
static fp_task *
new_task(fp_state *st, const fp_packed_call *call, const fp_payload *payload)
{
    u32 fn = (u32)call->id, kind = call->kind | call->terms->each;
    char *label = label_for(st, call);
    fp_task *task = payload ? fp_task_new(fn, kind, payload, label) : fp_task_new_unplaced(fn, kind, label);
    if (task == NULL) {
        free(label);
    }
    else if (!fp_task_set_terms(task, &call->terms->limits)) {
        fp_task_free(task);
        task = NULL;
    }
    return task ? task : (fp_task *)PyErr_NoMemory();
}

static void drop_first_deferred(fp_pool_object *p);
static void fail_deferred(fp_pool_object *p, fp_task *task);

/* There is no sender: the last call, which wanted it, fails, or goes with the exception that leaves (Ctrl-C). */
static void
withdraw_only_deferred(fp_pool_object *p, fp_task *task)
{
    if (PyErr_ExceptionMatches(PyExc_Exception)) {
        fail_deferred(p, task);
    }
    else {
        fp_pool_cancel(p->pool, task);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    drop_first_deferred(p);
    PyErr_Restore(type, value, traceback);
}

/* There is one sender while there is anything to send. -1 with an exception that is the caller's. */
static int
want_sender(fp_pool_object *p, fp_task *task)
{
    if (p->sending) {
        return 0;
    }
    p->sending = true;
    PyObject *r = PyObject_CallFunction(p->start_thread, "Oss", p, "send_deferred", "sender");
    if (r == NULL) {
        p->sending = p->sender_runs;   /* Ctrl-C may come when it has begun already */
        if (!p->sender_runs) {
            withdraw_only_deferred(p, task);
        }
    }
    Py_XDECREF(r);
    return PyErr_Occurred() ? -1 : 0;
}

/* Keep it for the sender. A new Future or NULL. */
static PyObject *
defer(fp_state *st, fp_pool_object *p, const fp_packed_call *call)
{
    fp_deferred *d = PyMem_Calloc(1, sizeof *d);
    fp_task *task = d ? new_task(st, call, NULL) : (fp_task *)PyErr_NoMemory();
    if (task == NULL) {
        PyMem_Free(d);
        return NULL;
    }
    bool accepted;
    fp_task_incref(task);
    PyObject *f = hand_over(p, task, &accepted);
    if (!accepted) {
        fp_pool_drop_task(p->pool, task);
        PyMem_Free(d);
        return f;
    }
    *d = (fp_deferred){.task = task, .packed = Py_NewRef(call->packed), .by_value = call->by_value};
    *(p->deferred_first == NULL ? &p->deferred_first : &p->deferred_last->next) = d;
    p->deferred_last = d;
    if (want_sender(p, task) < 0) {
        Py_CLEAR(f);
    }
    return f;
}

/* Room for the payload, and the payload in it. 0, FP_FULL, FP_NOMEM. */
static int
place(fp_pool_object *p, const fp_payload *payload, u64 *block)
{
    *block = 0;
    if (payload->size <= FP_INLINE) {
        return FP_OK;
    }
    int rc;
    if (!fp_blocks_is_run(payload->size)) {   /* soon done, and nobody who has the lock waits for the GIL */
        rc = fp_pool_room(p->pool, payload->size, block);
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        rc = fp_pool_room(p->pool, payload->size, block);
        Py_END_ALLOW_THREADS
    }
    if (rc == FP_OK) {
        fp_payload_copy(payload, fp_shm_at(&p->pool->shm, *block));
    }
    return rc;
}

/* `pickler`: of the payload, if it was one that made it. */
static PyObject *
send_pickled(fp_state *st, fp_pool_object *p, const fp_packed_call *call, const fp_payload *payload, fp_pickler *pickler)
{
    u64 block;
    int rc = place(p, payload, &block);
    if (rc == FP_FULL) {
        return defer(st, p, call);
    }
    if (rc != FP_OK) {
        char *label = fp_function_label(st, call->fn);
        fp_raise_out_of_memory(p->pool, label, payload->size);
        free(label);
        return NULL;
    }
    fp_task *task = new_task(st, call, payload);
    if (task == NULL) {
        if (block) {
            fp_pool_free_room(p->pool, block, payload->size);
        }
        return NULL;
    }
    task->block = block;
    task->holds = pickler ? fp_pickler_take_holds(pickler) : NULL;
    bool accepted;
    return hand_over(p, task, &accepted);
}

static bool
must_defer(const fp_pool_object *p)
{
    return p->deferred_first != NULL || (fp_pool_is_crowded(p->pool) && !fp_pool_has_room(p->pool, false));
}

/* A function that travels with its call: can it be pickled? Its arguments are pickled once only, later. */
static bool
is_picklable(fp_state *st, PyObject *fn)
{
    fp_pickler *pickler = fp_pickle(st, fn);
    if (pickler != NULL) {
        fp_pickler_give_back(st, pickler);
    }
    return pickler != NULL;
}

/* A new Future. NULL with an exception: from pickling, if `*unpicklable`; without one: closed or broken. */
static PyObject *
send_call(fp_state *st, fp_pool_object *p, const fp_packed_call *call, bool *unpicklable)
{
    static const fp_payload nothing;
    *unpicklable = false;
    if (call->packed == NULL) {
        return send_pickled(st, p, call, &nothing, NULL);
    }
    if (must_defer(p)) {
        *unpicklable = call->id == 0 && !call->by_value && !is_picklable(st, call->fn);
        return *unpicklable ? NULL : defer(st, p, call);
    }
    fp_pickler *pickler = pickle_packed(st, call->packed, call->by_value);
    *unpicklable = pickler == NULL;
    if (pickler == NULL) {
        return NULL;
    }
    PyObject *f = send_pickled(st, p, call, &pickler->payload, pickler);
    fp_pickler_give_back(st, pickler);
    return f;
}

/* ---------------------------------------------------------------- by value */

static PyObject *
send_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, bool interactive, PyObject *const *args,
              Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms)
{
    fp_packed_call call;
    bool unpicklable;
    PyObject *f = NULL;
    if (pack_call_by_value(st, p, fn, data, args, nargs, kwnames, terms, &call) == 0) {
        call.by_value = interactive;
        f = send_call(st, p, &call, &unpicklable);
        Py_DECREF(call.packed);
    }
    return f == NULL && PyErr_Occurred() ? failed_submit(p) : f;
}

PyObject *
fp_submit_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, PyObject *const *args,
                   Py_ssize_t nargs, const fp_call_terms *terms)
{
    if (fp_refuse_after_fork(p->pool)) {
        return NULL;
    }
    return send_by_value(st, p, fn, data, fp_function_is_interactive(st, fn), args, nargs, NULL, terms);
}

/* What pickle refuses, or could not find again: the function by value, if that can be. `error`, if not NULL, is what
 * pickle said. NULL without an exception: it cannot be (unless with an error: then its failed Future is returned). */
static PyObject *
submit_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *error, PyObject *const *args,
                Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms, bool *refused)
{
    PyObject *data = fp_call_helper("fastpool.by_value", "function", "(OO)", fn, error ? error : Py_None), *f = NULL;
    *refused = data == Py_None;
    if (data != NULL && PyBytes_Check(data)) {
        f = send_by_value(st, p, fn, data, error == NULL, args, nargs, kwnames, terms);
    }
    else if (error != NULL) {
        if (data != NULL || !PyErr_ExceptionMatches(PyExc_MemoryError)) {
            PyErr_Clear();
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        }
        f = failed_submit(p);
    }
    Py_XDECREF(data);
    return f;
}

PyObject *
fp_submit(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
          const fp_call_terms *terms)
{
    if (fp_refuse_after_fork(p->pool)) {
        return NULL;
    }
    PyObject *f = NULL;
    bool refused, unpicklable = true;
    if (fp_function_is_interactive(st, fn)) {
        f = submit_by_value(st, p, fn, NULL, args, nargs, kwnames, terms, &refused);
        if (!refused) {
            return f;
        }
    }
    fp_packed_call call;
    if (pack_call(st, p, fn, args, nargs, kwnames, terms, &call) == 0) {
        f = send_call(st, p, &call, &unpicklable);
        Py_XDECREF(call.packed);
    }
    if (f != NULL || !PyErr_Occurred() || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return f;
    }
    if (!unpicklable) {
        return failed_submit(p);
    }
    PyObject *error = fp_fetch_exception();
    f = submit_by_value(st, p, fn, error, args, nargs, kwnames, terms, &refused);
    Py_DECREF(error);
    return f;
}

/* --------------------------------------------------------------- the sender */

/* The current exception becomes the task's, whatever it is: there is no caller to leave. */
static void
fail_deferred(fp_pool_object *p, fp_task *task)
{
    PyObject *exc = fp_fetch_exception();
    const char *encode = p->of_pool ? "encode_unwrapped" : "encode_exception";
    PyObject *bytes = fp_call_helper("fastpool.worker", encode, "(O)", exc);
    Py_DECREF(exc);
    fp_death *death = bytes ? calloc(1, sizeof *death) : NULL;
    if (death != NULL && (death->error = malloc((size_t)PyBytes_GET_SIZE(bytes))) != NULL) {
        death->error_size = (u64)PyBytes_GET_SIZE(bytes);
        memcpy(death->error, PyBytes_AS_STRING(bytes), death->error_size);
    }
    PyErr_Clear();
    Py_XDECREF(bytes);
    if (death != NULL && death->error == NULL) {
        free(death);
        death = NULL;
    }
    fp_pool_fail_unplaced(p->pool, task, death);
}

/* 0: done with it; FP_FULL: later. */
static int
send_one_deferred(fp_state *st, fp_pool_object *p, const fp_deferred *d)
{
    if (fp_task_is_done(d->task)) {   /* cancelled */
        return 0;
    }
    if (!fp_pool_has_room(p->pool, true)) {
        return FP_FULL;
    }
    fp_pickler *pickler = pickle_packed(st, d->packed, d->by_value);
    if (pickler == NULL) {
        fail_deferred(p, d->task);
        return 0;
    }
    u64 block;
    const fp_payload *payload = &pickler->payload;
    int rc = place(p, payload, &block);
    if (rc == FP_OK) {
        if (block == 0) {
            fp_payload_write(payload, d->task->small);
        }
        fp_pool_place(p->pool, d->task, block, payload->size, payload->stream, fp_pickler_take_holds(pickler));
    }
    else if (rc == FP_NOMEM) {
        fp_pool_fail_unplaced(p->pool, d->task, NULL);
        rc = 0;
    }
    fp_pickler_give_back(st, pickler);
    return rc;
}

static void
drop_first_deferred(fp_pool_object *p)
{
    fp_deferred *d = p->deferred_first;
    p->deferred_first = d->next;
    if (d->next == NULL) {
        p->deferred_last = NULL;
    }
    if (p->pool->fork_generation == fp_fork_generation()) {
        fp_pool_drop_task(p->pool, d->task);
    }
    PyObject *packed = d->packed;
    PyMem_Free(d);
    Py_DECREF(packed);   /* may run anything */
}

void
fp_send_deferred(fp_state *st, fp_pool_object *p)
{
    if (p->sender_runs) {
        return;
    }
    p->sender_runs = true;
    while (p->deferred_first != NULL) {
        atomic_store(&p->pool->sender.nready, 0);
        if (send_one_deferred(st, p, p->deferred_first) == FP_FULL) {
            Py_BEGIN_ALLOW_THREADS
            fp_wait(p->pool, &p->pool->sender, 1, FP_NEVER);
            Py_END_ALLOW_THREADS
        }
        else {
            drop_first_deferred(p);
        }
    }
    p->sending = p->sender_runs = false;   /* no GIL was let go of since the list was found empty */
}

int
fp_deferred_traverse(fp_pool_object *p, visitproc visit, void *arg)
{
    for (fp_deferred *d = p->deferred_first; d != NULL; d = d->next) {
        Py_VISIT(d->packed);
    }
    return 0;
}

void
fp_deferred_clear(fp_pool_object *p)
{
    while (p->deferred_first != NULL) {
        drop_first_deferred(p);
    }
}
