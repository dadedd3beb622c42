/* Where a pickler writes: small writes one after the other; large ones, and buffers out of band, are only kept. */
#ifndef FP_WRITER_H
#define FP_WRITER_H

#include "arrays.h"
#include "state.h"
#include "../core/payload.h"
#include "../core/share.h"

/* A buffer that is kept, and where: in the stream before own byte `at`. */
typedef struct {
    Py_buffer view;
    size_t at;
} fp_kept_write;

typedef struct {
    Py_buffer view;
    fp_buffer_kind kind;
    bool by_rows;                  /* its rows lie apart */
} fp_kept_buffer;

typedef struct {
    PyObject_HEAD
    u8 *data;                      /* small writes, one after the other */
    size_t size, capacity;
    fp_kept_write *writes;         /* large ones */
    size_t nwrites, writes_room;
    fp_kept_buffer *buffers;       /* out of band */
    size_t nbuffers, buffers_room;
    fp_sent_array array;           /* its buffer is the next to come */
    bool of_call;                  /* shared objects go by reference: the call keeps them */
    fp_holds *holds;               /* those */
    bool of_share;                 /* nothing is handed over: there is nobody yet to receive it */
    bool by_reducer;               /* an object has been asked how it is made: so what was written may name what ends with it */
    bool hands_over;               /* something is named that one process hands over to one other, once: a descriptor, say */
} fp_writer;

extern PyType_Spec fp_writer_spec;

/* Append; a large buffer is kept instead. False with an exception. */
bool fp_writer_append(fp_writer *w, const void *data, size_t n);
bool fp_writer_take(fp_writer *w, PyObject *data);
/* Let go of all that it has. */
void fp_writer_reset(fp_writer *w);

#endif
