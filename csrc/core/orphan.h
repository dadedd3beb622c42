/* A worker does not outlive the process that owns its pool.
 *
 * Doorbells  the lifeline: a pipe of which only the owner has the writing end, so the kernel signals its
 *            readers (O_ASYNC) when the owner is gone, however it went. And the parent-death signal, for
 *            where /proc is not mounted; by itself it would not do: it follows the THREAD that forked, and
 *            a fork server lives as long as any of its children.
 * Truth      the owner's pidfd, looked at in the signal's handler.
 * Not        a thread in the worker (a task's own os.fork() would be warned about it), nor a timer (it would
 *            interrupt the task's system calls).
 * Fork       a child of the owner closes its copy of the writing end at once (pthread_atfork).
 */
#ifndef FP_ORPHAN_H
#define FP_ORPHAN_H

/* Owner: the lifeline's reading end, to be handed to workers. One per process, made when first asked
 * for, never closed. FP_SYSTEM if there can be none. */
int fp_lifeline(void);

/* Worker: watch process `owner` through its lifeline, whose descriptor is taken over. Ends this process at
 * once if the owner is gone already. 0 or FP_SYSTEM (no such signal). */
int fp_orphan_watch(int owner, int lifeline);

#endif
