/* Private memory for large arrays that arrive, kept for a while when it is freed: for the next ones.
 *
 * Why       malloc gives back to the system what is larger than 32 MiB, or what of several arrays is dropped together, and the first
 *           write to new pages takes longer than the copy that they are for. (1 MiB on an Intel Xeon of 2.5 GHz, a C probe: 111 to
 *           124 us to copy, 360 to 390 for new pages with one call, 463 to 526 with a fault for each.)
 * Memory    regions of the process's own, each one mapping. One that has been freed is kept if it is within the limit, and used
 *           again for what is not much smaller. What has not been used for one to two seconds is given back (by a manager
 *           that looks after its workers' memory, and so must have the GIL now and then, later if somebody has that all the
 *           time). Where nothing can be kept malloc is better: fp_warm_is_for says which memory to use.
 * Who       keeps how much, and gives it back in time: a program, while a pool's manager listens to its bell (fp_keeper). A
 *           worker what it frees itself between two tasks (fp_warm_enter): not while one runs, which may need the memory. Nobody else.
 * Locking   a mutex of its own, never held over a call that blocks or frees; and held over a fork: the child finds what is
 *           kept whole, and drops it. Any thread may take and give.
 */
#ifndef FP_WARM_H
#define FP_WARM_H

#include "atomic.h"

typedef struct fp_region {
    u8 *data;
    u64 size;               /* bytes that there are: at least as many as were asked for */
    bool is_warm;           /* it has been used before: most of its pages are there */
    u64 freed;              /* fp_now */
    struct fp_region *next;
} fp_region;

/* Could so many bytes be kept here and now, when they are freed? */
bool fp_warm_is_for(u64 size);
/* Room for `size` bytes, which are not zeros; NULL: no memory. */
fp_region *fp_warm_take(u64 size);
/* It is free: it is kept, or given back to the system. */
void fp_warm_give(fp_region *region);

bool fp_warm_is_kept(void);
/* Keep nothing of what is kept now. */
void fp_warm_drop(void);

/* How much the owner of so many bytes of shared memory may keep. */
u64 fp_warm_limit(u64 shared_memory);

/* ------------------------------------------------------------------ a program */

/* Whoever is to call fp_warm_trim when that bell rings. */
typedef struct fp_keeper {
    int bell;
    u64 limit;              /* what may be kept is the most of theirs */
    struct fp_keeper *next;
} fp_keeper;

void fp_warm_join(fp_keeper *keeper, int bell, u64 limit);
/* It does not listen any more, perhaps for a moment only. Nothing is kept meanwhile if there is no other, but for what is already. */
void fp_warm_leave(fp_keeper *keeper);
/* A pool has ended: if there is no keeper all goes. */
void fp_warm_rest(void);
/* Give back what has been kept for long enough. When to call it again (fp_now), or FP_NEVER. */
u64 fp_warm_trim(void);

/* ------------------------------------------------------------------- a worker */

typedef enum {
    FP_WARM_PROGRAM,   /* no worker */
    FP_WARM_BETWEEN,   /* what its task is made of, or has left, is the worker's */
    FP_WARM_TASK,      /* a task runs */
    FP_WARM_IDLE,      /* soon asleep, or asleep */
} fp_phase;

/* This process is a worker, in FP_WARM_BETWEEN, that may keep so much. Or, with FP_WARM_PROGRAM, it is no worker any more. */
void fp_warm_become(fp_phase phase, u64 limit);
/* A worker's thread: what it does from now on. Before a task, what is kept still is given back. Is something kept? */
bool fp_warm_enter(fp_phase phase);

#endif
