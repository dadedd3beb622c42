/* The parent's allocator for calls that do not fit into a slot.
 *
 * Memory    the bytes lie in spans that the parent owns; ALL bookkeeping is private, so no
 *           other process can damage it and no death can leave it half-written.
 * How       up to half a span: a few sizes, cut from spans of one size each, a bitmap per span. They are a little more
 *           than powers of two, since a pickle of 16 KiB is a little more than its data. Above: a run of spans of its own.
 * Locking   the pool's lock.
 */
#ifndef FP_BLOCKS_H
#define FP_BLOCKS_H

#include "shm.h"

#define FP_BLOCK_CLASSES 8u
#define FP_BLOCKS_PER_SPAN 240u   /* of the smallest */

typedef struct fp_block_span {
    struct fp_block_span *next;           /* of this size, with room */
    u32 span, class, used;
    u64 taken[(FP_BLOCKS_PER_SPAN + 63u) / 64u];   /* bit i: block i is in use */
} fp_block_span;

typedef struct {
    const fp_shm *shm;
    fp_block_span *with_room[FP_BLOCK_CLASSES];
    fp_block_span **of_span;              /* [nspans], made when first needed */
} fp_blocks;

void fp_blocks_init(fp_blocks *b, const fp_shm *shm);
void fp_blocks_fini(fp_blocks *b);
/* Bytes of a block of that class, ascending. */
u64 fp_blocks_size(u32 class);
/* Is such a block a run of spans, which needs no lock and no bookkeeping? */
bool fp_blocks_is_run(u64 size);
/* Is there one of that size, or would another span be needed? Not for runs. */
bool fp_blocks_has_room(const fp_blocks *b, u64 size);
/* 0 with `*offset`, or FP_NOMEM. */
int fp_blocks_alloc(fp_blocks *b, u64 size, u64 *offset);
/* True if spans have come free. */
bool fp_blocks_free(fp_blocks *b, u64 offset, u64 size);

#endif
