/* Arrays of NumPy: the memory of a large one is marked as such when it is sent, and arrives in memory of our own.
 *
 * An object that is a buffer must arrive as bytes or as a bytearray, as pickle has it; but what NumPy has made of an array (a
 * call of numpy's _frombuffer with a PickleBuffer) shows its memory to nobody else. So that can be memory which is kept for
 * the next array (csrc/core/warm.h), and malloc need not find new pages for each.
 *
 * NumPy passes only memory in one piece. An array whose rows lie apart it would copy first: its PickleBuffer is a stand-in here,
 * which the writer knows, and the rows are copied when the payload has its place.
 */
#ifndef FP_ARRAYS_H
#define FP_ARRAYS_H

#include "state.h"
#include "../core/payload.h"

extern PyType_Spec fp_array_memory_spec;

/* Is it numpy.ndarray itself? */
bool fp_is_array_type(PyObject *type);
/* An array that is being pickled: its buffer is the next to come. */
typedef struct {
    PyObject *buffer;   /* its PickleBuffer, or NULL: it has none */
    Py_buffer rows;     /* what that stands for, if `rows.obj` is not NULL: the array itself, whose rows are sent one by one */
} fp_sent_array;

/* As array.__reduce_ex__(5), but a large array whose rows lie apart is not copied into one piece before. `*sent` is empty.
 * NULL with an exception. */
PyObject *fp_reduce_array(fp_state *st, PyObject *array, fp_sent_array *sent);
/* The same for an array that is to be shared, and read-only: NumPy passes the memory of one that is in one piece, so any other is
 * copied into one. */
PyObject *fp_reduce_shared_array(fp_state *st, PyObject *array, fp_sent_array *sent);
void fp_forget_array(fp_sent_array *sent);

/* Is it pandas' class for columns of one type that NumPy knows, of pandas 3.1 or later? For whoever asks for protocol 5 that
 * copies an array whose rows lie apart, as those of a slice of a DataFrame do, into one piece
 * (https://github.com/pandas-dev/pandas/pull/69133). */
bool fp_is_block_type(fp_state *st, PyObject *type);
/* As block.__reduce_ex__(5), but without that copy where the rows are sent one by one. NULL with an exception. */
PyObject *fp_reduce_block(fp_state *st, PyObject *block);

/* Rows as long as possible. The view must outlive them. */
fp_rows fp_rows_of(const Py_buffer *view);

/* Memory for an array: an object with a writable buffer of `size` bytes, at `*data`. `*is_warm`: it has its pages. NULL with an
 * exception. */
PyObject *fp_array_memory(fp_state *st, u64 size, u8 **data, bool *is_warm);

#endif
