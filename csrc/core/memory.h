/* How much memory there is, for this process: of the machine, and of the control groups that it is in.
 *
 * Sources   /proc/meminfo; /proc/self/cgroup and memory.max, memory.current, memory.stat of the group and of those above
 *           it (cgroup v2); memory.limit_in_bytes and memory.usage_in_bytes (v1). See cgroups(7) and the kernel's
 *           Documentation/admin-guide/cgroup-v2.rst. What cannot be read sets no limit.
 */
#ifndef FP_MEMORY_H
#define FP_MEMORY_H

#include "atomic.h"

/* Bytes that there may be at most: RAM, or a group's limit if that is lower. */
u64 fp_memory_total(void);
/* Bytes that can be had now without swapping, and without that somebody is killed for it. */
u64 fp_memory_available(void);
/* May so many bytes more be taken, with something left for everybody else? Small amounts are not worth the question. Before it
 * is refused, what is kept warm is given back. */
bool fp_memory_suffices(u64 size);

#endif
