/* Private memory for large arrays that arrive, kept for a while when it is freed: for the next ones.
 *
 * Why       malloc gives large memory back to the system at once, and the first write to new pages takes longer than the copy
 *           that they are for. (1 MiB on an Intel Xeon of 2.5 GHz: 100 us to copy, 150 us for new pages.)
 * Memory    regions of the process's own, each one mapping. One that has been freed is kept if it is within the limit, and used
 *           again for what is not much smaller. What has not been used for one to two seconds is given back.
 * Who       keeps how much, and gives it back in time: a program the managers of its pools (fp_keeper), as long as it has any; a
 *           worker itself, whatever it is between two tasks (fp_warm_allow, fp_warm_drop). Nobody else keeps anything.
 * Locking   a mutex of its own, held for a few instructions, and over a fork: the child finds what is kept whole, and
 *           drops it. Any thread may take and give.
 */
#ifndef FP_WARM_H
#define FP_WARM_H

#include "atomic.h"

typedef struct fp_region {
    u8 *data;
    u64 size;               /* bytes that there are: at least as many as were asked for */
    bool is_warm;           /* it has its pages */
    u64 freed;              /* fp_now */
    struct fp_region *next;
} fp_region;

/* Room for `size` bytes, which are not zeros; NULL: no memory. */
fp_region *fp_warm_take(u64 size);
/* It is free, and may be kept; or is given back to the system, as all is of which `keep` is false. */
void fp_warm_give(fp_region *region, bool keep);

/* How much the process of a pool with so many bytes of shared memory may keep; nothing where limits forbid. */
u64 fp_warm_limit(u64 shared_memory);
/* Keep at most so much, from now on. */
void fp_warm_allow(u64 limit);
bool fp_warm_is_kept(void);
/* Keep nothing of what is kept now. */
void fp_warm_drop(void);

/* Somebody whose bell may be rung for fp_warm_trim. */
typedef struct fp_keeper {
    int bell;
    struct fp_keeper *next;
} fp_keeper;

void fp_warm_join(fp_keeper *keeper, int bell, u64 limit);
/* Also of one that has not joined. With the last one all goes. */
void fp_warm_leave(fp_keeper *keeper);
/* Give back what has been kept for long enough. When to call it again (fp_now), or FP_NEVER. */
u64 fp_warm_trim(void);

#endif
