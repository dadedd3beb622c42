/* Pages: an object in shared memory of its own, as Python sees it. See core/share.h, and fastpool/sharing.py. */
#ifndef FP_SHARED_H
#define FP_SHARED_H

#include "state.h"
#include "../core/share.h"

extern PyType_Spec fp_pages_spec;

/* Of a Pages object, open; NULL with an exception. Borrowed. */
fp_share *fp_share_of(fp_state *st, PyObject *pages);
/* How a call names it: a callable and its arguments, as pickle wants them. NULL with an exception. */
PyObject *fp_share_reference(fp_state *st, const fp_share *share);

/* Functions of the module. */
PyObject *fp_share_object(PyObject *module, PyObject *object);
PyObject *fp_open_pages(PyObject *module, PyObject *args);
PyObject *fp_adopt_pages(PyObject *module, PyObject *descriptor);
PyObject *fp_copy_pages(PyObject *module, PyObject *data);
PyObject *fp_let_go_of_pages(PyObject *module, PyObject *ignored);
PyObject *fp_set_shared_type(PyObject *module, PyObject *args);
PyObject *fp_keep_for_next_task(PyObject *module, PyObject *object);

/* A worker, before a task: what the last one did not want is let go of. And when it has had nothing to do for a while. */
void fp_shared_next_task(fp_state *st);
void fp_shared_rest(fp_state *st);
static inline bool
fp_shared_is_kept(const fp_state *st)
{
    return st->kept != NULL || st->kept_before != NULL;
}

#endif
