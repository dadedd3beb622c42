/* Which process is worker w: a ticket, so that there are never two.
 *
 * Each start has a ticket of its own, a number that the new process is given. The process takes no call, and does not run the
 * initializer, until the parent, which knows the process by then, has shown that number in wk_ticket; if it finds another one
 * there, it ends. So a process that was forked, and of which the parent never heard, is nobody's worker: whoever forked it may
 * have died before it could tell. (Under spawn and forkserver it has imported the main module by then.)
 *
 * Memory    wk_ticket, the parent's; it stays readable when the pool is over.
 * Locking   none here; the parent shows tickets under the pool's lock.
 * Blocking  fp_ticket_wait, until the parent shows a ticket or nobody's. The process ends with its owner (orphan.h).
 */
#ifndef FP_ADMISSION_H
#define FP_ADMISSION_H

#include "shm.h"

#define FP_TICKET_NOBODY 0xffffffffu   /* the index has no worker: whoever waits for it ends */

/* Parent: what the processes that want to be worker w are to see. */
void fp_ticket_show(fp_shm *m, u32 w, u32 ticket);
/* In the new process: wait until it is admitted. 0; FP_CLOSED: it never will be; FP_INTR; FP_SYSTEM; FP_CORRUPT. */
int fp_ticket_wait(int memfd, u32 w, u32 ticket);

#endif
