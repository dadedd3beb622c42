/* An object in shared memory of its own: written once, read by any process that is told where it is.
 *
 * Memory    a memfd: fp_share_head, then a payload (payload.h), mapped read-only. It is sealed once it is written: nobody,
 *           in whatever process, can write to it, shrink it or let it grow, so a reader sees no change and no SIGBUS.
 * Name      /proc/PID/fd/N of any process that holds it, and a random token: a number that came to mean another file
 *           is noticed. See memfd_create(2), fcntl(2) on seals, proc_pid_fd(5).
 * Lifetime  within a process by count: a Python object has one, and every call on its way that names it. Between
 *           processes the kernel counts. Nothing is left when the last has gone, whatever it died of.
 * Fork      a child inherits all of them, wanted or not. In a worker fp_shares_let_go closes those that nothing looks
 *           into, or they would stay for as long as the pool; who needs one of these after all opens it again, in the
 *           parent, while the parent has it.
 * Locking   the count is atomic; the list of all, `memory` and `fd` have a mutex, which a fork takes as well: so a child
 *           finds each file in the list, and may use it at once.
 */
#ifndef FP_SHARE_H
#define FP_SHARE_H

#include "payload.h"

#define FP_TOKEN 16u

typedef struct fp_share {
    fp_a32 refs;
    u32 uses;               /* under the mutex: views of `memory` that are in somebody's hands */
    int fd;                 /* -1: let go after a fork */
    const u8 *memory;       /* the whole file; NULL: let go, or not written yet */
    u64 mapped;             /* its size */
    u64 size, stream;       /* of the payload */
    u8 token[FP_TOKEN];
    int process;            /* that has made this record */
    int parent, parent_fd;  /* where it can be opened again */
    struct fp_share *next, *previous;
} fp_share;

/* Each sets `*share`, with one reference, or returns a code: FP_NOMEM, FP_SYSTEM (errno), FP_CORRUPT (another file). */
int fp_share_create(const fp_payload *payload, fp_share **share);
/* A copy of all that another one's `memory` held. */
int fp_share_copy(const u8 *data, u64 size, fp_share **share);
int fp_share_open(int owner, int fd, const u8 token[FP_TOKEN], fp_share **share);
/* By a descriptor, which is taken over. */
int fp_share_adopt(int fd, fp_share **share);

void fp_share_incref(fp_share *s);
void fp_share_decref(fp_share *s);

/* Look into it: `memory` stays until the same number of fp_share_unuse. FP_OK or, if it had to be opened again, as above. */
int fp_share_use(fp_share *s);
void fp_share_unuse(fp_share *s);

static inline const u8 *
fp_share_payload(const fp_share *s)
{
    return s->memory + s->mapped - s->size;
}

/* In a forked child: let go of what is the parent's and nobody uses, unless we may not look into the parent. */
void fp_shares_let_go(void);

/* Those that a call on its way keeps alive. */
typedef struct fp_holds {
    struct fp_holds *next;
    u32 n;
    fp_share *shares[];
} fp_holds;

/* `*holds` (malloc, may be NULL) with one more, and one reference more; FP_NOMEM. */
int fp_holds_add(fp_holds **holds, fp_share *s);
/* The whole list. */
void fp_holds_free(fp_holds *holds);
/* Would that free memory? It takes a while. */
bool fp_holds_is_last(const fp_holds *holds);

#endif
