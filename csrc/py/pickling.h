/* Pickling: an object becomes a payload, ready to be copied once, into shared memory.
 *
 * Picklers are multiprocessing's own ForkingPickler (its register() is a public extension point), kept
 * and used again: a new one costs more than a small call. One that is in use is not in the list, so a
 * reducer may submit to the same pool; one that failed is thrown away. ForkingPickler copies the two
 * registries of reducers (its own, copyreg's) when it is made; ours look into them at each use (_Reducers).
 *
 * Big data is not copied here: what the pickler writes in large pieces, and the buffers that it passes out of
 * band, stay where they are until the payload has been written. So between pickling and giving the pickler back,
 * a bytearray or an array that is part of the payload cannot be resized.
 * Locking   the GIL: the list is only touched between two Python calls. A payload may be written without it.
 */
#ifndef FP_PICKLING_H
#define FP_PICKLING_H

#include "writer.h"

typedef struct fp_pickler {
    struct fp_pickler *next;
    fp_writer *writer;
    PyObject *dump, *clear_memo;   /* bound methods of one ForkingPickler */
    bool is_reusable;
    fp_payload payload;
    fp_piece one;                  /* its only piece, mostly */
    fp_piece *pieces;              /* else: malloc */
    fp_out_of_band *out_of_band;   /* malloc */
} fp_pickler;

extern PyType_Spec fp_reducers_spec;

/* Pickle `object`: a pickler whose `payload` is ready, to be given back; NULL with an exception. */
fp_pickler *fp_pickle(fp_state *st, PyObject *object);
/* The same for a call of a pool, which is to hold what its payload only names. */
fp_pickler *fp_pickle_call(fp_state *st, PyObject *object);
/* The same for an object that is shared: several processes read it, or none. */
fp_pickler *fp_pickle_share(fp_state *st, PyObject *object);
/* The same as fp_pickle_call; what was defined at an interactive prompt goes by value. */
fp_pickler *fp_pickle_by_value(fp_state *st, PyObject *object);
/* What the call is to hold, to be freed with fp_holds_free; NULL: nothing. */
fp_holds *fp_pickler_take_holds(fp_pickler *p);
void fp_pickler_give_back(fp_state *st, fp_pickler *p);
void fp_picklers_clear(fp_state *st);
/* Copy the payload to where there is room for it. Lets go of the GIL while it is long. */
void fp_payload_copy(const fp_payload *payload, u8 *to);

#endif
