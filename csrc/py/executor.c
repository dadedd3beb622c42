/* ExecutorBase: submit() of ProcessPoolExecutor, without a Python frame.
 *
 * `_pool` (a _core.Pool, or None) and `_open` are set by the Python part. While `_open` is false, or a
 * worker might have to be started, submit() asks the Python method `_prepare()` first: it starts what is
 * missing, or raises what the standard library raises. Workers may go between that and the call's being there; who reaped
 * them saw no need for others: so submit() looks once more afterwards, and has `_reinforce()` start them.
 */
#include "submit.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *pool;
    char open;
    PyObject *weakrefs;
} fp_executor;

static bool
is_ready(const fp_executor *e)
{
    if (!e->open || e->pool == NULL || e->pool == Py_None) {
        return false;
    }
    fp_pool *pool = ((fp_pool_object *)e->pool)->pool;
    if (pool->fork_generation != fp_fork_generation()) {
        return true;   /* submit refuses; the shared memory is not there to be looked at */
    }
    return fp_load_relaxed(&pool->shm.head->hd_live) >= pool->shm.nworkers || !fp_pool_wants_worker(pool);
}

static int
prepare(fp_state *st, fp_executor *e)
{
    PyObject *r = PyObject_CallMethodNoArgs((PyObject *)e, st->s_prepare);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

/* The call is there; is there a worker for it? Takes the Future, and returns it. */
static PyObject *
see_to_workers(fp_state *st, fp_executor *e, fp_pool *pool, PyObject *f)
{
    if (pool->fork_generation != fp_fork_generation() || fp_load_relaxed(&pool->shm.head->hd_live) >= pool->shm.nworkers ||
        !fp_pool_lacks_worker(pool)) {
        return f;
    }
    PyObject *r = PyObject_CallMethodNoArgs((PyObject *)e, st->s_reinforce);
    if (r == NULL) {
        Py_CLEAR(f);
    }
    Py_XDECREF(r);
    return f;
}

/* `terms`: NULL for the pool's own. */
static PyObject *
submit(fp_state *st, fp_executor *e, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms)
{
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError,
                        "ProcessPoolExecutor.submit() missing 1 required positional argument: 'fn'");
        return NULL;
    }
    bool prepared = false;
    for (;;) {
        if (prepared || !is_ready(e)) {   /* the second time it was closed or broken meanwhile: this says so */
            if (prepare(st, e) < 0) {
                return NULL;
            }
            prepared = true;
            if (e->pool == NULL || e->pool == Py_None) {
                continue;   /* shut down between there and here: it raises */
            }
        }
        fp_pool_object *pool = (fp_pool_object *)Py_NewRef(e->pool);
        PyObject *f = fp_submit(st, pool, args[0], args + 1, nargs - 1, kwnames, terms ? terms : &pool->terms);
        if (f == NULL && !PyErr_Occurred() && prepared && pool->pool->broken) {
            f = fp_submit_to_broken(pool);   /* the call was accepted before: the workers that it started have died */
        }
        if (f != NULL) {
            f = see_to_workers(st, e, pool->pool, f);
        }
        Py_DECREF(pool);
        if (f != NULL || PyErr_Occurred()) {
            return f;
        }
        prepared = true;
    }
}

static PyObject *
executor_submit(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return submit(fp_state_by_type(cls), (fp_executor *)self, args, nargs, kwnames, NULL);
}

static PyObject *
executor_submit_on(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    fp_call_terms terms;
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "_submit_on() needs the terms");
        return NULL;
    }
    if (fp_parse_terms(args[0], &terms) < 0) {
        return NULL;
    }
    return submit(fp_state_by_type(cls), (fp_executor *)self, args + 1, nargs - 1, kwnames, &terms);
}

static PyObject *
get_pool(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *pool = ((fp_executor *)self)->pool;
    return Py_NewRef(pool ? pool : Py_None);
}

static int
set_pool(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    if (value == NULL || (value != Py_None && !Py_IS_TYPE(value, st->Pool))) {
        PyErr_SetString(PyExc_TypeError, "_pool must be a Pool or None");
        return -1;
    }
    Py_XSETREF(((fp_executor *)self)->pool, Py_NewRef(value));
    return 0;
}

static int
executor_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((fp_executor *)self)->pool);
    return 0;
}

static int
executor_clear(PyObject *self)
{
    Py_CLEAR(((fp_executor *)self)->pool);
    return 0;
}

static void
executor_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((fp_executor *)self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    executor_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef executor_methods[] = {
    {"submit", (PyCFunction)(void (*)(void))executor_submit, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "submit($self, fn, /, *args, **kwargs)\n--\n\n"
     "Have a worker process call fn(*args, **kwargs) and return a Future for the call.\n\n"
     "The call is pickled here and now. What cannot be pickled fails the Future, never submit() itself.\n"
     "Raises BrokenProcessPool if the pool is broken, RuntimeError after shutdown().")},
    {"_submit_on", (PyCFunction)(void (*)(void))executor_submit_on, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(
     "_submit_on(terms, fn, /, *args, **kwargs)\n\nsubmit() on terms of its own, see _core.Pool.submit_on.")},
    {NULL},
};

static PyGetSetDef executor_getset[] = {
    {"_pool", get_pool, set_pool, NULL, NULL},
    {NULL},
};

static PyMemberDef executor_members[] = {
    {"_open", T_BOOL, offsetof(fp_executor, open), 0, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(fp_executor, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot executor_slots[] = {
    {Py_tp_dealloc, executor_dealloc},
    {Py_tp_traverse, executor_traverse},
    {Py_tp_clear, executor_clear},
    {Py_tp_methods, executor_methods},
    {Py_tp_getset, executor_getset},
    {Py_tp_members, executor_members},
    {Py_tp_doc, PyDoc_STR("submit() of ProcessPoolExecutor.")},
    {0, NULL},
};

PyType_Spec fp_executor_spec = {
    .name = "fastpool._core.ExecutorBase",
    .basicsize = sizeof(fp_executor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = executor_slots,
};
