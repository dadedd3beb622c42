/* Spinning before a sleep: bounded by the clock, and only where a CPU is free for it.
 *
 * A wake across cores costs 16 to 65 us, by the machine and by how deep its CPUs sleep; a spin that meets its event
 * under 1 us. Whether a CPU really is free nobody can ask: other programs may want it, and then a spin keeps the very
 * process from running that is waited for. So a spin has to pay: it does if it meets its event, and does so sooner
 * than sleeping has done lately. Then the next may take twice as long as this one took, or had; else half of what it
 * had. Two sides that both sleep would never meet again within a short spin: so now and then, and more rarely each
 * time that it does not pay, a wait tries a spin that outlasts a wake.
 * By count instead of by the clock it would be a trap: on one CPU 20,000 pauses turn 4 us into 256 us.
 */
#ifndef FP_SPIN_H
#define FP_SPIN_H

#include "os.h"

#define FP_SPIN_START 50000u   /* ns: a wake and a short task */
#define FP_SPIN_MAX 200000u
#define FP_SPIN_MIN 500u
#define FP_SPIN_IDLE 1000000u  /* a longer sleep says no more than this one */

#define FP_SPIN_TRY 32u        /* the first try after so many waits */
#define FP_SPIN_TRY_MAX 128u

typedef struct {
    u64 budget;             /* ns */
    u64 slept;              /* ns that a sleep takes, lately; 0: not known */
    u32 waits, interval;    /* waits since the last try, and until the next */
    unsigned cpus;
} fp_spin;

static inline void
fp_spin_init(fp_spin *s)
{
    *s = (fp_spin){.budget = FP_SPIN_START, .interval = FP_SPIN_TRY, .cpus = fp_cpus()};
}

/* What a sleep has taken instead, from the system call to its wake. */
static inline void
fp_spin_slept(fp_spin *s, u64 since)
{
    u64 slept = fp_now() - since;
    if (slept > FP_SPIN_IDLE) {
        slept = FP_SPIN_IDLE;
    }
    s->slept = s->slept ? s->slept - s->slept / 4 + slept / 4 : slept;
}

static inline void
fp_spin_learn(fp_spin *s, bool try, bool met, u64 took)
{
    if (met && (s->slept == 0 || took < s->slept)) {
        u64 budget = 2 * s->budget < FP_SPIN_START ? 2 * s->budget : FP_SPIN_START;
        s->interval = FP_SPIN_TRY;
        s->budget = took > FP_SPIN_MAX / 2 ? FP_SPIN_MAX : 2 * took > budget ? 2 * took : budget;
        return;
    }
    if (try && s->interval < FP_SPIN_TRY_MAX) {
        s->interval *= 2;
    }
    if (s->budget / 2 >= FP_SPIN_MIN) {
        s->budget /= 2;
    }
}

/* Spin until `ready(arg)` or the budget is gone; true if ready. */
static inline bool
fp_spin_until(fp_spin *s, bool (*ready)(const void *), const void *arg)
{
    bool try = ++s->waits >= s->interval, met = false;
    u64 start = fp_now(), now = start, end = start + (try ? FP_SPIN_MAX : s->budget);
    if (try) {
        s->waits = 0;
    }
    do {
        for (int i = 0; i < 16 && !met; i++) {
            met = ready(arg);
            fp_relax();
        }
        now = fp_now();
    } while (!met && now < end);
    fp_spin_learn(s, try, met, now - start);
    return met;
}

#endif
