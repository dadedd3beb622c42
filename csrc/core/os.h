/* The only door to the operating system: futexes, descriptors, clocks, CPUs. */
#ifndef FP_OS_H
#define FP_OS_H

#include <stddef.h>
#include "atomic.h"

#define FP_NEVER UINT64_MAX   /* a deadline that does not come */

/* Nanoseconds of CLOCK_MONOTONIC. */
u64 fp_now(void);

/* Sleep until then; 0, or FP_INTR if a signal came first. Nothing else wakes it. */
int fp_nap_until(u64 then);

/* Sleep while *word == expected, until `deadline` (ns of fp_now, or FP_NEVER).
 * FP_OK: woken (perhaps for nothing); FP_AGAIN: *word differs; FP_TIMEDOUT; FP_INTR.
 * `shared`: the word lies in memory that other processes map. */
int fp_futex_wait(fp_a32 *word, u32 expected, u64 deadline, bool shared);
void fp_futex_wake(fp_a32 *word, int how_many, bool shared);

int fp_memfd_create(const char *name);
/* From now on nobody can change its size: it would be a SIGBUS for whoever has mapped it. Where the kernel refuses, anybody can. */
void fp_seal_size(int fd);
int fp_eventfd_create(void);
void fp_eventfd_ring(int fd);
void fp_eventfd_clear(int fd);
int fp_pidfd_open(int pid);
bool fp_pidfd_ended(int pidfd);   /* has that process ended? */

/* Give [offset, offset + size) of the file real pages; 0 or FP_NOMEM. */
int fp_reserve(int fd, u64 offset, u64 size);
#define FP_HUGE_PAGE (2u << 20)
/* New private memory of at least one byte, before all of it is written: in huge pages where they fit, and if `at_once` with
 * one call instead of a page fault each (200 blocks of 1 MiB and the copies into them: 95 ms instead of 109). */
void fp_prepare_memory(void *memory, u64 size, bool at_once);
/* Write all of it; 0, FP_NOMEM, FP_SYSTEM. */
int fp_write_at(int fd, u64 offset, const void *data, u64 size);
void fp_release_pages(int fd, u64 offset, u64 size);

/* CPUs that this process may use: affinity and the cgroup's quota, at least 1. */
unsigned fp_cpus(void);

/* This process's limit (RLIMIT_*); UINT64_MAX: there is none. */
u64 fp_rlimit(int resource);

/* As fork(), but the child becomes one of this process's parent. Only for a process with one thread: the C library, whose
 * own fork() takes no flags, prepares nothing. The child's pid, 0 in it, or FP_SYSTEM. */
int fp_fork_sibling(void);

/* Bytes of memory that this process shares with no file. */
u64 fp_private_memory(void);

/* Bytes of memory that a child of this process which has ended, and has not been waited for, had at most; 0: not known. */
u64 fp_peak_memory(int pid);

/* A number that differs in every process of a fork tree: +1 in each child. */
unsigned fp_fork_generation(void);
void fp_fork_watch(void);         /* once, before the first use of the above */
/* Is this the thread that Python runs signal handlers in: the process's first one? */
bool fp_is_main_thread(void);

#endif
