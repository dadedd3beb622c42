/* Copies.
 *
 * Blocking  until the copy is made. A large one is shared with threads that live for it alone: one thread does not use what
 *           the memory can do, and new memory is cleared by whoever touches it first. (64 MiB, two CPUs: 11.8 ms alone and
 *           6.2 by two; into new huge pages 20 and 10.)
 * Signals   are for the program's own threads, but for those that say that the copy itself has failed.
 */
#ifndef FP_COPY_H
#define FP_COPY_H

#include "atomic.h"

#define FP_SHARED_COPY (32u << 20)   /* where no CPU is free a helper may come some milliseconds late, and is waited for */

/* memcpy, for any size. Not with the GIL if `size` is large. */
void fp_copy(void *to, const void *from, u64 size);

#endif
