/* Spinning before a sleep: bounded by the clock, and only where a CPU is free for it.
 *
 * A wake across cores costs 16 to 31 us, a spin that meets its event under 1 us. Whether a CPU really
 * is free nobody can ask: other programs may want it, and then a spin keeps the very process from
 * running that is waited for. So the budget doubles after a spin that met its event and halves after
 * one that did not, and now and then a wait tries the full one. By count instead of by the clock it
 * would be a trap: on one CPU 20,000 pauses turn 4 us into 256 us.
 */
#ifndef FP_SPIN_H
#define FP_SPIN_H

#include "os.h"

#define FP_SPIN_MAX 50000u   /* ns: a wake and a short task */
#define FP_SPIN_MIN 500u

#define FP_SPIN_TRY 32u       /* every so many waits */

typedef struct {
    u64 budget;     /* ns */
    u32 waits;
    unsigned cpus;
} fp_spin;

static inline void
fp_spin_init(fp_spin *s)
{
    *s = (fp_spin){.budget = FP_SPIN_MAX, .cpus = fp_cpus()};
}

static inline void
fp_spin_learn(fp_spin *s, bool met)
{
    if (met) {
        s->budget = s->budget * 2 > FP_SPIN_MAX ? FP_SPIN_MAX : s->budget * 2;
    }
    else if (s->budget / 2 >= FP_SPIN_MIN) {
        s->budget /= 2;
    }
}

/* Spin until `ready(arg)` or the budget is gone; true if ready. */
static inline bool
fp_spin_until(fp_spin *s, bool (*ready)(const void *), const void *arg)
{
    u64 budget = ++s->waits % FP_SPIN_TRY == 0 ? FP_SPIN_MAX : s->budget;
    u64 end = fp_now() + budget;
    bool met = false;
    do {
        for (int i = 0; i < 16 && !met; i++) {
            met = ready(arg);
            fp_relax();
        }
    } while (!met && fp_now() < end);
    fp_spin_learn(s, met);
    return met;
}

#endif
