/* A worker does not outlive the process that owns its pool.
 *
 * The parent-death signal is only a doorbell: it follows the THREAD that forked, and under forkserver
 * it comes from the fork server, which ends when its owner does. The truth is the owner's pidfd,
 * looked at in the signal's handler: no thread in the worker (a task's own os.fork() would be
 * warned about it), no timer that interrupts the task's system calls.
 */
#ifndef FP_ORPHAN_H
#define FP_ORPHAN_H

/* Watch process `owner`. Ends this process at once if the owner is gone already.
 * 0 or FP_SYSTEM (no such signal). */
int fp_orphan_watch(int owner);

#endif
