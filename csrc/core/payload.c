#include "payload.h"
#include "copy.h"
#include "error.h"
#include "os.h"

#include <string.h>

#define MOST ((u64)INT64_MAX / 2)   /* of a payload: no sum on the way to its place can overflow */

typedef struct {
    u64 offset, size, kind;
} fp_buffer_shm;

static u64
aligned(u64 at, u64 alignment)
{
    return (at + alignment - 1) & ~(alignment - 1);
}

static u64
table_of(u64 stream)
{
    return aligned(stream, 8);
}

static u64
first_buffer(u64 stream, u64 count)
{
    return aligned(table_of(stream) + 8 + count * sizeof(fp_buffer_shm), FP_BUFFER_ALIGNMENT);
}

bool
fp_payload_measure(fp_payload *p)
{
    p->stream = 0;
    for (u64 i = 0; i < p->npieces; i++) {
        p->stream += p->pieces[i].size;   /* memory that there is: it cannot be too much */
    }
    p->size = p->stream;
    if (p->nbuffers > 0) {
        u64 end = first_buffer(p->stream, p->nbuffers);
        for (u64 i = 0; i < p->nbuffers; i++) {
            if (end > MOST || p->buffers[i].bytes.size > MOST - end) {
                return false;
            }
            p->size = end + p->buffers[i].bytes.size;
            end = aligned(p->size, FP_BUFFER_ALIGNMENT);
        }
    }
    return true;
}

typedef int putter(void *target, u64 at, const void *data, u64 size);

/* The rows of dimension `dim` and all within; `*at` is where the next one goes. */
static int
put_rows(const fp_rows *rows, u64 dim, const u8 *data, u64 *at, putter *put, void *target)
{
    int rc = FP_OK;
    if (dim == rows->ndim) {
        rc = put(target, *at, data, rows->size);
        *at += rows->size;
        return rc;
    }
    for (ptrdiff_t i = 0; rc == FP_OK && i < rows->shape[dim]; i++) {
        rc = put_rows(rows, dim + 1, data + i * rows->strides[dim], at, put, target);
    }
    return rc;
}

static inline int
put_buffer(const fp_out_of_band *b, u64 at, putter *put, void *target)
{
    return b->rows.ndim == 0 ? put(target, at, b->bytes.data, b->bytes.size) : put_rows(&b->rows, 0, b->bytes.data, &at, put, target);
}

/* Hand every piece of the layout to `put`, with its place; the gaps are the target's. Stops at what is not FP_OK. */
static inline int
each_piece(const fp_payload *p, putter *put, void *target)
{
    u64 at = 0;
    int rc = FP_OK;
    for (u64 i = 0; rc == FP_OK && i < p->npieces; i++) {
        rc = put(target, at, p->pieces[i].data, p->pieces[i].size);
        at += p->pieces[i].size;
    }
    if (rc != FP_OK || p->nbuffers == 0) {
        return rc;
    }
    u64 table = table_of(p->stream), offset = first_buffer(p->stream, p->nbuffers);
    rc = put(target, table, &p->nbuffers, 8);
    table += 8;
    for (u64 i = 0; rc == FP_OK && i < p->nbuffers; i++) {
        const fp_out_of_band *b = &p->buffers[i];
        const fp_buffer_shm entry = {.offset = offset, .size = b->bytes.size, .kind = b->kind};
        rc = put(target, table, &entry, sizeof entry);
        if (rc == FP_OK) {
            rc = put_buffer(b, offset, put, target);
        }
        table += sizeof entry;
        offset = aligned(offset + b->bytes.size, FP_BUFFER_ALIGNMENT);
    }
    return rc;
}

static int
put_in_memory(void *target, u64 at, const void *data, u64 size)
{
    if (size > 0) {   /* an empty piece may have no address */
        fp_copy(*(u8 **)target + at, data, size);
    }
    return FP_OK;
}

void
fp_payload_write(const fp_payload *p, u8 *to)
{
    each_piece(p, put_in_memory, &to);
}

/* Rows are short, and a call of the system for each would cost more than to copy them once more. */
typedef struct {
    int fd;
    u64 offset;              /* of the payload */
    u64 at, used;            /* what is gathered is to go there, and how much it is */
    u8 gathered[16 << 10];
} fp_file_target;

static int
write_gathered(fp_file_target *file)
{
    u64 used = file->used;
    file->used = 0;
    return used == 0 ? FP_OK : fp_write_at(file->fd, file->offset + file->at, file->gathered, used);
}

static int
put_in_file(void *target, u64 at, const void *data, u64 size)
{
    fp_file_target *file = target;
    if (at != file->at + file->used || size > sizeof file->gathered - file->used) {
        int rc = write_gathered(file);
        if (rc != FP_OK) {
            return rc;
        }
        file->at = at;
    }
    if (size > sizeof file->gathered / 2) {
        return fp_write_at(file->fd, file->offset + at, data, size);
    }
    if (size > 0) {
        memcpy(file->gathered + file->used, data, size);
        file->used += size;
    }
    return FP_OK;
}

int
fp_payload_write_file(const fp_payload *p, int fd, u64 offset)
{
    fp_file_target file = {.fd = fd, .offset = offset};
    int rc = each_piece(p, put_in_file, &file);
    return rc == FP_OK ? write_gathered(&file) : rc;
}

int
fp_payload_count(const u8 *data, u64 size, u64 stream, u64 *count)
{
    *count = 0;
    if (stream == size) {
        return FP_OK;
    }
    u64 table = table_of(stream);
    if (stream > size || table + 8 > size) {
        return FP_CORRUPT;
    }
    memcpy(count, data + table, 8);
    return *count <= (size - table - 8) / sizeof(fp_buffer_shm) ? FP_OK : FP_CORRUPT;
}

int
fp_payload_buffer(const u8 *data, u64 size, u64 stream, u64 i, fp_out_of_band *buffer)
{
    fp_buffer_shm entry;
    memcpy(&entry, data + table_of(stream) + 8 + i * sizeof entry, sizeof entry);
    if (entry.offset > size || entry.size > size - entry.offset || entry.kind >= FP_BUFFER_KINDS ||
        (entry.kind == FP_BUFFER_ARRAY && entry.size == 0)) {
        return FP_CORRUPT;
    }
    *buffer = (fp_out_of_band){.bytes = {data + entry.offset, entry.size}, .kind = (fp_buffer_kind)entry.kind};
    return FP_OK;
}
