/* The worker process's loop: claim, unpickle, call, pickle, complete.
 *
 * Signals   an idle worker runs pending handlers before each claim and swallows a KeyboardInterrupt:
 *           Ctrl-C at a terminal reaches the whole process group, and an idle worker has nothing to
 *           interrupt. In a task it is that task's exception. Any other exception of a handler ends
 *           the worker, as in the standard library.
 * Fork      a task's own child that returns into the loop must not answer for its parent: it exits.
 */
#include "worker_loop.h"
#include "errors.h"
#include "functions.h"
#include "pickling.h"
#include "shared.h"
#include "unpickling.h"
#include "../core/error.h"
#include "../core/orphan.h"
#include "../core/warm.h"
#include "../core/worker.h"

#include <unistd.h>

typedef struct {
    fp_state *st;
    fp_worker core;
    fp_found_function found[FP_NFUNCTIONS];
    unsigned fork_generation;
    bool of_pool;   /* behave as a worker of multiprocessing.Pool, not of ProcessPoolExecutor */
} fp_loop;

/* When a worker goes by itself; 0: never for that. */
typedef struct {
    unsigned long max_tasks;
    unsigned long long max_memory;   /* bytes, after a task */
    u64 idle;                        /* ns without a task */
} fp_bounds;

#define KEEP_IDLE 1000000000u   /* ns that an idle worker keeps the shared objects, and the arrays' memory, of its last task */

#define LEAVE 1   /* beside the codes of csrc/core: an exception is set that ends this process */

/* ------------------------------------------------------------------- the call */

static PyObject *
find_function(fp_loop *l, u32 id)
{
    const u8 *data;
    u64 size;
    int rc = fp_worker_function(&l->core, id, &data, &size);
    if (rc != FP_OK) {
        return fp_raise_code(rc);
    }
    return fp_function_find(l->st, &l->found[id - 1], data, size,
                            fp_worker_function_is_by_value(&l->core, id));
}

/* fn, args and kwargs (may be NULL) of the call; -1 with an exception. */
static int
unpack_call(fp_loop *l, const fp_call *call, PyObject **fn, PyObject **args, PyObject **kwargs)
{
    *fn = *args = *kwargs = NULL;
    u32 form = call->kind & FP_CALL_FORM;
    if (form != FP_CALL_WHOLE && (*fn = find_function(l, call->fn)) == NULL) {
        return -1;
    }
    if (form == FP_CALL_EMPTY) {
        return (*args = PyTuple_New(0)) ? 0 : -1;
    }
    PyObject *packed = call->data == NULL ? PyErr_NoMemory() : fp_unpickle(l->st, call->data, call->size, call->stream);
    if (packed == NULL) {
        return -1;
    }
    int ok = 0;
    if (form == FP_CALL_ARGS) {
        ok = PyTuple_Check(packed);
        *args = Py_NewRef(packed);
    }
    else if (form == FP_CALL_KWARGS) {
        ok = PyArg_ParseTuple(packed, "O!O!", &PyTuple_Type, args, &PyDict_Type, kwargs);
    }
    else {
        ok = PyArg_ParseTuple(packed, "OO!O!", fn, &PyTuple_Type, args, &PyDict_Type, kwargs);
        Py_XINCREF(*fn);
    }
    if (form != FP_CALL_ARGS) {
        Py_XINCREF(*args);
        Py_XINCREF(*kwargs);
    }
    Py_DECREF(packed);
    if (!ok && !PyErr_Occurred()) {
        fp_raise_code(FP_CORRUPT);
    }
    return ok ? 0 : -1;
}

/* ------------------------------------------------------------------ the reply */

static int send_exception(fp_loop *l, const fp_call *call, const char *helper);

/* 0, FP_CONDEMNED, FP_CORRUPT. */
static int
send_payload(fp_loop *l, const fp_call *call, u32 kind, const fp_payload *payload)
{
    fp_reply reply = {.kind = kind};
    u8 *room;
    int rc = fp_worker_reply(&l->core, call, payload->size, &reply, &room);
    bool is_error = kind == FP_REPLY_ERROR || kind == FP_REPLY_HANDED_ERROR;
    if (rc == FP_SYSTEM && !is_error) {
        PyErr_Format(PyExc_MemoryError, "No room in the address space of the worker, which RLIMIT_AS limits, for a copy of %llu "
                     "bytes of the result.", (unsigned long long)payload->size);
        return send_exception(l, call, l->of_pool ? "encode_pool_exception" : "encode_exception");
    }
    if (rc != FP_OK) {
        reply = (fp_reply){.kind = FP_REPLY_NOMEM, .size = payload->size};
    }
    else {
        reply.stream = payload->stream;
        fp_payload_copy(payload, room);
    }
    return fp_worker_complete(&l->core, call, &reply);
}

static int
send_nothing(fp_loop *l, const fp_call *call, u32 kind)
{
    const fp_reply reply = {.kind = kind};
    return fp_worker_complete(&l->core, call, &reply);
}

/* What fastpool.worker says of the pickle of an exception. */
static bool
hands_over(PyObject *bytes)
{
    PyObject *answer = fp_call_helper("fastpool.worker", "hands_over", "(O)", bytes);
    bool does = answer == Py_True;
    PyErr_Clear();
    Py_XDECREF(answer);
    return does;
}

/* The current exception as the reply. `helper` (of fastpool.worker) makes bytes of it that are sure
 * to unpickle in the parent. */
static int
send_exception(fp_loop *l, const fp_call *call, const char *helper)
{
    PyObject *exc = fp_fetch_exception();
    PyObject *bytes = fp_call_helper("fastpool.worker", helper, "(O)", exc);
    if (bytes == NULL) {   /* a signal's handler in the middle of it, or no memory: once more */
        PyErr_Clear();
        bytes = fp_call_helper("fastpool.worker", "encode_plainly", "(O)", exc);
    }
    Py_DECREF(exc);
    if (bytes == NULL || !PyBytes_Check(bytes)) {
        Py_XDECREF(bytes);
        PyErr_Clear();
        return send_nothing(l, call, FP_REPLY_NOMEM);
    }
    fp_piece piece = {(const u8 *)PyBytes_AS_STRING(bytes), (u64)PyBytes_GET_SIZE(bytes)};
    fp_payload payload = {.pieces = &piece, .npieces = 1};
    fp_payload_measure(&payload);
    int rc = send_payload(l, call, hands_over(bytes) ? FP_REPLY_HANDED_ERROR : FP_REPLY_ERROR, &payload);
    Py_DECREF(bytes);
    return rc;
}

/* Pool's answer for a result that pickle refuses (the exception is set): MaybeEncodingError. */
static int
send_unsendable(fp_loop *l, const fp_call *call, PyObject *result)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return LEAVE;
    }
    PyObject *why = fp_fetch_exception();
    PyObject *error = fp_call_helper("fastpool.worker", "maybe_encoding_error", "(OO)", why, result);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    Py_DECREF(why);
    return send_exception(l, call, "encode_unwrapped");
}

static int
send_result(fp_loop *l, const fp_call *call, PyObject *result)
{
    if (result == Py_None) {
        return send_nothing(l, call, FP_REPLY_NONE);
    }
    fp_pickler *p = fp_pickle(l->st, result);
    if (p == NULL && l->of_pool) {
        return send_unsendable(l, call, result);
    }
    if (p == NULL) {
        return send_exception(l, call, "encode_exception");
    }
    int rc = send_payload(l, call, p->writer->hands_over ? FP_REPLY_HANDED : FP_REPLY_VALUE, &p->payload);
    fp_pickler_give_back(l->st, p);
    return rc;
}

/* ------------------------------------------------------------------- the loop */

/* fn(item), or fn(*item), for each item of a tuple: a list. */
static PyObject *
call_each(PyObject *fn, PyObject *items, bool star)
{
    Py_ssize_t n = PyTuple_GET_SIZE(items);
    PyObject *results = PyList_New(n);
    for (Py_ssize_t i = 0; results != NULL && i < n; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i), *result = NULL;
        if (star) {
            PyObject *args = PySequence_Tuple(item);
            result = args ? PyObject_CallObject(fn, args) : NULL;
            Py_XDECREF(args);
        }
        else {
            result = PyObject_CallOneArg(fn, item);
        }
        if (result == NULL) {
            Py_CLEAR(results);
            break;
        }
        PyList_SET_ITEM(results, i, result);
    }
    return results;
}

static PyObject *
make_call(const fp_call *call, PyObject *fn, PyObject *args, PyObject *kwargs)
{
    if (call->kind & (FP_CALL_EACH | FP_CALL_STAR)) {
        return call_each(fn, args, call->kind & FP_CALL_STAR);
    }
    return PyObject_Call(fn, args, kwargs);
}

static int
run(fp_loop *l, const fp_call *call)
{
    PyObject *fn, *args, *kwargs;
    int rc;
    if (unpack_call(l, call, &fn, &args, &kwargs) < 0) {
        rc = send_exception(l, call, "encode_unreadable_call");
    }
    else {
        fp_worker_begin(&l->core, call);   /* what the call had to import does not count as its time */
        fp_warm_enter(FP_WARM_TASK);
        PyObject *result = make_call(call, fn, args, kwargs);
        fp_warm_enter(FP_WARM_BETWEEN);
        if (l->fork_generation != fp_fork_generation()) {
            _exit(0);   /* a child that the task forked came back */
        }
        if (result == NULL && l->of_pool && !PyErr_ExceptionMatches(PyExc_Exception)) {
            rc = LEAVE;
        }
        else if (result == NULL) {
            rc = send_exception(l, call, l->of_pool ? "encode_pool_exception" : "encode_exception");
        }
        else {
            rc = send_result(l, call, result);
            Py_DECREF(result);
        }
    }
    /* not before the reply is written: the result may live on the memory of an argument. And before the next task comes */
    Py_XDECREF(fn);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return rc;
}

/* Run pending signal handlers; -1: one wants this process to end. */
static int
handle_signals(void)
{
    if (PyErr_CheckSignals() == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        return 0;
    }
    return -1;
}

/* The parent has decided about the task and is about to end this process. */
static int
await_the_end(void)
{
    while (handle_signals() == 0) {
        Py_BEGIN_ALLOW_THREADS
        pause();
        Py_END_ALLOW_THREADS
    }
    return -1;
}

/* What it has come to need since its first task: neither what a fork has copied from the program counts, nor a buffer that
 * many share, the pool's own among them. */
static bool
is_too_large(const fp_loop *l, const fp_bounds *b)
{
    return b->max_memory != 0 && fp_private_memory() > fp_worker_base_memory(&l->core) + b->max_memory;
}

/* Nothing to do: wait. 0; LEAVE: for so long that this worker goes. */
static int
wait_for_task(fp_loop *l, const fp_bounds *b, u64 idle_since)
{
    bool keeps = fp_warm_enter(FP_WARM_IDLE) || fp_shared_is_kept(l->st);
    u64 kept = keeps ? idle_since + KEEP_IDLE : FP_NEVER;
    u64 patience = b->idle != 0 ? idle_since + b->idle : FP_NEVER;
    int rc;
    Py_BEGIN_ALLOW_THREADS
    rc = fp_worker_wait(&l->core, kept < patience ? kept : patience);
    Py_END_ALLOW_THREADS
    fp_warm_enter(FP_WARM_BETWEEN);
    if (rc == FP_TIMEDOUT) {
        fp_shared_rest(l->st);
        fp_warm_drop();
    }
    return rc == FP_TIMEDOUT && fp_now() >= patience ? LEAVE : 0;
}

/* 0: on to the next; -1 with an exception. */
static int
run_one(fp_loop *l, const fp_call *call)
{
    fp_shared_next_task(l->st);
    int rc = run(l, call);
    if (rc == FP_CONDEMNED) {
        return await_the_end();
    }
    if (rc == FP_CORRUPT) {
        fp_raise_code(rc);
    }
    return rc == FP_CORRUPT || rc == LEAVE ? -1 : 0;
}

static int
loop(fp_loop *l, const fp_bounds *b)
{
    unsigned long n = 0;
    bool leaving = false;
    for (u64 idle_since = 0; b->max_tasks == 0 || n < b->max_tasks;) {
        fp_call call;
        if (handle_signals() < 0) {
            return -1;
        }
        int rc = fp_worker_next(&l->core, &call);
        if (rc == FP_CLOSED || (rc == FP_EMPTY && leaving)) {
            break;
        }
        if (rc == FP_EMPTY) {
            if (idle_since == 0) {
                idle_since = fp_now();
            }
            if (wait_for_task(l, b, idle_since) == LEAVE) {
                leaving = fp_worker_may_leave(&l->core);
                idle_since = 0;
            }
            continue;
        }
        if (leaving) {   /* a task came at the last moment */
            fp_worker_stays(&l->core);
            leaving = false;
        }
        idle_since = 0;
        n++;
        if (run_one(l, &call) < 0) {
            return -1;
        }
        if (is_too_large(l, b)) {
            break;
        }
    }
    fp_worker_phase(&l->core, FP_WORKER_RETIRED);
    return 0;
}

static void
forget_functions(fp_loop *l)
{
    for (u32 i = 0; i < FP_NFUNCTIONS; i++) {
        Py_CLEAR(l->found[i].function);
        Py_CLEAR(l->found[i].module);
        Py_CLEAR(l->found[i].name);
    }
}

PyObject *
fp_worker_run(PyObject *module, PyObject *args)
{
    int memfd, bell;
    unsigned int index;
    fp_bounds bounds;
    double idle;
    int of_pool;
    if (!PyArg_ParseTuple(args, "iiI(kKd)p:work", &memfd, &bell, &index, &bounds.max_tasks, &bounds.max_memory, &idle,
                          &of_pool)) {
        return NULL;
    }
    bounds.idle = idle < 1e9 ? (u64)(idle * 1e9) : 0;
    fp_loop *l = PyMem_Calloc(1, sizeof *l);
    if (l == NULL) {
        return PyErr_NoMemory();
    }
    l->st = fp_state_of(module);
    l->of_pool = of_pool;
    l->st->is_worker = true;
    fp_fork_watch();
    l->fork_generation = fp_fork_generation();
    int rc = fp_worker_attach(&l->core, memfd, bell, index);
    if (rc != FP_OK) {
        PyMem_Free(l);
        return fp_raise_code(rc);
    }
    if (bounds.max_memory != 0) {
        fp_worker_note_memory(&l->core);
    }
    /* with a limit, what is kept would count as what a task has left behind */
    fp_warm_become(FP_WARM_BETWEEN, bounds.max_memory != 0 ? 0 : fp_worker_warm_limit(&l->core));
    fp_worker_phase(&l->core, FP_WORKER_RUNNING);
    rc = loop(l, &bounds);
    forget_functions(l);
    l->st->is_worker = false;
    fp_shared_rest(l->st);
    fp_warm_become(FP_WARM_PROGRAM, 0);
    fp_worker_detach(&l->core);
    PyMem_Free(l);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
fp_worker_resignation(PyObject *Py_UNUSED(module), PyObject *args)
{
    int memfd, bell;
    unsigned int index;
    Py_buffer error;
    if (!PyArg_ParseTuple(args, "iiIy*:resign", &memfd, &bell, &index, &error)) {
        return NULL;
    }
    fp_worker core;
    int rc = error.len <= FP_RING ? fp_worker_attach(&core, memfd, bell, index) : FP_NOMEM;
    if (rc == FP_OK) {
        fp_worker_resign(&core, error.buf, (u32)error.len);
        fp_worker_detach(&core);
    }
    PyBuffer_Release(&error);
    return rc != FP_OK ? fp_raise_code(rc) : Py_NewRef(Py_None);
}

PyObject *
fp_worker_watch_owner(PyObject *Py_UNUSED(module), PyObject *args)
{
    int owner, lifeline;
    if (!PyArg_ParseTuple(args, "ii:watch_owner", &owner, &lifeline)) {
        return NULL;
    }
    int rc = fp_orphan_watch(owner, lifeline);
    return rc < 0 ? fp_raise_code(rc) : Py_NewRef(Py_None);
}
