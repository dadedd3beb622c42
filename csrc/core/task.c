#include "task.h"

#include <stdlib.h>
#include <string.h>

fp_task *
fp_task_new(u32 fn, u32 kind, const u8 *data, u64 size, char *label)
{
    u64 room = size <= FP_INLINE ? size : 0;
    fp_task *t = malloc(sizeof *t + room);
    if (t == NULL) {
        return NULL;
    }
    memset(t, 0, sizeof *t);
    fp_store_relaxed(&t->refs, 1);
    t->fn = fn;
    t->kind = kind;
    t->size = size;
    t->label = label;
    if (room) {
        memcpy(t->small, data, room);
    }
    return t;
}

void
fp_task_incref(fp_task *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

bool
fp_task_decref(fp_task *t)
{
    return atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1;
}

void
fp_death_clear(fp_death *death)
{
    free(death->label);
    free(death->error);
    free(death->reason);
}

void
fp_task_free(fp_task *t)
{
    if (t->death != NULL) {
        fp_death_clear(t->death);
        free(t->death);
    }
    free(t->call);
    free(t->reply);
    free(t->label);
    free(t);
}
