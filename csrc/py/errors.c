#include "errors.h"
#include "../core/error.h"

PyObject *
fp_call_helper(const char *module, const char *name, const char *format, ...)
{
    PyObject *result = NULL, *args = NULL, *callable = NULL;
    PyObject *mod = PyImport_ImportModule(module);
    if (mod == NULL) {
        return NULL;
    }
    va_list list;
    va_start(list, format);
    args = Py_VaBuildValue(format, list);   /* a format in parentheses: always a tuple */
    va_end(list);
    callable = args ? PyObject_GetAttrString(mod, name) : NULL;
    if (callable != NULL) {
        result = PyObject_Call(callable, args, NULL);
    }
    Py_XDECREF(args);
    Py_XDECREF(callable);
    Py_DECREF(mod);
    return result;
}

PyObject *
fp_raise_code(int code)
{
    switch (code) {
    case FP_NOMEM:
        PyErr_SetString(PyExc_MemoryError, "fastpool could not get the memory it needs");
        break;
    case FP_SYSTEM:
        PyErr_SetFromErrno(PyExc_OSError);
        break;
    case FP_CORRUPT:
        PyErr_SetString(PyExc_RuntimeError, "what should be a fastpool's shared memory is something else");
        break;
    case FP_FULL:
        PyErr_SetString(PyExc_RuntimeError, "all workers of the pool are started already");
        break;
    default:
        PyErr_Format(PyExc_SystemError, "unexpected result %d of fastpool's core", code);
    }
    return NULL;
}

bool
fp_refuse_after_fork(const fp_pool *p)
{
    if (p->fork_generation == fp_fork_generation()) {
        return false;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "this process pool belongs to the process that made it, and this is a process forked "
                    "from that one: make a pool of its own here");
    return true;
}

static PyObject *
fetch(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* What has failed may have said nothing: Python loses exceptions when it has no memory for their tracebacks. */
PyObject *
fp_fetch_exception(void)
{
    if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    return fetch();
}

PyObject *
fp_death_exception(const fp_death *d)
{
    if (d->error != NULL) {
        PyObject *exc = fp_call_helper("pickle", "loads", "(y#)", d->error, (Py_ssize_t)d->error_size);
        if (exc == NULL || PyExceptionInstance_Check(exc)) {
            return exc;
        }
        Py_DECREF(exc);
    }
    if (d->reason != NULL) {
        return fp_call_helper("fastpool.errors", "pool_broken", "(z)", d->reason);
    }
    PyObject *exitcode = d->exitcode_known ? PyLong_FromLong(d->exitcode) : Py_NewRef(Py_None);
    PyObject *error = exitcode == NULL ? NULL
                                       : fp_call_helper("fastpool.errors", "worker_died", "(iOziKiz)", d->pid, exitcode,
                                                        d->label, (int)d->ready, (unsigned long long)d->peak,
                                                        (int)d->oom, d->crash);
    Py_XDECREF(exitcode);
    return error;
}

static PyObject *
out_of_memory(const fp_pool *p, const char *label, u64 size)
{
    return fp_call_helper("fastpool.errors", "out_of_memory", "(zKK)", label, (unsigned long long)size,
                          (unsigned long long)((u64)p->shm.nspans * FP_SPAN));
}

PyObject *
fp_raise_out_of_memory(const fp_pool *p, const char *label, u64 size)
{
    PyObject *exc = out_of_memory(p, label, size);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return NULL;
}

PyObject *
fp_outcome_exception(const fp_pool *p, const fp_task *t)
{
    PyObject *exc;
    switch (t->outcome) {
    case FP_OUTCOME_BROKEN:
        exc = fp_death_exception(t->death != NULL ? t->death : &p->death);
        break;
    case FP_OUTCOME_NOMEM:
        exc = out_of_memory(p, fp_pool_label(p, t), t->reply_size);
        break;
    default:
        exc = fp_call_helper("fastpool.errors", "pool_broken", "(s)",
                             "A worker process wrote a reply that makes no sense.");
    }
    return exc != NULL ? exc : fp_fetch_exception();
}
