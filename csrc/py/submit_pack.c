#include "submit_parts.h"
#include "errors.h"

static PyObject *
positional_of(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *positional = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; positional != NULL && i < nargs; i++) {
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    }
    return positional;
}

static PyObject *
keywords_of(PyObject *const *values, PyObject *kwnames)
{
    PyObject *keywords = PyDict_New();
    Py_ssize_t n = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; keywords != NULL && i < n; i++) {
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i), values[i]) < 0) {
            Py_CLEAR(keywords);
        }
    }
    return keywords;
}

/* (args, kwargs), after fn if there is one */
static PyObject *
whole_call(PyObject *fn, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *positional = positional_of(args, nargs), *keywords = keywords_of(args + nargs, kwnames), *call = NULL;
    if (positional != NULL && keywords != NULL) {
        call = fn ? PyTuple_Pack(3, fn, positional, keywords) : PyTuple_Pack(2, positional, keywords);
    }
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return call;
}

int
fp_pack_call(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
             const fp_call_terms *terms, fp_packed_call *call)
{
    bool keywords = kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0;
    *call = (fp_packed_call){.fn = fn, .id = fp_function_id(st, p->pool, &p->functions, fn), .terms = terms};
    if (call->id < 0) {
        return -1;
    }
    if (call->id == 0) {
        call->kind = FP_CALL_WHOLE;
        call->packed = whole_call(fn, args, nargs, kwnames);
    }
    else if (keywords) {
        call->kind = FP_CALL_KWARGS;
        call->packed = whole_call(NULL, args, nargs, kwnames);
    }
    else if (nargs > 0) {
        call->kind = FP_CALL_ARGS;
        call->packed = positional_of(args, nargs);
    }
    else {
        call->kind = FP_CALL_EMPTY;
        return 0;
    }
    return call->packed ? 0 : -1;
}

/* Seconds as ns. -1 with an exception. */
static int
parse_seconds(PyObject *object, u64 *ns)
{
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "seconds must be >= 0");
        return -1;
    }
    *ns = seconds < 1e9 ? (u64)(seconds * 1e9) : 0;   /* after 30 years: never */
    if (seconds > 0 && *ns < 1000 && seconds < 1e9) {
        *ns = 1000;   /* less would keep the manager busy with looking */
    }
    return 0;
}

int
fp_parse_terms(PyObject *tuple, fp_call_terms *terms)
{
    PyObject *limit, *grace;
    unsigned int retries;
    *terms = (fp_call_terms){.name = NULL};
    if (!PyArg_ParseTuple(tuple, "OOIz:terms", &limit, &grace, &retries, &terms->name) ||
        parse_seconds(limit, &terms->limits.limit) < 0 || parse_seconds(grace, &terms->limits.grace) < 0) {
        return -1;
    }
    terms->limits.retries = retries;
    return 0;
}

int
fp_pack_call_by_value(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *data, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames, const fp_call_terms *terms, fp_packed_call *call)
{
    *call = (fp_packed_call){.fn = fn, .kind = FP_CALL_KWARGS, .fn_by_value = true, .terms = terms};
    call->packed = whole_call(NULL, args, nargs, kwnames);
    call->id = call->packed ? fp_function_id_by_value(st, p->pool, &p->functions, fn, data) : -1;
    if (call->id == 0) {   /* no room in the table: it travels along */
        call->kind = FP_CALL_WHOLE;
        Py_SETREF(call->packed, fp_call_helper("fastpool.by_value", "Whole", "(OO)", data, call->packed));
    }
    if (call->id < 0) {
        Py_CLEAR(call->packed);
    }
    return call->packed ? 0 : -1;
}

fp_pickler *
fp_pickle_packed(fp_state *st, PyObject *packed, bool by_value)
{
    return by_value ? fp_pickle_by_value(st, packed) : fp_pickle_call(st, packed);
}
