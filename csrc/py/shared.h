/* Pages: an object in shared memory of its own, as Python sees it. See core/share.h, and fastpool/sharing.py. */
#ifndef FP_SHARED_H
#define FP_SHARED_H

#include "state.h"
#include "../core/share.h"

extern PyType_Spec fp_pages_spec;

/* Of a Pages object, open; NULL with an exception. Borrowed. */
fp_share *fp_share_of(fp_state *st, PyObject *pages);

/* Functions of the module. */
PyObject *fp_share_object(PyObject *module, PyObject *object);
PyObject *fp_open_pages(PyObject *module, PyObject *args);
PyObject *fp_adopt_pages(PyObject *module, PyObject *descriptor);
PyObject *fp_copy_pages(PyObject *module, PyObject *data);
PyObject *fp_let_go_of_pages(PyObject *module, PyObject *parent);
PyObject *fp_set_shared_type(PyObject *module, PyObject *type);
PyObject *fp_keep_for_next_task(PyObject *module, PyObject *object);

/* A worker, before a task: what the last one did not want is let go of. And when it has nothing to do. */
void fp_shared_next_task(fp_state *st);
void fp_shared_rest(fp_state *st);

#endif
