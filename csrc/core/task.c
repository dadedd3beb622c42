#include "task.h"

#include <stdlib.h>
#include <string.h>

static fp_task *
task_alloc(u32 fn, u32 kind, char *label, u64 room)
{
    fp_task *t = malloc(sizeof *t + room);
    if (t == NULL) {
        return NULL;
    }
    memset(t, 0, sizeof *t);
    fp_store_relaxed(&t->refs, 1);
    t->fn = fn;
    t->kind = kind;
    t->label = label;
    return t;
}

fp_task *
fp_task_new(u32 fn, u32 kind, const fp_payload *payload, char *label)
{
    bool is_small = payload->size <= FP_INLINE;
    fp_task *t = task_alloc(fn, kind, label, is_small ? payload->size : 0);
    if (t != NULL) {
        t->size = payload->size;
        t->stream = payload->stream;
        if (is_small) {
            fp_payload_write(payload, t->small);
        }
    }
    return t;
}

fp_task *
fp_task_new_unplaced(u32 fn, u32 kind, char *label)
{
    fp_task *t = task_alloc(fn, kind, label, FP_INLINE);
    if (t != NULL) {
        t->unplaced = true;
    }
    return t;
}

bool
fp_task_set_terms(fp_task *t, const fp_terms *terms)
{
    if (terms->limit == 0 && terms->retries == 0 && terms->grace == 0) {
        return true;
    }
    if ((t->terms = malloc(sizeof *terms)) == NULL) {
        return false;
    }
    *t->terms = *terms;
    if (terms->limit != 0) {
        t->kind |= FP_CALL_TIMED;
    }
    return true;
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
    free(death->crash);
}

void
fp_task_free(fp_task *t)
{
    if (t->death != NULL) {
        fp_death_clear(t->death);
        free(t->death);
    }
    fp_holds_free(t->holds);
    free(t->terms);
    free(t->reply);
    free(t->label);
    free(t);
}
