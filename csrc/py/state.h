/* The module's state: its types, its interned names, and what it borrows from Python. */
#ifndef FP_STATE_H
#define FP_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#define FP_PROTOCOL 5   /* of pickle */

typedef struct {
    PyTypeObject *Pages, *ArrayMemory;
    PyTypeObject *Writer, *Reader, *Reducers, *Future, *Pool, *Executor, *WaitSet, *CompletionQueue;
    /* borrowed from the standard library when the module is made */
    PyObject *loads, *find_class;   /* of pickle, and of its Unpickler */
    PyObject *Unpickler;            /* ours, a subclass */
    bool gc_is_paused;              /* by pause_gc of unpickling.c */
    PyObject *ForkingPickler;
    PyObject *forking_reducers, *copyreg_reducers;   /* the two registries, dicts */
    PyObject *BaseFuture;        /* concurrent.futures.Future */
    PyObject *CancelledError, *TimeoutError;
    PyObject *Condition;         /* threading.Condition */
    PyObject *modules;           /* sys.modules */
    PyObject *state_names[5];    /* the standard library's state strings, by FP_F_* */
    PyObject *Shared, *open_shared;   /* of fastpool.sharing, once that is imported: the type, and what opens a reference */
    PyObject *kept, *kept_before;   /* in a worker: shared objects of this task, of the one before; lists or NULL */
    bool is_worker;
    /* names */
    PyObject *s_dump, *s_clear_memo, *s_dispatch_table, *s_prepare, *s_reinforce, *s_module, *s_qualname;
    PyObject *s_load, *s_take_buffer, *s_reduce_shared, *s_reduce_array, *s_reduce_block, *s_reduce_ex, *s_nbytes, *s_shape, *s_pages;
    PyObject *protocol;          /* 5 */
    PyObject *buffers_keyword;   /* ("buffers",) */
    /* spare picklers, see pickling.h */
    struct fp_pickler *picklers;
} fp_state;

extern struct PyModuleDef fp_module_def;

static inline fp_state *
fp_state_of(PyObject *module)
{
    return (fp_state *)PyModule_GetState(module);
}

/* The state by any type of ours or a subclass of it (written in Python or not). */
static inline fp_state *
fp_state_by_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &fp_module_def);
    return module ? fp_state_of(module) : NULL;
}

/* Call <module>.<name>(*args): the parts of rare paths that are easier to read in Python. `format`: in parentheses, so
 * that it makes a tuple. */
PyObject *fp_call_helper(const char *module, const char *name, const char *format, ...);

#endif
