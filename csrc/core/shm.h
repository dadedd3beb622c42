/* The pool's shared memory: making it, mapping it, finding the parts. */
#ifndef FP_SHM_H
#define FP_SHM_H

#include "layout.h"

/* A process's own view of it. Geometry is copied here and never read again from shared memory. */
typedef struct {
    fp_head_shm *head;
    fp_worker_shm *workers;
    fp_a64 *idle;
    fp_function_shm *functions;
    fp_a64 *cells;
    fp_slot_shm *slots;
    fp_a32 *owners;
    u8 *rings;
    u64 spans, spans_end;   /* offset of the first span, and behind the last */
    u64 crashes;         /* offset of the first worker's */
    u64 size, mapped;
    u32 nslots, ncells, nworkers, nspans;
    int fd;
} fp_shm;

/* Parent: a new one for `nworkers` workers with room for `bytes` of big payloads (less where
 * limits forbid). 0, FP_NOMEM or FP_SYSTEM. */
int fp_shm_create(fp_shm *m, u32 nworkers, u64 bytes);
/* Of the pool that `fd` names, what was written once. 0, FP_SYSTEM or FP_CORRUPT. */
int fp_shm_geometry(fp_head_shm *h, int fd);
/* Worker: map what `fd` names; takes the descriptor over. Where this process's address space is limited (RLIMIT_AS), the
 * spans are left out. 0, FP_SYSTEM or FP_CORRUPT. */
int fp_shm_attach(fp_shm *m, int fd);
/* A piece of the spans, of which a worker looks at one at a time. `v` keeps it mapped, if the whole is not, until it is
 * used again or dropped. NULL: there is no address space left. */
typedef struct {
    u8 *pages;
    u64 size;
} fp_view;
u8 *fp_view_at(const fp_shm *m, fp_view *v, u64 offset, u64 size);
void fp_view_drop(fp_view *v);
/* Parent's last act also gives the pages back, whoever may still hold the descriptor. */
void fp_shm_close(fp_shm *m, bool destroy);

static inline u8 *
fp_shm_at(const fp_shm *m, u64 offset)
{
    return (u8 *)m->head + offset;
}

/* Does [offset, offset + size) lie in the spans? (overflow-safe) */
static inline bool
fp_shm_in_spans(const fp_shm *m, u64 offset, u64 size)
{
    return offset >= m->spans && offset <= m->spans_end && size <= m->spans_end - offset;
}

#endif
