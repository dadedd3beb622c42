#include "submit_parts.h"
#include "errors.h"
#include "../core/error.h"
#include "../core/wait.h"

#include <stdlib.h>
#include <string.h>

struct fp_deferred {
    fp_deferred *next;
    fp_task *task;
    fp_packed_call call;   /* `fn` and `packed` are its own; of the rest, what pickling needs */
};

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
    fp_pool_fail_unplaced(p->pool, task, death, 0);
}

/* Out of the list, for release_deferred(). */
static fp_deferred *
take_deferred(fp_pool_object *p, const fp_task *task)
{
    fp_deferred *before = NULL, *d = p->deferred_first;
    for (; d->task != task; d = d->next) {
        before = d;
    }
    *(before == NULL ? &p->deferred_first : &before->next) = d->next;
    if (d->next == NULL) {
        p->deferred_last = before;
    }
    return d;
}

static void
release_deferred(fp_pool_object *p, fp_deferred *d)
{
    if (p->pool->fork_generation == fp_fork_generation()) {
        fp_pool_drop_task(p->pool, d->task);
    }
    PyObject *packed = d->call.packed, *fn = d->call.fn;
    PyMem_Free(d);
    Py_DECREF(packed);   /* may run anything */
    Py_DECREF(fn);
}

/* There is no sender: the call that wanted it fails, or goes with the exception that leaves (Ctrl-C). */
static void
withdraw_deferred(fp_pool_object *p, fp_task *task)
{
    fp_deferred *d = take_deferred(p, task);   /* at once: the thread may begin after all, and find it, while Python runs below */
    if (PyErr_ExceptionMatches(PyExc_Exception)) {
        fail_deferred(p, task);
    }
    else {
        fp_pool_cancel(p->pool, task);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    release_deferred(p, d);
    PyErr_Restore(type, value, traceback);
}

/* There is one sender while there is anything to send. -1 with an exception. */
static int
start_sender(fp_pool_object *p)
{
    return fp_pool_object_start_thread(p, "send_deferred", "sender", &p->sending, &p->sender_runs);
}

/* For that call, which fails if there is none. -1 with an exception that is the caller's. */
static int
want_sender(fp_pool_object *p, fp_task *task)
{
    if (p->sending || start_sender(p) == 0) {
        return 0;
    }
    if (!p->sending) {
        withdraw_deferred(p, task);
        if (p->deferred_first != NULL) {
            fp_pool_object_miss_thread(p);
        }
    }
    return PyErr_Occurred() ? -1 : 0;   /* what is no Exception is the caller's, else it is the call's */
}

int
fp_make_up_for_sender(fp_pool_object *p)
{
    return p->deferred_first == NULL || p->sending ? 0 : start_sender(p);
}

PyObject *
fp_defer_call(fp_state *st, fp_pool_object *p, const fp_packed_call *call)
{
    fp_deferred *d = PyMem_Calloc(1, sizeof *d);
    fp_task *task = d ? fp_new_task(st, call, NULL) : (fp_task *)PyErr_NoMemory();
    if (task == NULL) {
        PyMem_Free(d);
        return NULL;
    }
    bool accepted;
    fp_task_incref(task);
    PyObject *f = fp_hand_over(p, task, &accepted);
    if (!accepted) {
        fp_pool_drop_task(p->pool, task);
        PyMem_Free(d);
        return f;
    }
    *d = (fp_deferred){.task = task, .call = *call};
    d->call.terms = NULL;
    Py_INCREF(d->call.packed);
    Py_INCREF(d->call.fn);
    *(p->deferred_first == NULL ? &p->deferred_first : &p->deferred_last->next) = d;
    p->deferred_last = d;
    if (want_sender(p, task) < 0) {
        Py_CLEAR(f);
    }
    return f;
}

/* --------------------------------------------------------------- the sender */

static void
place_deferred(fp_pool_object *p, const fp_deferred *d, u64 block, PyObject *held, fp_pickler *pickler)
{
    fp_placement placement = {
        .block = block,
        .size = pickler->payload.size,
        .stream = pickler->payload.stream,
        .holds = fp_pickler_take_holds(pickler),
        .call = held,
        .hands_over = pickler->writer->hands_over,
    };
    if (!fp_pool_place(p->pool, d->task, &placement)) {
        Py_XDECREF(held);
    }
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
    fp_pickler *pickler = fp_pickle_packed(st, d->call.packed, d->call.by_value);
    PyObject *held = NULL;
    if (pickler == NULL || fp_call_to_hold(&d->call, pickler, &held) < 0) {
        fail_deferred(p, d->task);
        if (pickler != NULL) {
            fp_pickler_give_back(st, pickler);
        }
        return 0;
    }
    u64 block;
    const fp_payload *payload = &pickler->payload;
    int rc = fp_place_payload(p, payload, &block);
    if (rc == FP_OK) {
        if (block == 0) {
            fp_payload_write(payload, d->task->small);
        }
        place_deferred(p, d, block, held, pickler);
        held = NULL;
    }
    else if (rc == FP_NOMEM) {
        fp_pool_fail_unplaced(p->pool, d->task, NULL, payload->size);
        rc = 0;
    }
    fp_pickler_give_back(st, pickler);
    Py_XDECREF(held);
    return rc;
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
            release_deferred(p, take_deferred(p, p->deferred_first->task));
        }
    }
    p->sending = p->sender_runs = false;   /* no GIL was let go of since the list was found empty */
}

int
fp_deferred_traverse(fp_pool_object *p, visitproc visit, void *arg)
{
    for (fp_deferred *d = p->deferred_first; d != NULL; d = d->next) {
        Py_VISIT(d->call.packed);
        Py_VISIT(d->call.fn);
    }
    return 0;
}

void
fp_deferred_clear(fp_pool_object *p)
{
    while (p->deferred_first != NULL) {
        release_deferred(p, take_deferred(p, p->deferred_first->task));
    }
}
