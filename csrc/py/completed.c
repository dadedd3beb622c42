/* CompletionQueue: futures of one pool in the order of their completion, while more are added.
 *
 * Threads   one adds, one gets (the Python part sees to that); both hold the GIL but while waiting.
 * Memory    an entry for each future that was added and not handed out, in a list of their own, because its node
 *           must stay where it is. The queue holds the futures, and the tasks that it waits for.
 */
#include "errors.h"
#include "future.h"
#include "../core/error.h"

typedef struct entry {
    fp_node node;                /* first: a ready node is its entry */
    struct entry *before, *after;
    PyObject *future;
} entry;

typedef struct {
    PyObject_HEAD
    fp_pool_object *pool;
    fp_waiter waiter;
    entry *entries;              /* waited for */
    PyObject *done;              /* list: futures without a task, which have failed before they became one */
    Py_ssize_t taken;            /* of that list */
    Py_ssize_t nentries;
} fp_completion_queue;

static void
unlink_entry(fp_completion_queue *q, entry *e)
{
    if (e->before != NULL) {
        e->before->after = e->after;
    }
    else {
        q->entries = e->after;
    }
    if (e->after != NULL) {
        e->after->before = e->before;
    }
    q->nentries--;
}

static void
stop_waiting(fp_completion_queue *q)
{
    bool here = q->pool != NULL && q->pool->pool->fork_generation == fp_fork_generation();
    while (q->entries != NULL) {
        entry *e = q->entries;
        unlink_entry(q, e);
        if (here) {
            fp_wait_remove(q->pool->pool, &e->node);
            fp_pool_drop_task(q->pool->pool, e->node.task);
        }
        Py_DECREF(e->future);
        PyMem_Free(e);
    }
}

static int
queue_clear(PyObject *self)
{
    fp_completion_queue *q = (fp_completion_queue *)self;
    stop_waiting(q);
    Py_CLEAR(q->done);
    Py_CLEAR(q->pool);
    return 0;
}

static int
queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    fp_completion_queue *q = (fp_completion_queue *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(q->pool);
    Py_VISIT(q->done);
    for (entry *e = q->entries; e != NULL; e = e->after) {
        Py_VISIT(e->future);
    }
    return 0;
}

static void
queue_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    queue_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    fp_state *st = fp_state_by_type(type);
    static char *names[] = {"pool", NULL};
    PyObject *pool;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:CompletionQueue", names, st->Pool, &pool)) {
        return NULL;
    }
    fp_completion_queue *q = (fp_completion_queue *)type->tp_alloc(type, 0);
    if (q != NULL) {
        q->pool = (fp_pool_object *)Py_NewRef(pool);
        fp_waiter_init(&q->waiter);
        q->done = PyList_New(0);
        if (q->done == NULL) {
            Py_CLEAR(q);
        }
    }
    return (PyObject *)q;
}

static PyObject *
queue_add(PyObject *self, PyObject *future)
{
    fp_completion_queue *q = (fp_completion_queue *)self;
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    fp_future *f = (fp_future *)future;
    if (!PyObject_TypeCheck(future, st->Future)) {
        PyErr_SetString(PyExc_TypeError, "not a future of fastpool");
        return NULL;
    }
    if (f->task == NULL || f->pool != q->pool || f->foreign) {
        return PyList_Append(q->done, future) < 0 ? NULL : Py_NewRef(Py_None);
    }
    entry *e = PyMem_Calloc(1, sizeof *e);
    if (e == NULL) {
        return PyErr_NoMemory();
    }
    e->future = Py_NewRef(future);
    e->after = q->entries;
    if (e->after != NULL) {
        e->after->before = e;
    }
    q->entries = e;
    q->nentries++;
    fp_task_incref(f->task);
    fp_wait_add(q->pool->pool, &q->waiter, &e->node, f->task);
    Py_RETURN_NONE;
}

/* A new reference, or NULL if none is there. */
static PyObject *
take(fp_completion_queue *q)
{
    if (q->taken < PyList_GET_SIZE(q->done)) {
        PyObject *f = Py_NewRef(PyList_GET_ITEM(q->done, q->taken));
        PyList_SetItem(q->done, q->taken++, Py_NewRef(Py_None));
        if (q->taken == PyList_GET_SIZE(q->done)) {
            if (PyList_SetSlice(q->done, 0, q->taken, NULL) == 0) {
                q->taken = 0;
            }
            PyErr_Clear();   /* without memory the list stays as long as it is */
        }
        return f;
    }
    entry *e = (entry *)fp_wait_take(q->pool->pool, &q->waiter);
    if (e == NULL) {
        return NULL;
    }
    PyObject *f = e->future;
    unlink_entry(q, e);
    fp_pool_drop_task(q->pool->pool, e->node.task);
    PyMem_Free(e);
    return f;
}

/* get(seconds, negative: for ever) -> a future that is done, None if time ran out or nothing is waited for */
static PyObject *
queue_get(PyObject *self, PyObject *arg)
{
    fp_completion_queue *q = (fp_completion_queue *)self;
    double seconds = PyFloat_AsDouble(arg);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (fp_refuse_after_fork(q->pool->pool)) {
        return NULL;
    }
    PyObject *f = take(q);
    if (f != NULL || q->entries == NULL) {
        return f ? f : Py_NewRef(Py_None);
    }
    u64 deadline = seconds < 0 ? FP_NEVER : fp_now() + (u64)(seconds < 4e9 ? seconds * 1e9 : 4e18);
    if (fp_wait_with_signals(q->pool->pool, &q->waiter, 1, deadline) < 0) {
        return NULL;
    }
    f = take(q);
    return f ? f : Py_NewRef(Py_None);
}

static Py_ssize_t
queue_length(PyObject *self)
{
    fp_completion_queue *q = (fp_completion_queue *)self;
    return q->nentries + PyList_GET_SIZE(q->done) - q->taken;
}

static PyMethodDef queue_methods[] = {
    {"add", queue_add, METH_O, PyDoc_STR("add($self, future, /)\n--\n\nHand it out once it is done.")},
    {"get", queue_get, METH_O, PyDoc_STR(
     "get($self, seconds, /)\n--\n\nThe next future that is done. None after so many seconds (negative: never), or at once if no\n"
     "future was added that has not been handed out.")},
    {NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {Py_sq_length, queue_length},
    {Py_tp_doc, PyDoc_STR("CompletionQueue(pool)\n--\n\nFutures of one pool, handed out in the order of their completion.")},
    {0, NULL},
};

PyType_Spec fp_completion_queue_spec = {
    .name = "fastpool._core.CompletionQueue",
    .basicsize = sizeof(fp_completion_queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};
