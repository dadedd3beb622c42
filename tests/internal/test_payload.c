/* payload.h: what is written is what is read, and nothing that a worker may write makes the reader leave the payload. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "core/error.h"
#include "core/payload.h"

#define MOST 40
#define DIMENSIONS 3
#define ROWS 3            /* in a dimension, at most */
#define APART 2000        /* bytes, at most */
#define REACH (DIMENSIONS * (ROWS - 1) * APART)

static u8 source[1 << 16];

static u64
dice(u64 below)
{
    return below ? (u64)rand() % below : 0;
}

/* The shape and the strides of an array. */
typedef struct {
    ptrdiff_t shape[DIMENSIONS], strides[DIMENSIONS];
} layout;

static fp_out_of_band
any_buffer(void)
{
    u64 size = dice(4) ? dice(3000) : 0;
    if (size == 0) {
        return (fp_out_of_band){.kind = FP_BUFFER_BYTES};
    }
    return (fp_out_of_band){{source + dice(sizeof source - size), size}, (fp_buffer_kind)dice(FP_BUFFER_KINDS), {0}};
}

/* Of rows in any order, some of them perhaps the same bytes. */
static fp_out_of_band
any_rows(layout *l)
{
    u64 ndim = 1 + dice(DIMENSIONS), row = 1 + dice(200), rows = 1;
    for (u64 i = 0; i < ndim; i++) {
        l->shape[i] = (ptrdiff_t)(1 + dice(ROWS));
        l->strides[i] = (ptrdiff_t)dice(2 * APART + 1) - APART;
        rows *= (u64)l->shape[i];
    }
    const u8 *data = source + REACH + dice(sizeof source - 2 * REACH - row);
    return (fp_out_of_band){{data, rows * row}, FP_BUFFER_ARRAY, {ndim, l->shape, l->strides, row}};
}

/* A payload of random pieces and buffers out of `source`. */
static fp_payload
any_payload(fp_piece *pieces, fp_out_of_band *buffers, layout *layouts)
{
    fp_payload p = {.pieces = pieces, .buffers = buffers, .npieces = 1 + dice(MOST), .nbuffers = dice(3) ? dice(MOST) : 0};
    for (u64 i = 0; i < p.npieces; i++) {
        u64 size = dice(4) ? dice(200) : 0;
        pieces[i] = (fp_piece){size ? source + dice(sizeof source - size) : NULL, size};
    }
    for (u64 i = 0; i < p.nbuffers; i++) {
        buffers[i] = dice(3) ? any_buffer() : any_rows(&layouts[i]);
    }
    CHECK(fp_payload_measure(&p));
    return p;
}

/* Row n in C's order of them. */
static const u8 *
nth_row(const fp_out_of_band *b, u64 n)
{
    const u8 *data = b->bytes.data;
    for (u64 i = b->rows.ndim; i > 0; i--) {
        u64 length = (u64)b->rows.shape[i - 1];
        data += (ptrdiff_t)(n % length) * b->rows.strides[i - 1];
        n /= length;
    }
    return data;
}

static void
check_bytes(const u8 *data, const fp_out_of_band *sent)
{
    u64 size = sent->rows.ndim ? sent->rows.size : sent->bytes.size;
    for (u64 n = 0; n * size < sent->bytes.size; n++) {
        CHECK(memcmp(data + n * size, nth_row(sent, n), size) == 0);
    }
}

static void
check_same(const u8 *data, const fp_payload *p)
{
    const u8 *at = data;
    for (u64 i = 0; i < p->npieces; i++) {
        CHECK(p->pieces[i].size == 0 || memcmp(at, p->pieces[i].data, p->pieces[i].size) == 0);
        at += p->pieces[i].size;
    }
    CHECK_EQ((u64)(at - data), p->stream);
    u64 count;
    CHECK_EQ(fp_payload_count(data, p->size, p->stream, &count), FP_OK);
    CHECK_EQ(count, p->nbuffers);
    for (u64 i = 0; i < count; i++) {
        fp_out_of_band b;
        CHECK_EQ(fp_payload_buffer(data, p->size, p->stream, i, &b), FP_OK);
        CHECK_EQ(b.bytes.size, p->buffers[i].bytes.size);
        CHECK_EQ(b.kind, p->buffers[i].kind);
        CHECK_EQ((u64)(b.bytes.data - data) % FP_BUFFER_ALIGNMENT, 0);
        check_bytes(b.bytes.data, &p->buffers[i]);
    }
}

/* In memory of exactly its size, so that the sanitizers see one byte too many. */
static void
test_round_trips(void)
{
    for (int round = 0; round < 3000; round++) {
        fp_piece pieces[MOST];
        fp_out_of_band buffers[MOST];
        layout layouts[MOST];
        fp_payload p = any_payload(pieces, buffers, layouts);
        u8 *data = malloc(p.size ? p.size : 1);
        CHECK(data != NULL);
        fp_payload_write(&p, data);
        check_same(data, &p);
        free(data);
    }
}

/* The gaps are zeros there. */
static void
test_file(void)
{
    static u8 data[4 << 20];
    for (int round = 0; round < 1000; round++) {
        fp_piece pieces[MOST];
        fp_out_of_band buffers[MOST];
        layout layouts[MOST];
        fp_payload p = any_payload(pieces, buffers, layouts);
        pieces[0] = (fp_piece){source, dice(4) ? 0 : dice(sizeof source)};
        CHECK(fp_payload_measure(&p) && p.size <= sizeof data);
        int fd = memfd_create("test", MFD_CLOEXEC);
        CHECK(fd >= 0);
        CHECK_EQ(ftruncate(fd, 64 + (off_t)p.size), 0);
        CHECK_EQ(fp_payload_write_file(&p, fd, 64), FP_OK);
        CHECK_EQ(pread(fd, data, sizeof data, 64), (ssize_t)p.size);
        check_same(data, &p);
        close(fd);
    }
}

/* Whatever count, sizes, offsets and kinds stand there: a buffer that is handed out lies in the payload. */
static void
test_nonsense(void)
{
    for (int round = 0; round < 20000; round++) {
        u64 size = dice(300), stream = dice(8) ? dice(size + 1) : (u64)rand() << 33 | (u64)rand();
        u8 *data = malloc(size ? size : 1);
        CHECK(data != NULL);
        for (u64 i = 0; i < size; i++) {
            data[i] = (u8)(dice(3) ? 0 : dice(256));
        }
        u64 count;
        if (fp_payload_count(data, size, stream, &count) == FP_OK) {
            for (u64 i = 0; i < count; i++) {
                fp_out_of_band b;
                if (fp_payload_buffer(data, size, stream, i, &b) == FP_OK) {
                    CHECK((u64)(b.bytes.data - data) + b.bytes.size <= size);
                    CHECK(b.kind < FP_BUFFER_KINDS);
                    CHECK(b.kind != FP_BUFFER_ARRAY || b.bytes.size > 0);
                }
            }
        }
        free(data);
    }
}

/* Nothing of what is measured needs to be there. */
static void
test_too_many_bytes(void)
{
    fp_piece nothing = {NULL, 0};
    for (u64 i = 2; i <= 64; i++) {   /* so many that have together a few bytes, if one counts to 2 ** 64 */
        fp_out_of_band buffers[64];
        for (u64 k = 0; k < i; k++) {
            buffers[k] = (fp_out_of_band){{source, UINT64_MAX / i + 1}, FP_BUFFER_ARRAY, {0}};
        }
        fp_payload p = {.pieces = &nothing, .npieces = 1, .buffers = buffers, .nbuffers = i};
        CHECK(!fp_payload_measure(&p));
    }
    fp_out_of_band most = {{source, (u64)1 << 61}, FP_BUFFER_ARRAY, {0}};
    fp_payload p = {.pieces = &nothing, .npieces = 1, .buffers = &most, .nbuffers = 1};
    CHECK(fp_payload_measure(&p) && p.size > most.bytes.size);
}

int
main(void)
{
    check_within(100);
    srand(5);
    for (u64 i = 0; i < sizeof source; i++) {
        source[i] = (u8)dice(256);
    }
    test_round_trips();
    test_file();
    test_nonsense();
    test_too_many_bytes();
    return 0;
}
