/* Pickling into a private buffer, and unpickling from memory.
 *
 * Picklers are multiprocessing's own ForkingPickler (its register() is a public extension point), kept
 * and used again: a new one costs more than a small call. One that is in use is not in the list, so a
 * reducer may submit to the same pool; one that failed is thrown away. ForkingPickler copies the two
 * registries of reducers (its own, copyreg's) when it is made; ours look into them at each use (_Reducers).
 * Locking   the GIL: the list is only touched between two Python calls.
 */
#ifndef FP_PICKLING_H
#define FP_PICKLING_H

#include "state.h"
#include "../core/atomic.h"

typedef struct {
    PyObject_HEAD
    u8 *data;
    size_t size, capacity;
} fp_writer;

typedef struct fp_pickler {
    struct fp_pickler *next;
    fp_writer *writer;
    PyObject *dump, *clear_memo;   /* bound methods of one ForkingPickler */
} fp_pickler;

extern PyType_Spec fp_writer_spec, fp_reducers_spec;

/* Pickle `object`: a pickler whose writer holds the bytes, to be given back; NULL with an exception. */
fp_pickler *fp_pickle(fp_state *st, PyObject *object);
void fp_pickler_give_back(fp_state *st, fp_pickler *p);
void fp_picklers_clear(fp_state *st);
/* Unpickle `size` bytes at `data`, which stay valid during the call. */
PyObject *fp_unpickle(fp_state *st, const u8 *data, size_t size);

#endif
