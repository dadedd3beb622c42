/* Arrays of NumPy: the memory of a large one is marked as such when it is sent, and arrives in memory of our own.
 *
 * An object that is a buffer must arrive as bytes or as a bytearray, as pickle has it; but what NumPy has made of an array (a
 * call of numpy's _frombuffer with a PickleBuffer) shows its memory to nobody else. So that can be memory which is kept for
 * the next array (csrc/core/warm.h), and malloc need not find new pages for each.
 */
#ifndef FP_ARRAYS_H
#define FP_ARRAYS_H

#include "state.h"
#include "../core/atomic.h"

extern PyType_Spec fp_array_memory_spec;

/* Is it numpy.ndarray itself? */
bool fp_is_array_type(PyObject *type);
/* As array.__reduce_ex__(5). `*buffer`: a new reference to the PickleBuffer in it, if there is one, or NULL. NULL with an exception. */
PyObject *fp_reduce_array(fp_state *st, PyObject *array, PyObject **buffer);

/* Memory for an array: an object with a writable buffer of `size` bytes, at `*data`. `*is_warm`: it has its pages. NULL with an
 * exception. */
PyObject *fp_array_memory(fp_state *st, u64 size, u8 **data, bool *is_warm);

#endif
