#include "pool_object_parts.h"
#include "errors.h"
#include "../core/crash.h"
#include "../core/error.h"

PyObject *
fp_pool_object_new_worker(PyObject *self, PyObject *place)
{
    fp_pool *pool = fp_as_pool(self)->pool;
    if (fp_refuse_after_fork(pool)) {
        return NULL;
    }
    int w = fp_pool_new_worker(pool);
    if (w < 0) {
        Py_RETURN_FALSE;
    }
    PyObject *index = PyLong_FromLong(w);
    if (index == NULL || PyObject_SetAttrString(place, "index", index) < 0) {
        fp_task *nothing;
        fp_pool_reap(pool, (u32)w, &nothing);
        Py_XDECREF(index);
        return NULL;
    }
    Py_DECREF(index);
    Py_RETURN_TRUE;
}

/* The pool, if it has a worker of that number and is this process's; else NULL with an exception. */
static fp_pool *
pool_of_worker(PyObject *self, unsigned long w)
{
    fp_pool *pool = fp_as_pool(self)->pool;
    if (fp_refuse_after_fork(pool)) {
        return NULL;
    }
    if (w >= pool->shm.nworkers) {
        PyErr_SetString(PyExc_ValueError, "no such worker");
        return NULL;
    }
    return pool;
}

/* The same, of a worker as Python names it. */
static fp_pool *
pool_with_worker(PyObject *self, PyObject *index, u32 *w)
{
    unsigned long value = PyLong_AsUnsignedLong(index);
    if (PyErr_Occurred()) {
        return NULL;
    }
    *w = (u32)value;
    return pool_of_worker(self, value);
}

PyObject *
fp_pool_object_new_ticket(PyObject *self, PyObject *index)
{
    u32 w;
    fp_pool *pool = pool_with_worker(self, index, &w);
    return pool == NULL ? NULL : PyLong_FromUnsignedLong(fp_pool_new_ticket(pool, w));
}

/* The process could not be started. */
PyObject *
fp_pool_object_cancel_worker(PyObject *self, PyObject *index)
{
    u32 w;
    fp_pool *pool = pool_with_worker(self, index, &w);
    if (pool == NULL) {
        return NULL;
    }
    fp_task *task;
    fp_monitor_remove(&fp_as_pool(self)->monitor, w);
    fp_pool_reap(pool, w, &task);
    if (task != NULL) {   /* it had begun before it was ended: its death has no details */
        fp_pool_fail(pool, task);
    }
    Py_RETURN_NONE;
}

PyObject *
fp_pool_object_enlist(PyObject *self, PyObject *args)
{
    unsigned int w;
    int pid, sentinel;
    if (!PyArg_ParseTuple(args, "Iii:enlist", &w, &pid, &sentinel)) {
        return NULL;
    }
    fp_pool *pool = pool_of_worker(self, w);
    if (pool == NULL) {
        return NULL;
    }
    int rc = fp_monitor_add(&fp_as_pool(self)->monitor, w, pid, sentinel);
    if (rc < 0) {
        return fp_raise_code(rc);
    }
    fp_pool_admit(pool, w);
    Py_RETURN_NONE;
}

PyObject *
fp_pool_object_enlisted(PyObject *self, PyObject *index)
{
    u32 w;
    if (pool_with_worker(self, index, &w) == NULL) {
        return NULL;
    }
    return PyBool_FromLong(fp_monitor_has(&fp_as_pool(self)->monitor, w));
}

PyObject *
fp_pool_object_lives(PyObject *self, PyObject *index)
{
    u32 w;
    if (pool_with_worker(self, index, &w) == NULL) {
        return NULL;
    }
    return PyBool_FromLong(fp_monitor_lives(&fp_as_pool(self)->monitor, w));
}

PyObject *
fp_pool_object_unwatch(PyObject *self, PyObject *index)
{
    u32 w;
    if (pool_with_worker(self, index, &w) == NULL) {
        return NULL;
    }
    fp_monitor_remove(&fp_as_pool(self)->monitor, w);
    Py_RETURN_NONE;
}

static char *
copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

PyObject *
fp_pool_object_base_memory(PyObject *self, PyObject *index)
{
    u32 w;
    fp_pool *pool = pool_with_worker(self, index, &w);
    return pool == NULL ? NULL : PyLong_FromUnsignedLongLong(fp_load_relaxed(&pool->shm.workers[w].wk_base));
}

/* What faulthandler has written in that worker: a str, '' if nothing. */
PyObject *
fp_pool_object_crash_text(PyObject *self, PyObject *index)
{
    static const u64 most = 64u << 10;
    u32 w;
    fp_pool *pool = pool_with_worker(self, index, &w);
    if (pool == NULL) {
        return NULL;
    }
    char *text = PyMem_Malloc(most);
    if (text == NULL) {
        return PyErr_NoMemory();
    }
    u64 n = fp_crash_read(&pool->shm, w, text, most);
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

PyObject *
fp_pool_object_reap(PyObject *self, PyObject *args)
{
    fp_pool_object *p = fp_as_pool(self);
    unsigned int w;
    int pid, oom;
    unsigned long long peak;
    const char *crash;
    PyObject *exitcode;
    if (!PyArg_ParseTuple(args, "IiOKpz:reap", &w, &pid, &exitcode, &peak, &oom, &crash)) {
        return NULL;
    }
    fp_pool *pool = pool_of_worker(self, w);
    if (pool == NULL) {
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
