/* The ring of hints, the slots' state words and the completed list: the protocol itself.
 *
 * Memory    shared (layout.h). Every process has its own fp_shm.
 * Writers   rg_tail, cells: the parent, under the pool's lock. rg_head: anyone, CAS +1.
 *           sl_state: see below. wk_slot: that worker. cq_head: workers push, parent takes all.
 * States    FREE -> READY            parent   fp_publish: payload, sl_state release (P1),
 *                                             cell release (P2), rg_tail seq_cst (P3)
 *           READY -> CLAIMED|w       worker   fp_claim: CAS; sees P1..P3 by acquire
 *           READY -> FREE            parent   fp_withdraw: CAS
 *           CLAIMED|w -> DONE|w      worker   fp_complete: reply, then CAS (C1)
 *           CLAIMED|w -> DOOMED|w    parent   fp_doom: CAS; then it kills w
 *           DONE|w -> listed         worker   fp_complete: sl_next, then CAS on cq_head (C2)
 *           listed -> FREE           parent   takes the list by exchange (acquires C1, C2)
 *           The generation in the word makes every CAS safe against reuse of the slot.
 * Blocking  nothing here blocks, and no loop waits for another process: each CAS that fails
 *           was overtaken by somebody's progress.
 * Death     of worker w right after ...
 *           reading a cell, or setting wk_slot   the slot is READY still, another claims it
 *           CLAIMED (rg_head not moved)          anyone moves rg_head on; reap finds CLAIMED|w and fails the task
 *           DONE, not listed                     reap finds DONE|w: the result is kept
 *           listed, WAITER or BELL not served    its death wakes the manager, which pumps
 */
#ifndef FP_RING_H
#define FP_RING_H

#include "shm.h"

/* Parent, under its lock: hand over a slot that is filled and FREE. `*tail` is the parent's own copy
 * of rg_tail. 0, FP_FULL or FP_CORRUPT. */
int fp_publish(const fp_shm *m, u64 *tail, u32 slot, u32 generation);
/* Parent, under its lock: are head and tail where the protocol can have put them? */
bool fp_ring_is_sound(const fp_shm *m, u64 tail);
/* Parent: take a READY slot back. True if no worker had claimed it. */
bool fp_withdraw(const fp_shm *m, u32 slot, u32 generation);
/* Parent: condemn worker w's running task. True if the task had not ended. */
bool fp_doom(const fp_shm *m, u32 slot, u32 generation, u32 w);
/* Parent: take the completed list, oldest first, into `slots` (room for nslots).
 * Its length, or FP_CORRUPT (what was good before the damage is not returned). */
int fp_take_completed(const fp_shm *m, u32 *slots);

/* Worker: the next task: its slot and generation. 0 or FP_EMPTY.
 * `*bell` is set when the caller must ring the doorbell. */
int fp_claim(const fp_shm *m, u32 w, u32 *slot, u32 *generation, bool *bell);
/* Worker: the reply is in the slot. 0 with `*flags` (FP_CQ_WAITER, FP_CQ_BELL: whom to wake), FP_CONDEMNED, or FP_CORRUPT:
 * somebody has written over the slot's state; the parent finds that out when this worker has ended. */
int fp_complete(const fp_shm *m, u32 w, u32 slot, u32 generation, u32 *flags);

/* Are there hints that nobody has taken? */
static inline bool
fp_ring_is_empty(const fp_shm *m)
{
    return fp_load_acquire(&m->head->rg_head) == fp_load_seq_cst(&m->head->rg_tail);
}

#endif
