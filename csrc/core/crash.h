/* What a worker's faulthandler has to say: it writes with write() alone, even when everything else is broken, so it gets
 * a descriptor that stands at its own place in the pool's shared memory (hd_crashes). The parent reads it later. */
#ifndef FP_CRASH_H
#define FP_CRASH_H

#include "shm.h"

/* Worker: a descriptor to write to, for worker w of the pool whose memory `memfd` is. Or FP_SYSTEM, FP_CORRUPT. */
int fp_crash_open(int memfd, u32 w);
/* Parent: how many bytes there are, at most `room`, which are copied. They stay. */
u64 fp_crash_read(const fp_shm *m, u32 w, char *text, u64 room);
/* Parent: before index w is used again. */
void fp_crash_clear(const fp_shm *m, u32 w);

#endif
