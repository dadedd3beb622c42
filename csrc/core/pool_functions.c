#define _GNU_SOURCE
#include "pool_parts.h"
#include "error.h"

#include <stdlib.h>
#include <string.h>

/* Where the pickle of a new entry goes. (What is written to shared memory is not read back: others write there, too.) */
static u8 *
function_room_locked(fp_pool *p, fp_function_shm *fn, u64 size)
{
    u64 offset = 0;
    if (size > FP_FUNCTION_MAX && fp_blocks_alloc(&p->blocks, size, &offset) != FP_OK) {
        return NULL;
    }
    fn->fn_len = (u32)size;
    fn->fn_offset = offset;
    return offset ? fp_shm_at(&p->shm, offset) : fn->fn_pickle;
}

static bool
table_has_room_locked(const fp_pool *p, u64 size, bool by_value)
{
    return p->nfunctions < FP_NFUNCTIONS &&
           (!by_value || (p->nby_value < FP_NFUNCTIONS / 2 && size <= FP_BY_VALUE_MAX - p->by_value_bytes));
}

static int
add_function(fp_pool *p, const u8 *data, u64 size, const char *label, bool by_value)
{
    char *copy = strdup(label);
    if (copy == NULL) {
        return FP_NOMEM;
    }
    int id = FP_FULL;
    u8 *room = NULL;
    pthread_mutex_lock(&p->lock);
    fp_function_shm *fn = &p->shm.functions[p->nfunctions];
    if (table_has_room_locked(p, size, by_value) && (room = function_room_locked(p, fn, size)) != NULL) {
        memcpy(room, data, size);
        fn->fn_by_value = by_value;
        p->nby_value += by_value;
        p->by_value_bytes += by_value ? size : 0;
        p->labels[p->nfunctions] = copy;
        id = (int)++p->nfunctions;
        copy = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    free(copy);
    return id;
}

int
fp_pool_add_function(fp_pool *p, const u8 *data, u64 size, const char *label)
{
    return size <= FP_FUNCTION_MAX ? add_function(p, data, size, label, false) : FP_FULL;
}

int
fp_pool_add_function_by_value(fp_pool *p, const u8 *data, u64 size, const char *label)
{
    return add_function(p, data, size, label, true);
}

const char *
fp_pool_label(const fp_pool *p, const fp_task *t)
{
    if (t->label != NULL) {
        return t->label;
    }
    return t->fn ? p->labels[t->fn - 1] : NULL;
}
