#include "pool_object_parts.h"
#include "errors.h"
#include "../core/error.h"
#include "../core/limits.h"
#include "../core/orphan.h"
#include "../core/os.h"
#include "../core/warm.h"

static u64
earlier(u64 a, u64 b)
{
    return a < b ? a : b;
}

/* The loop that needs no Python: until workers ended, one is to be killed, a thread is missed, or all is done; or until then. */
static int
manage_without_gil(fp_pool_object *p, u32 *ended, int most, u64 then)
{
    fp_pool *pool = p->pool;
    for (;;) {
        bool drained = fp_pool_manage(pool);
        u64 look = fp_pool_enforce_limits(pool), trim = earlier(fp_pool_trim(pool), fp_warm_trim());
        u64 let_go = fp_pool_see_to_ended(pool);
        if (look == 0 || drained || fp_load_acquire(&pool->broken) || fp_load_acquire(&pool->thread_missed) || fp_now() >= then) {
            return 0;
        }
        int n = fp_monitor_wait(&p->monitor, ended, most, earlier(earlier(then, let_go), earlier(look, trim)));
        if (n != 0) {
            return n;
        }
    }
}

/* It listens to the bell meanwhile. */
static int
manage_and_keep(fp_pool_object *p, u32 *ended, int most, u64 then)
{
    fp_keeper keeper;
    fp_warm_join(&keeper, p->pool->bell, fp_warm_limit((u64)p->pool->shm.nspans * FP_SPAN));
    int n = manage_without_gil(p, ended, most, then);
    fp_warm_leave(&keeper);
    return n;
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

PyObject *
fp_pool_object_manage(PyObject *self, PyObject *seconds)
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
    if (fp_refuse_after_fork(fp_as_pool(self)->pool)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    n = manage_and_keep(fp_as_pool(self), ended, 64, then);
    Py_END_ALLOW_THREADS
    if (n == FP_INTR) {
        n = 0;
    }
    return n < 0 ? fp_raise_code(n) : index_list(ended, n);
}

/* One worker to be killed: (index, gently, why, seconds, limit, function), or None. */
PyObject *
fp_pool_object_next_fate(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_sentence s;
    if (fp_refuse_after_fork(fp_as_pool(self)->pool)) {
        return NULL;
    }
    if (!fp_pool_next_fate(fp_as_pool(self)->pool, &s)) {
        Py_RETURN_NONE;
    }
    static const char *const reasons[] = {NULL, "time", "memory"};
    return Py_BuildValue("IOzddz", s.w, s.gently ? Py_True : Py_False, reasons[s.why], (double)s.ran / 1e9,
                         (double)s.limit / 1e9, s.label);
}

PyObject *
fp_pool_object_condemn_for_memory(PyObject *self, PyObject *index)
{
    fp_pool *pool = fp_as_pool(self)->pool;
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

PyObject *
fp_pool_object_fail_overdue(PyObject *self, PyObject *args)
{
    unsigned int w;
    PyObject *error;
    fp_death death;
    fp_pool *pool = fp_as_pool(self)->pool;
    if (!PyArg_ParseTuple(args, "IO:fail_overdue", &w, &error) || fp_refuse_after_fork(pool) ||
        death_by_exception(error, &death) < 0) {
        return NULL;
    }
    if (w < pool->shm.nworkers) {
        fp_pool_fail_overdue(pool, w, death);
    }
    Py_RETURN_NONE;
}

/* break_(pickled exception) */
PyObject *
fp_pool_object_break(PyObject *self, PyObject *error)
{
    if (fp_as_pool(self)->pool->fork_generation != fp_fork_generation()) {
        Py_RETURN_NONE;   /* inert, see below */
    }
    fp_death death;
    if (death_by_exception(error, &death) < 0) {
        return NULL;
    }
    fp_pool_break(fp_as_pool(self)->pool, death);
    Py_RETURN_NONE;
}

#define SIMPLE(name, call)                                              \
    PyObject *                                                          \
    fp_pool_object_##name(PyObject *self, PyObject *Py_UNUSED(ignored)) \
    {                                                                   \
        fp_pool *pool = fp_as_pool(self)->pool;                            \
        if (pool->fork_generation == fp_fork_generation()) {            \
            call(pool); /* a copy in a forked child is inert */         \
        }                                                               \
        Py_RETURN_NONE;                                                 \
    }

SIMPLE(close, fp_pool_close)
SIMPLE(stop_workers, fp_pool_stop_workers)
SIMPLE(cancel_pending, fp_pool_cancel_pending)
SIMPLE(bury, fp_pool_bury)

PyObject *
fp_pool_object_check_owner(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return fp_refuse_after_fork(fp_as_pool(self)->pool) ? NULL : Py_NewRef(Py_None);
}

PyObject *
fp_pool_object_wants_worker(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_pool *pool = fp_as_pool(self)->pool;
    return fp_refuse_after_fork(pool) ? NULL : PyBool_FromLong(fp_pool_wants_worker(pool));
}

PyObject *
fp_pool_object_attachment(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_pool *pool = fp_as_pool(self)->pool;
    int lifeline = fp_lifeline();
    return lifeline < 0 ? fp_raise_code(lifeline) : Py_BuildValue("iii", pool->shm.fd, pool->bell, lifeline);
}
