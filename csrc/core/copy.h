/* Copying what is large with more than one thread: one alone does not use what the memory can do, and new memory is given
 * by the system to each thread separately. (64 MiB, two CPUs: 13.3 ms alone and 7.2 by two; into new huge pages 29 and 15.) */
#ifndef FP_COPY_H
#define FP_COPY_H

#include "atomic.h"

/* memcpy, for any size. Not with the GIL if `size` is large. */
void fp_copy(void *to, const void *from, u64 size);

#endif
