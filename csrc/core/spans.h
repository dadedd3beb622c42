/* Big payloads: runs of 1 MiB spans, each with one owner word in shared memory.
 *
 * Memory    shared: hd_owners. FREE, PARENT or WORKER + w, and the bit RESERVED: its pages exist.
 * Writers   FREE -> mine: anyone, CAS. mine -> FREE: the owner. WORKER + w -> PARENT: the parent,
 *           when a reply arrives. No span is freed by a process that does not own it.
 * Death     between two CASes of one run the words name the dead worker: reap frees them.
 * Blocking  fp_reserve (a system call), once per span until its pages are given back.
 */
#ifndef FP_SPANS_H
#define FP_SPANS_H

#include "shm.h"

/* A run for `size` bytes, owned by `owner`; the search starts at span `first` (each process has
 * a favourite place: pages it has written before are cheaper). 0 with `*offset`, or FP_NOMEM. */
int fp_spans_claim(const fp_shm *m, u32 owner, u32 first, u64 size, u64 *offset);
/* The owner gives the run back. */
void fp_spans_free(const fp_shm *m, u64 offset, u64 size);
/* Parent: worker w's run becomes mine. 0, or FP_CORRUPT if it is not w's run. */
int fp_spans_take_over(const fp_shm *m, u32 w, u64 offset, u64 size);
/* Parent: w is dead, free what it owned. */
void fp_spans_free_of(const fp_shm *m, u32 w);

#endif
