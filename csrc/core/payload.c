#include "payload.h"
#include "error.h"

#include <string.h>

typedef struct {
    u64 offset, size, readonly;
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

void
fp_payload_measure(fp_payload *p)
{
    p->stream = 0;
    for (u64 i = 0; i < p->npieces; i++) {
        p->stream += p->pieces[i].size;
    }
    p->size = p->stream;
    if (p->nbuffers > 0) {
        u64 end = first_buffer(p->stream, p->nbuffers);
        for (u64 i = 0; i < p->nbuffers; i++) {
            p->size = end + p->buffers[i].bytes.size;
            end = aligned(p->size, FP_BUFFER_ALIGNMENT);
        }
    }
}

static u8 *
put(u8 *to, const void *from, u64 size)
{
    if (size > 0) {   /* an empty piece may have no address */
        memcpy(to, from, size);
    }
    return to + size;
}

void
fp_payload_write(const fp_payload *p, u8 *to)
{
    u8 *at = to;
    for (u64 i = 0; i < p->npieces; i++) {
        at = put(at, p->pieces[i].data, p->pieces[i].size);
    }
    if (p->nbuffers == 0) {
        return;
    }
    u8 *table = put(to + table_of(p->stream), &p->nbuffers, 8);
    u64 offset = first_buffer(p->stream, p->nbuffers);
    for (u64 i = 0; i < p->nbuffers; i++) {
        const fp_out_of_band *b = &p->buffers[i];
        fp_buffer_shm entry = {.offset = offset, .size = b->bytes.size, .readonly = b->readonly};
        table = put(table, &entry, sizeof entry);
        put(to + offset, b->bytes.data, b->bytes.size);
        offset = aligned(offset + b->bytes.size, FP_BUFFER_ALIGNMENT);
    }
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
    if (entry.offset > size || entry.size > size - entry.offset) {
        return FP_CORRUPT;
    }
    *buffer = (fp_out_of_band){{data + entry.offset, entry.size}, entry.readonly != 0};
    return FP_OK;
}
