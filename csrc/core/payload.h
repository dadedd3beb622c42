/* What travels in one piece of shared memory: a pickle, and behind it the buffers that it refers to.
 *
 * Layout    stream | pad to 8 | u64 count | count x fp_buffer_shm | pad to 64 | buffer | pad to 64 | buffer ...
 *           Without buffers it is the stream alone: `size == stream`.
 * Memory    offsets are from the payload's first byte. The sender's pieces stay where they are until they are
 *           written, once, into their place.
 * Trust     fp_payload_buffer checks what it reads: a worker may have written anything.
 */
#ifndef FP_PAYLOAD_H
#define FP_PAYLOAD_H

#include "atomic.h"

#include <stddef.h>

#define FP_BUFFER_ALIGNMENT 64u

typedef struct {
    const u8 *data;
    u64 size;
} fp_piece;

/* What a buffer arrives as. */
typedef enum {
    FP_BUFFER_BYTEARRAY,   /* as pickle has it */
    FP_BUFFER_BYTES,       /* the same, if it is read-only */
    FP_BUFFER_ARRAY,       /* memory that only an array will use */
    FP_BUFFER_KINDS,
} fp_buffer_kind;

/* The rows of an array may lie apart where they come from; they arrive one after the other. */
typedef struct {
    u64 ndim;                          /* dimensions outside of a row; 0: all is in one piece */
    const ptrdiff_t *shape, *strides;  /* of those, in rows and in bytes */
    u64 size;                          /* of a row, in bytes */
} fp_rows;

typedef struct {
    fp_piece bytes;                    /* where it begins, and how many bytes it has with all its rows */
    fp_buffer_kind kind;
    fp_rows rows;                      /* of one that is sent */
} fp_out_of_band;

/* To be sent. */
typedef struct {
    const fp_piece *pieces;          /* of the stream, in order */
    const fp_out_of_band *buffers;
    u64 npieces, nbuffers;
    u64 stream, size;                /* set by fp_payload_measure */
} fp_payload;

/* False: it has more bytes than can be counted. (Rows that are the same bytes again and again need no memory.) */
bool fp_payload_measure(fp_payload *p);
/* `to` has room for p->size bytes. */
void fp_payload_write(const fp_payload *p, u8 *to);
/* Into a file, whose bytes from `offset` on are zeros. 0, or as fp_write_at. */
int fp_payload_write_file(const fp_payload *p, int fd, u64 offset);

/* Received. How many buffers there are: 0, or FP_CORRUPT. */
int fp_payload_count(const u8 *data, u64 size, u64 stream, u64 *count);
/* Buffer i of those. 0, or FP_CORRUPT. */
int fp_payload_buffer(const u8 *data, u64 size, u64 stream, u64 i, fp_out_of_band *buffer);

#endif
