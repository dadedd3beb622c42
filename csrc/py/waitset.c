/* WaitSet: native waiting for several futures of one pool: wait() and as_completed(). */
#include "errors.h"
#include "future.h"
#include "../core/error.h"

typedef struct {
    PyObject_HEAD
    fp_pool_object *pool;
    PyObject *futures;     /* list; node i waits for futures[i]; None once it was handed out */
    fp_waiter waiter;
    fp_node *nodes;
    Py_ssize_t size;
} fp_waitset;

static void
stop_waiting(fp_waitset *ws)
{
    if (ws->nodes == NULL) {
        return;
    }
    if (ws->pool->pool->fork_generation == fp_fork_generation()) {
        for (Py_ssize_t i = 0; i < ws->size; i++) {
            fp_wait_remove(ws->pool->pool, &ws->nodes[i]);
            fp_pool_drop_task(ws->pool->pool, ws->nodes[i].task);
        }
    }
    PyMem_Free(ws->nodes);
    ws->nodes = NULL;
    ws->size = 0;
}

static int
waitset_clear(PyObject *self)
{
    fp_waitset *ws = (fp_waitset *)self;
    stop_waiting(ws);
    Py_CLEAR(ws->futures);
    Py_CLEAR(ws->pool);
    return 0;
}

static int
waitset_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((fp_waitset *)self)->futures);
    Py_VISIT(((fp_waitset *)self)->pool);
    return 0;
}

static void
waitset_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    waitset_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Wait natively for every future of ws->futures. */
static int
start_waiting(fp_waitset *ws)
{
    Py_ssize_t n = PyList_GET_SIZE(ws->futures);
    ws->nodes = PyMem_Calloc((size_t)n, sizeof *ws->nodes);
    if (ws->nodes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (; ws->size < n; ws->size++) {
        fp_task *task = ((fp_future *)PyList_GET_ITEM(ws->futures, ws->size))->task;
        fp_task_incref(task);
        fp_wait_add(ws->pool->pool, &ws->waiter, &ws->nodes[ws->size], task);
    }
    return 0;
}

/* Sort the futures into those that are done and those that can be waited for here.
 * 1: all are; 0: some can be neither (another pool's, foreign, made by hand); -1: error. */
static int
sort_futures(fp_state *st, fp_waitset *ws, PyObject *futures, PyObject *done)
{
    PyObject *iterator = PyObject_GetIter(futures), *item;
    if (iterator == NULL) {
        return -1;
    }
    int rc = 1;
    while (rc == 1 && (item = PyIter_Next(iterator)) != NULL) {
        fp_future *f = (fp_future *)item;
        if (!PyObject_TypeCheck(item, st->Future)) {
            rc = 0;
        }
        else if (fp_future_is_final(f)) {
            rc = PyList_Append(done, item) < 0 ? -1 : 1;
        }
        else if (f->task == NULL || f->foreign || (ws->pool != NULL && ws->pool != f->pool)) {
            rc = 0;
        }
        else if (fp_refuse_after_fork(f->pool->pool)) {
            rc = -1;
        }
        else {
            if (ws->pool == NULL) {
                ws->pool = (fp_pool_object *)Py_NewRef(f->pool);
            }
            rc = PyList_Append(ws->futures, item) < 0 ? -1 : 1;
        }
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : rc;
}

PyObject *
fp_watch_futures(PyObject *module, PyObject *futures)
{
    fp_state *st = fp_state_of(module);
    PyObject *done = PyList_New(0), *answer = NULL;
    fp_waitset *ws = done ? (fp_waitset *)st->WaitSet->tp_alloc(st->WaitSet, 0) : NULL;
    if (ws == NULL) {
        goto end;
    }
    fp_waiter_init(&ws->waiter);
    ws->futures = PyList_New(0);
    if (ws->futures == NULL) {
        goto end;
    }
    int rc = sort_futures(st, ws, futures, done);
    if (rc == 0) {
        answer = Py_NewRef(Py_None);
    }
    else if (rc > 0 && (ws->pool == NULL || start_waiting(ws) == 0)) {
        answer = PyTuple_Pack(2, done, ws);
    }
end:
    Py_XDECREF(done);
    Py_XDECREF(ws);
    return answer;
}

/* The future behind a ready node; a foreign one first becomes visibly done. */
static PyObject *
hand_out(fp_waitset *ws, fp_node *node)
{
    Py_ssize_t i = node - ws->nodes;
    PyObject *f = Py_NewRef(PyList_GET_ITEM(ws->futures, i));
    PyList_SetItem(ws->futures, i, Py_NewRef(Py_None));   /* hold it no longer */
    if (!fp_future_is_final((fp_future *)f)) {
        PyObject *r = PyObject_CallMethod(f, "exception", NULL);
        Py_XDECREF(r);
        if (r == NULL && (!PyErr_ExceptionMatches(PyExc_Exception) || !fp_future_is_final((fp_future *)f))) {
            Py_DECREF(f);
            return NULL;
        }
        PyErr_Clear();
    }
    return f;
}

/* wait(count, seconds or None) -> futures that are ready, [] if time ran out first */
static PyObject *
waitset_wait(PyObject *self, PyObject *args)
{
    fp_waitset *ws = (fp_waitset *)self;
    unsigned int count;
    double seconds;
    if (!PyArg_ParseTuple(args, "Id:wait", &count, &seconds)) {
        return NULL;
    }
    u64 deadline = seconds < 0 ? FP_NEVER : fp_now() + (u64)(seconds < 4e9 ? seconds * 1e9 : 4e18);
    PyObject *ready = PyList_New(0);
    if (ready == NULL || ws->nodes == NULL) {
        return ready;
    }
    if (fp_wait_with_signals(ws->pool->pool, &ws->waiter, count, deadline) < 0) {
        Py_DECREF(ready);
        return NULL;
    }
    fp_node *node;
    while ((node = fp_wait_take(ws->pool->pool, &ws->waiter)) != NULL) {
        PyObject *f = hand_out(ws, node);
        int appended = f ? PyList_Append(ready, f) : -1;
        Py_XDECREF(f);
        if (appended < 0) {
            Py_DECREF(ready);
            return NULL;
        }
    }
    return ready;
}

static PyMethodDef waitset_methods[] = {
    {"wait", waitset_wait, METH_VARARGS, PyDoc_STR(
     "wait($self, count, seconds, /)\n--\n\nWait until `count` more futures are done, at most `seconds` (negative: for ever), and\n"
     "return all that are: each once.")},
    {NULL},
};

static PyType_Slot waitset_slots[] = {
    {Py_tp_dealloc, waitset_dealloc},
    {Py_tp_traverse, waitset_traverse},
    {Py_tp_clear, waitset_clear},
    {Py_tp_methods, waitset_methods},
    {Py_tp_doc, PyDoc_STR("Native waiting for several futures of one pool.")},
    {0, NULL},
};

PyType_Spec fp_waitset_spec = {
    .name = "fastpool._core.WaitSet",
    .basicsize = sizeof(fp_waitset),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = waitset_slots,
};
