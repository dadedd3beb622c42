/* _core.Pool: a fp_pool as a Python object, with what belongs to Python: the function cache, the monitor. */
#ifndef FP_POOL_OBJECT_H
#define FP_POOL_OBJECT_H

#include "functions.h"
#include "../core/monitor.h"

typedef struct {
    PyObject_HEAD
    fp_pool *pool;
    fp_monitor monitor;
    fp_functions functions;
    PyObject *future_type;
    PyObject *start_courier;   /* called once, when a future first needs the courier */
    bool courier_wanted;
    unsigned long courier;     /* that thread, 0: not yet */
    bool courier_leaving;
    bool replaces;             /* as multiprocessing.Pool does it: a worker's death fails its task only */
    PyObject *weakrefs;
} fp_pool_object;

extern PyType_Spec fp_pool_object_spec;

/* submit(fn, *args, **kwargs) as a vectorcall; a new Future. NULL without an exception: the pool is
 * closed or broken, the caller says which. `each`: 0, or FP_CALL_EACH or FP_CALL_STAR. */
PyObject *fp_pool_object_submit(fp_state *st, fp_pool_object *p, PyObject *fn, PyObject *const *args,
                                Py_ssize_t nargs, PyObject *kwnames, u32 each);
/* A future wants to be told: start the courier if there is none. -1 with an exception. */
int fp_pool_object_want_courier(fp_pool_object *p);

#endif
