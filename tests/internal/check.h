/* What every test program uses: checks that end the program, and waiting for a state.
 *
 * A program that prints nothing and returns 0 has passed. BOUND is a failure bound: nothing here waits
 * that long unless something is wrong.
 */
#ifndef CHECK_H
#define CHECK_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/os.h"

#ifndef BOUND_S
#define BOUND_S 20u
#endif
#define BOUND (fp_now() + BOUND_S * 1000000000ull)

#define CHECK(condition) \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define CHECK_EQ(got, wanted) \
    check_equal(__FILE__, __LINE__, #got, (long long)(got), #wanted, (long long)(wanted))
/* The state will come; how soon is not ours to say. */
#define EVENTUALLY(condition)                                                    \
    for (u64 bound_ = BOUND; !(condition); check_pause()) {                      \
        if (fp_now() > bound_) {                                                 \
            check_failed(__FILE__, __LINE__, "never came: " #condition);         \
        }                                                                        \
    }

/* What the program is at, for the message if it fails: the seed of a random run, say. */
static char check_subject[64];

static inline void
check_doing(const char *subject)
{
    snprintf(check_subject, sizeof check_subject, "%s", subject);
}

_Noreturn static inline void
check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s (%s)\n", file, line, what, check_subject);
    fflush(NULL);
    _exit(1);
}

static inline void
check_equal(const char *file, int line, const char *got, long long a, const char *wanted, long long b)
{
    if (a != b) {
        fprintf(stderr, "%s:%d: %s is %lld, not %s (%lld) (%s)\n", file, line, got, a, wanted, b,
                check_subject);
        fflush(NULL);
        _exit(1);
    }
}

static inline void
check_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static inline void
check_alarm(int signal_number)
{
    static const char text[] = "the program's time is over: something hangs\n";
    (void)signal_number;
    ssize_t ignored = write(2, text, sizeof text - 1);
    ignored = write(2, check_subject, strlen(check_subject));
    (void)ignored;
    _exit(1);
}

/* The program as a whole must be done by then. */
static inline void
check_within(unsigned seconds)
{
    signal(SIGALRM, check_alarm);
    alarm(seconds);
}

/* A small generator of numbers: the same seed gives the same run. */
static inline u64
check_random(u64 *seed)
{
    u64 x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#endif
