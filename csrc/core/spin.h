/* Spinning before a sleep: bounded by the clock, and only where a CPU is free for it.
 *
 * A wake across cores costs 16 to 31 us, a spin that meets its event under 1 us. The budget
 * doubles when the last wait was short (a spin would have met the event) and halves when it
 * was long. By count it would be a trap: see docs/performance.md.
 */
#ifndef FP_SPIN_H
#define FP_SPIN_H

#include "os.h"

#define FP_SPIN_MAX 50000u   /* ns: a wake and a short task */
#define FP_SPIN_MIN 500u

typedef struct {
    u64 budget;     /* ns */
    u64 began;      /* when this wait began */
    unsigned cpus;
} fp_spin;

static inline void
fp_spin_init(fp_spin *s)
{
    s->budget = FP_SPIN_MAX;
    s->cpus = fp_cpus();
}

static inline void
fp_spin_begin(fp_spin *s)
{
    s->began = fp_now();
}

/* Spin until `ready(arg)` or the budget is gone; true if ready. */
static inline bool
fp_spin_until(const fp_spin *s, bool (*ready)(const void *), const void *arg)
{
    for (;;) {
        for (int i = 0; i < 16; i++) {
            if (ready(arg)) {
                return true;
            }
            fp_relax();
        }
        if (fp_now() - s->began >= s->budget) {
            return false;
        }
    }
}

/* The wait is over: learn from how long it was, asleep or not. */
static inline void
fp_spin_end(fp_spin *s)
{
    u64 took = fp_now() - s->began;
    if (took <= 2 * FP_SPIN_MAX) {
        s->budget = s->budget * 2 > FP_SPIN_MAX ? FP_SPIN_MAX : s->budget * 2;
    }
    else if (s->budget / 2 >= FP_SPIN_MIN) {
        s->budget /= 2;
    }
}

#endif
