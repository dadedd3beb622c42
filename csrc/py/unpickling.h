/* Unpickling from memory that goes away: nothing that is made here refers to it.
 *
 * Out-of-band buffers arrive as what an ordinary pickle would make of them, bytes or a bytearray, so that an object
 * that is such a buffer comes back as itself; but those of large arrays (arrays.h). Big memory asks for huge pages and is
 * filled without the GIL.
 */
#ifndef FP_UNPICKLING_H
#define FP_UNPICKLING_H

#include "state.h"
#include "../core/payload.h"

extern PyType_Spec fp_reader_spec, fp_unpickler_spec;

/* Unpickle a payload, see payload.h; it stays valid during the call. NULL with an exception. */
PyObject *fp_unpickle(fp_state *st, const u8 *data, u64 size, u64 stream);

/* The same for a stream alone; what it refers to out of band is in `buffers`, a list or NULL. */
PyObject *fp_unpickle_stream(fp_state *st, const u8 *data, u64 stream, PyObject *buffers);

#endif
