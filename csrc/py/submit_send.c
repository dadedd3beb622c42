#include "submit_parts.h"
#include "errors.h"
#include "future.h"
#include "../core/error.h"

#include <stdlib.h>
#include <string.h>

PyObject *
fp_hand_over(fp_pool_object *p, fp_task *task, bool *accepted)
{
    u64 block = task->block, size = task->size;
    PyObject *call = task->call;
    fp_future *f = fp_future_new((PyTypeObject *)p->future_type, p, task);
    if (f == NULL) {
        fp_pool_drop_task(p->pool, task);
    }
    int rc = f ? fp_pool_submit(p->pool, task) : FP_NOMEM;
    *accepted = rc == FP_OK;
    if (rc == FP_OK) {
        return (PyObject *)f;
    }
    Py_XDECREF(f);   /* the task's last reference; not its call's */
    Py_XDECREF(call);
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

fp_task *
fp_new_task(fp_state *st, const fp_packed_call *call, const fp_payload *payload)
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

int
fp_place_payload(fp_pool_object *p, const fp_payload *payload, u64 *block)
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

/* The standard library's executor holds a call until it has ended, so the arguments live until then, and with them what their
 * pickles only name: a manager's object, a file. (Its Pool does not: there it is a matter of luck whether the worker is faster.)
 * What plain data and arrays are made of is all in the pickle. */
int
fp_call_to_hold(const fp_packed_call *call, const fp_pickler *pickler, PyObject **held)
{
    if (call->fn_by_value) {   /* and what it closes over */
        *held = PyTuple_Pack(2, call->fn, call->packed);
        return *held ? 0 : -1;
    }
    *held = pickler->writer->by_reducer ? Py_NewRef(call->packed) : NULL;
    return 0;
}

/* `pickler`: of the payload, if it was one that made it. */
static PyObject *
send_pickled(fp_state *st, fp_pool_object *p, const fp_packed_call *call, const fp_payload *payload, fp_pickler *pickler)
{
    u64 block;
    int rc = fp_place_payload(p, payload, &block);
    if (rc == FP_FULL) {
        return fp_defer_call(st, p, call);
    }
    if (rc != FP_OK) {
        char *label = fp_function_label(st, call->fn);
        fp_raise_out_of_memory(p->pool, label, payload->size);
        free(label);
        return NULL;
    }
    PyObject *held = NULL;
    fp_task *task = pickler && fp_call_to_hold(call, pickler, &held) < 0 ? NULL : fp_new_task(st, call, payload);
    if (task == NULL) {
        if (block) {
            fp_pool_free_room(p->pool, block, payload->size);
        }
        Py_XDECREF(held);
        return NULL;
    }
    task->block = block;
    task->call = held;
    if (pickler != NULL) {
        task->holds = fp_pickler_take_holds(pickler);
        task->hands_over = pickler->writer->hands_over;
    }
    bool accepted;
    return fp_hand_over(p, task, &accepted);
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

PyObject *
fp_send_call(fp_state *st, fp_pool_object *p, const fp_packed_call *call, bool *unpicklable)
{
    static const fp_payload nothing;
    *unpicklable = false;
    if (call->packed == NULL) {
        return send_pickled(st, p, call, &nothing, NULL);
    }
    if (must_defer(p)) {
        *unpicklable = call->id == 0 && !call->by_value && !is_picklable(st, call->fn);
        return *unpicklable ? NULL : fp_defer_call(st, p, call);
    }
    fp_pickler *pickler = fp_pickle_packed(st, call->packed, call->by_value);
    *unpicklable = pickler == NULL;
    if (pickler == NULL) {
        return NULL;
    }
    PyObject *f = send_pickled(st, p, call, &pickler->payload, pickler);
    fp_pickler_give_back(st, pickler);
    return f;
}
