#include "blocks.h"
#include "error.h"
#include "spans.h"

#include <stdlib.h>

void
fp_blocks_init(fp_blocks *b, const fp_shm *shm)
{
    *b = (fp_blocks){.shm = shm};
}

void
fp_blocks_fini(fp_blocks *b)
{
    for (u32 i = 0; b->of_span != NULL && i < b->shm->nspans; i++) {
        free(b->of_span[i]);
    }
    free(b->of_span);
    b->of_span = NULL;
}

#define CLASS(n) {n, FP_SPAN / (n) & ~(FP_LINE - 1)}

/* So many in a span, of so many bytes each. */
static const struct {
    u32 count, size;
} classes[FP_BLOCK_CLASSES] = {CLASS(FP_BLOCKS_PER_SPAN), CLASS(120), CLASS(60), CLASS(30),
                               CLASS(15), CLASS(7), CLASS(3), CLASS(2)};

u64
fp_blocks_size(u32 class)
{
    return classes[class].size;
}

/* FP_BLOCK_CLASSES: too large for any. */
static u32
class_for(u64 size)
{
    u32 c = 0;
    while (c < FP_BLOCK_CLASSES && classes[c].size < size) {
        c++;
    }
    return c;
}

static fp_block_span *
new_span(fp_blocks *b, u32 class)
{
    if (b->of_span == NULL) {
        b->of_span = calloc(b->shm->nspans, sizeof *b->of_span);
        if (b->of_span == NULL) {
            return NULL;
        }
    }
    fp_block_span *s = calloc(1, sizeof *s);
    u64 offset;
    if (s == NULL || fp_spans_claim(b->shm, FP_SPAN_PARENT, 0, FP_SPAN, &offset) != FP_OK) {
        free(s);
        return NULL;
    }
    s->span = (u32)((offset - b->shm->spans) / FP_SPAN);
    if (b->of_span[s->span] != NULL) {   /* ours already: somebody scribbled over the owner words */
        free(s);
        return NULL;
    }
    s->class = class;
    b->of_span[s->span] = s;
    b->with_room[class] = s;   /* the list was empty */
    return s;
}

static u32
first_free(const fp_block_span *s)
{
    u32 i = 0;
    while (s->taken[i] == UINT64_MAX) {
        i++;
    }
    return i * 64u + (u32)__builtin_ctzll(~s->taken[i]);
}

bool
fp_blocks_is_run(u64 size)
{
    return size > classes[FP_BLOCK_CLASSES - 1].size;
}

bool
fp_blocks_has_room(const fp_blocks *b, u64 size)
{
    return b->with_room[class_for(size)] != NULL;
}

int
fp_blocks_alloc(fp_blocks *b, u64 size, u64 *offset)
{
    u32 class = class_for(size);
    if (class == FP_BLOCK_CLASSES) {
        return fp_spans_claim(b->shm, FP_SPAN_PARENT, 0, size, offset);
    }
    fp_block_span **list = &b->with_room[class];
    fp_block_span *s = *list != NULL ? *list : new_span(b, class);
    if (s == NULL) {
        return FP_NOMEM;
    }
    u32 i = first_free(s);
    s->taken[i / 64] |= 1ull << (i % 64);
    if (++s->used == classes[class].count) {
        *list = s->next;
    }
    *offset = b->shm->spans + (u64)s->span * FP_SPAN + i * fp_blocks_size(class);
    return FP_OK;
}

static void
give_span_back(fp_blocks *b, fp_block_span *s)
{
    fp_block_span **p = &b->with_room[s->class];
    while (*p != s) {
        p = &(*p)->next;
    }
    *p = s->next;
    b->of_span[s->span] = NULL;
    fp_spans_free(b->shm, b->shm->spans + (u64)s->span * FP_SPAN, FP_SPAN);
    free(s);
}

bool
fp_blocks_free(fp_blocks *b, u64 offset, u64 size)
{
    if (fp_blocks_is_run(size)) {
        fp_spans_free(b->shm, offset, size);
        return true;
    }
    u64 at = offset - b->shm->spans;
    fp_block_span *s = b->of_span[at / FP_SPAN];
    fp_block_span **list = &b->with_room[s->class];
    u32 i = (u32)(at % FP_SPAN / fp_blocks_size(s->class));
    if (s->used-- == classes[s->class].count) {
        s->next = *list;
        *list = s;
    }
    s->taken[i / 64] &= ~(1ull << (i % 64));
    /* keep one span of each size: the next call is likely to want it, warm */
    bool idle = s->used == 0 && (*list != s || s->next != NULL);
    if (idle) {
        give_span_back(b, s);
    }
    return idle;
}
