/* Big payloads: runs of 256 KiB spans, each with one owner word in shared memory.
 *
 * Memory    shared: hd_owners. FREE, PARENT or WORKER + w, and two bits: RESERVED, its pages exist; USED.
 * Writers   FREE -> mine: anyone, CAS. mine -> FREE: the owner. WORKER + w -> PARENT: the parent,
 *           when a reply arrives. No span is freed by a process that does not own it. USED is cleared by
 *           CAS, by the parent: so who owns a span may lose that bit meanwhile, and nothing else.
 * Idle      pages stay with a free span: to fill them again costs a third of new ones. The parent gives
 *           them back once they have not been used from one fp_spans_trim to the next.
 * Death     between two CASes of one run the words name the dead worker: reap frees them.
 * Blocking  fp_reserve (a system call), once per span until its pages are given back.
 */
#ifndef FP_SPANS_H
#define FP_SPANS_H

#include "shm.h"

/* A run for `size` bytes, owned by `owner`; the search starts at span `first` (each process has
 * a favourite place: pages it has written before are cheaper). 0 with `*offset`, or FP_NOMEM. */
int fp_spans_claim(const fp_shm *m, u32 owner, u32 first, u64 size, u64 *offset);
/* Bytes of the spans of such a run. */
u64 fp_spans_room(u64 size);
/* The owner gives the run back. */
void fp_spans_free(const fp_shm *m, u64 offset, u64 size);
/* Parent: worker w's run becomes mine. 0, or FP_CORRUPT if it is not w's run. */
int fp_spans_take_over(const fp_shm *m, u32 w, u64 offset, u64 size);
/* Parent: w is dead, free what it owned. */
void fp_spans_free_of(const fp_shm *m, u32 w);
/* Parent, now and then: pages that have not been used since the last time go back to the system, but for
 * `keep` spans. True: some may have to go next time. */
bool fp_spans_trim(const fp_shm *m, u32 keep);

#endif
