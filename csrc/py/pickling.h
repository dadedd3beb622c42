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

#include "state.h"
#include "../core/share.h"

/* A buffer that is kept, and where: in the stream before own byte `at`. */
typedef struct {
    Py_buffer view;
    size_t at;
} fp_kept_write;

typedef struct {
    PyObject_HEAD
    u8 *data;                      /* small writes, one after the other */
    size_t size, capacity;
    fp_kept_write *writes;         /* large ones */
    size_t nwrites, writes_room;
    Py_buffer *buffers;            /* out of band */
    size_t nbuffers, buffers_room;
    bool of_call;                  /* shared objects go by reference: the call keeps them */
    fp_holds *holds;               /* those */
} fp_writer;

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

extern PyType_Spec fp_writer_spec, fp_reducers_spec;

/* Append; a large buffer is kept instead. False with an exception. */
bool fp_writer_append(fp_writer *w, const void *data, size_t n);
bool fp_writer_take(fp_writer *w, PyObject *data);

/* Pickle `object`: a pickler whose `payload` is ready, to be given back; NULL with an exception. */
fp_pickler *fp_pickle(fp_state *st, PyObject *object);
/* The same for a call of a pool, which is to hold what its payload only names. */
fp_pickler *fp_pickle_call(fp_state *st, PyObject *object);
/* The same; what was defined at an interactive prompt goes by value. */
fp_pickler *fp_pickle_by_value(fp_state *st, PyObject *object);
/* What the call is to hold, to be freed with fp_holds_free; NULL: nothing. */
fp_holds *fp_pickler_take_holds(fp_pickler *p);
void fp_pickler_give_back(fp_state *st, fp_pickler *p);
void fp_picklers_clear(fp_state *st);
/* Copy the payload to where there is room for it. Lets go of the GIL while it is long. */
void fp_payload_copy(const fp_payload *payload, u8 *to);

#endif
