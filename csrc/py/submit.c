#include "submit_parts.h"
#include "errors.h"
#include "future.h"

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

/* ---------------------------------------------------------------- by value */

static PyObject *
send_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, bool interactive, PyObject *const *args,
              Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms)
{
    fp_packed_call call;
    bool unpicklable;
    PyObject *f = NULL;
    if (fp_pack_call_by_value(st, p, fn, data, args, nargs, kwnames, terms, &call) == 0) {
        call.by_value = interactive;
        f = fp_send_call(st, p, &call, &unpicklable);
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
    if (fp_pack_call(st, p, fn, args, nargs, kwnames, terms, &call) == 0) {
        f = fp_send_call(st, p, &call, &unpicklable);
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
