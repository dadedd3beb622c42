#include "functions.h"
#include "pickling.h"
#include "unpickling.h"
#include "../core/error.h"

#include <string.h>

/* sys.modules[module].__dict__[name], borrowed; NULL (no exception) if it is not there. */
static PyObject *
look_up(fp_state *st, PyObject *module, PyObject *name)
{
    PyObject *m = PyDict_GetItemWithError(st->modules, module);
    if (m == NULL || !PyModule_Check(m)) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *found = PyDict_GetItemWithError(PyModule_GetDict(m), name);
    if (found == NULL) {
        PyErr_Clear();
    }
    return found;
}

/* Its module and name as pickle sees them, new references; false: not of the kind that has them. */
static bool
names_of(fp_state *st, PyObject *function, PyObject **module, PyObject **name)
{
    if (!PyFunction_Check(function) && !PyCFunction_CheckExact(function)) {
        return false;
    }
    *module = PyObject_GetAttr(function, st->s_module);
    *name = *module ? PyObject_GetAttr(function, st->s_qualname) : NULL;
    if (*name != NULL && PyUnicode_CheckExact(*module) && PyUnicode_CheckExact(*name) &&
        PyUnicode_FindChar(*name, '.', 0, PyUnicode_GET_LENGTH(*name), 1) == -1) {
        return true;
    }
    PyErr_Clear();
    Py_CLEAR(*module);
    Py_CLEAR(*name);
    return false;
}

static fp_known_function *
place_of(fp_functions *f, PyObject *function)
{
    return &f->known[((uintptr_t)function >> 4) % FP_FUNCTION_CACHE];
}

/* Is the remembered function still the one, under the same names? */
static bool
still_holds(fp_state *st, const fp_known_function *k, PyObject *function)
{
    if (k->function != function || !PyFunction_Check(function)) {
        if (k->function != function || !PyCFunction_CheckExact(function)) {
            return false;
        }
    }
    else {
        const PyFunctionObject *fn = (PyFunctionObject *)function;
        if (fn->func_module != k->module || fn->func_qualname != k->name) {
            return false;
        }
    }
    return look_up(st, k->module, k->name) == function;
}

static void
remember(fp_functions *f, PyObject *function, PyObject *module, PyObject *name, int id)
{
    fp_known_function *k = place_of(f, function), old = *k;
    *k = (fp_known_function){function, Py_NewRef(module), Py_NewRef(name), id};
    Py_XDECREF(old.module);
    Py_XDECREF(old.name);
}

void
fp_functions_clear(fp_functions *f)
{
    for (u32 i = 0; i < FP_FUNCTION_CACHE; i++) {
        Py_CLEAR(f->known[i].module);
        Py_CLEAR(f->known[i].name);
        f->known[i].function = NULL;
    }
    Py_CLEAR(f->ids);
}

/* Does anybody ask pickle to treat this type in a way of its own? */
static bool
has_reducer(fp_state *st, PyObject *function)
{
    PyObject *type = (PyObject *)Py_TYPE(function);
    return PyDict_Contains(st->forking_reducers, type) == 1 || PyDict_Contains(st->copyreg_reducers, type) == 1;
}

static int
add_to_table(fp_state *st, fp_pool *pool, PyObject *function)
{
    if (has_reducer(st, function)) {
        return 0;
    }
    fp_pickler *p = fp_pickle(st, function);
    if (p == NULL) {
        return -1;
    }
    char *label = fp_function_label(st, function);
    /* by name it is one small piece; anything else does not fit */
    const fp_payload *payload = &p->payload;
    int id = payload->npieces == 1 && payload->nbuffers == 0
           ? fp_pool_add_function(pool, payload->pieces->data, payload->size, label ? label : "?") : FP_FULL;
    free(label);
    fp_pickler_give_back(st, p);
    return id > 0 ? id : 0;   /* a full table: these calls are pickled whole */
}

/* What `add` makes of it, under `key`. An id is for ever, so its place in the dict comes first. -1 with an exception. */
static int
new_id(PyObject *ids, PyObject *key, int (*add)(void *), void *arg)
{
    if (PyDict_SetItem(ids, key, Py_None) < 0) {
        return -1;
    }
    int id = add(arg);
    PyObject *number = id > 0 ? PyLong_FromLong(id) : NULL;
    if (number != NULL && PyDict_SetItem(ids, key, number) == 0) {
        Py_DECREF(number);
        return id;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(number);
    if (PyDict_DelItem(ids, key) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
    return id > 0 ? -1 : id;
}

/* The number under `key`; if there is none, what `add` makes of it. Takes the key over; NULL: -1. */
static int
id_by_key(fp_functions *f, PyObject *key, int (*add)(void *), void *arg)
{
    int id = -1;
    PyObject *found = NULL;
    if (key == NULL || (f->ids == NULL && (f->ids = PyDict_New()) == NULL)) {
        Py_XDECREF(key);
        return -1;
    }
    if ((found = PyDict_GetItemWithError(f->ids, key)) != NULL) {
        id = found == Py_None ? 0 : (int)PyLong_AsLong(found);   /* None: another thread is at it */
    }
    else if (!PyErr_Occurred()) {
        id = new_id(f->ids, key, add, arg);
    }
    Py_DECREF(key);
    return id;
}

typedef struct {
    fp_state *st;
    fp_pool *pool;
    PyObject *function, *data;
} fp_addition;

static int
add_by_name(void *arg)
{
    fp_addition *a = arg;
    return add_to_table(a->st, a->pool, a->function);
}

static int
add_by_value(void *arg)
{
    fp_addition *a = arg;
    char *label = fp_function_label(a->st, a->function);
    int id = fp_pool_add_function_by_value(a->pool, (const u8 *)PyBytes_AS_STRING(a->data),
                                           (u64)PyBytes_GET_SIZE(a->data), label ? label : "?");
    free(label);
    return id > 0 ? id : 0;
}

int
fp_function_id_by_value(fp_state *st, fp_pool *pool, fp_functions *f, PyObject *function, PyObject *data)
{
    fp_addition addition = {st, pool, function, data};
    return id_by_key(f, Py_NewRef(data), add_by_value, &addition);
}

bool
fp_function_is_interactive(fp_state *st, PyObject *function)
{
    if (PySys_GetObject("ps1") == NULL || !PyFunction_Check(function)) {
        return false;
    }
    PyObject *module = PyObject_GetAttr(function, st->s_module);
    bool is = module != NULL && PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "__main__") == 0;
    PyErr_Clear();
    Py_XDECREF(module);
    return is;
}

int
fp_function_id(fp_state *st, fp_pool *pool, fp_functions *f, PyObject *function)
{
    const fp_known_function *k = place_of(f, function);
    if (still_holds(st, k, function)) {
        return k->id;
    }
    PyObject *module = NULL, *name = NULL;
    if (!names_of(st, function, &module, &name)) {
        return 0;
    }
    int id = 0;
    if (look_up(st, module, name) == function) {
        fp_addition addition = {st, pool, function, NULL};
        id = id_by_key(f, PyTuple_Pack(2, module, name), add_by_name, &addition);
        if (id > 0) {
            remember(f, function, module, name, id);
        }
    }
    Py_DECREF(module);
    Py_DECREF(name);
    return id;
}

char *
fp_function_label(fp_state *st, PyObject *function)
{
    PyObject *type, *value, *traceback, *text = NULL;
    char *label = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *name = PyObject_GetAttr(function, st->s_qualname);
    if (name == NULL) {
        PyErr_Clear();
        name = PyType_GetQualName(Py_TYPE(function));
    }
    PyObject *module = name ? PyObject_GetAttr(function, st->s_module) : NULL;
    if (module != NULL && PyUnicode_Check(module)) {
        text = PyUnicode_FromFormat("%U.%S", module, name);
    }
    else if (name != NULL) {
        PyErr_Clear();
        text = PyObject_Str(name);
    }
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    if (utf8 != NULL) {
        label = strdup(utf8);
    }
    Py_XDECREF(name);
    Py_XDECREF(module);
    Py_XDECREF(text);
    PyErr_Restore(type, value, traceback);
    return label;
}

PyObject *
fp_function_find(fp_state *st, fp_found_function *found, const u8 *data, size_t size, bool by_value)
{
    if (by_value) {
        if (found->function == NULL) {
            found->function = fp_unpickle(st, data, size, size);
        }
        return Py_XNewRef(found->function);
    }
    if (found->function != NULL && look_up(st, found->module, found->name) == found->function) {
        return Py_NewRef(found->function);
    }
    PyObject *function = fp_unpickle(st, data, size, size);
    PyObject *module = NULL, *name = NULL;
    if (function == NULL || !names_of(st, function, &module, &name)) {
        return function;
    }
    if (look_up(st, module, name) == function) {
        Py_XSETREF(found->function, Py_NewRef(function));
        Py_XSETREF(found->module, Py_NewRef(module));
        Py_XSETREF(found->name, Py_NewRef(name));
    }
    Py_DECREF(module);
    Py_DECREF(name);
    return function;
}
