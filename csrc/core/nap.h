/* Napping: what the waiting thread does instead of sleeping while results come fast and many tasks are queued.
 *
 * A sleeper is woken for each task that ends. The wake costs the worker some 15 us if the sleeper has a CPU to wake
 * on, and the sleeper takes some 20 us from a task if it has none: up to a fifth of a task of 100 us. So where tasks
 * end fast, and many are still queued, it stays away for a while and finds several results when it comes back. The
 * price is that a result waits, for at most FP_NAP_MAX and an eighth of the time that the queue still takes: near its
 * end every result is delivered at once. A nap is never instead of a wake-up, only before a sleep that has one.
 */
#ifndef FP_NAP_H
#define FP_NAP_H

#include "os.h"

#define FP_NAP_MAX 500000u          /* ns */
#define FP_NAP_TASKS 4u             /* a nap that would see fewer tasks end is not worth it */
#define FP_NAP_SLOW 1000000u        /* ns between the ends of two tasks; no need to tell slower ones apart */

typedef struct {
    u64 since, ended;   /* when we last looked, and the tasks that had ended by then */
    u64 interval;       /* ns between the ends of two tasks, lately */
} fp_nap;

static inline void
fp_nap_init(fp_nap *n)
{
    *n = (fp_nap){.interval = FP_NAP_SLOW};
}

static inline void
fp_nap_learn(fp_nap *n, u64 now, u64 ended)
{
    if (ended != n->ended) {
        u64 interval = (now - n->since) / (ended - n->ended);
        n->interval = (n->interval + (interval < FP_NAP_SLOW ? interval : FP_NAP_SLOW)) / 2;
        n->since = now;
        n->ended = ended;
    }
}

/* Until when to nap, 0 for not at all. `ended`, `unfinished`: tasks of the pool. */
static inline u64
fp_nap_plan(fp_nap *n, u64 now, u64 ended, u64 unfinished)
{
    fp_nap_learn(n, now, ended);
    u64 interval = now - n->since > n->interval ? now - n->since : n->interval;   /* perhaps they are slower by now */
    u64 length = unfinished * interval / 8;
    if (length > FP_NAP_MAX) {
        length = FP_NAP_MAX;
    }
    return length < FP_NAP_TASKS * interval ? 0 : now + length;
}

#endif
