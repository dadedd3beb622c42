/* Is everything where the protocol can have put it? A look at all that is with the workers.
 *
 * Why       a worker that writes over a state word, the ring's head or its own wk_slot can make a task vanish, so that
 *           nobody would ever claim it or list it. Nothing that happens would tell the parent; so it looks: after a death,
 *           which is often the end of such a worker, and when a thread has waited for long.
 * Locking   the pool's lock. Workers go on meanwhile: each check holds at every instant of an undamaged pool.
 */
#ifndef FP_AUDIT_H
#define FP_AUDIT_H

#include "pool.h"

/* False: the shared memory is damaged. May pump. */
bool fp_audit_locked(fp_pool *p);
/* A thread has waited for long: break the pool if it is damaged, and wake the workers if tasks wait, for one whose bit has
 * been written over sleeps unseen. */
void fp_look_around_locked(fp_pool *p);

#endif
