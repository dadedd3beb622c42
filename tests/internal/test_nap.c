/* When the waiting thread naps instead of sleeping, and for how long. */
#include "check.h"
#include "core/error.h"
#include "core/nap.h"

#include <signal.h>
#include <sys/time.h>

#define US 1000u

/* Lately a task has ended every `interval`. */
static fp_nap
with_interval(u64 interval)
{
    fp_nap n;
    fp_nap_init(&n);
    for (u64 i = 1; i <= 20; i++) {
        fp_nap_learn(&n, i * interval, i);
    }
    return n;
}

/* How long it would nap with so many tasks unfinished and none ended since. */
static u64
length(fp_nap n, u64 unfinished)
{
    u64 until = fp_nap_plan(&n, n.since, n.ended, unfinished);
    return until == 0 ? 0 : until - n.since;
}

static void
test_a_new_pool_does_not_nap(void)
{
    fp_nap n;
    fp_nap_init(&n);
    CHECK_EQ(length(n, 1), 0);
    CHECK_EQ(length(n, 1000000), 0);
}

static void
test_fast_tasks_and_a_long_queue_make_it_nap(void)
{
    fp_nap n = with_interval(50 * US);
    CHECK_EQ(length(n, 10000), FP_NAP_MAX);
}

static void
test_slow_tasks_never_do(void)
{
    CHECK_EQ(length(with_interval(500 * US), 1000000), 0);
    CHECK_EQ(length(with_interval(1000 * FP_NAP_SLOW), 1000000), 0);
}

static void
test_the_end_of_a_queue_is_not_napped_through(void)
{
    fp_nap n = with_interval(50 * US);
    CHECK_EQ(length(n, 0), 0);
    CHECK_EQ(length(n, 8 * FP_NAP_TASKS - 1), 0);
    u64 some = length(n, 8 * FP_NAP_TASKS);
    CHECK(some >= FP_NAP_TASKS * 49 * US);
    CHECK(some < FP_NAP_MAX);
}

static void
test_tasks_that_turn_slow_are_noticed_at_once(void)
{
    fp_nap n = with_interval(50 * US);
    fp_nap_learn(&n, n.since + 1000 * US, n.ended + 1);
    CHECK_EQ(length(n, 1000000), 0);
}

static void
test_none_that_ends_is_noticed_too(void)
{
    fp_nap n = with_interval(50 * US);
    CHECK(fp_nap_plan(&n, n.since + 50 * US, n.ended, 1000000) != 0);
    CHECK_EQ(fp_nap_plan(&n, n.since + FP_NAP_MAX, n.ended, 1000000), 0);
}

static void
test_a_nap_lasts_until_its_time(void)
{
    u64 then = fp_now() + 2000 * US;
    CHECK_EQ(fp_nap_until(then), FP_OK);
    CHECK(fp_now() >= then);
    CHECK_EQ(fp_nap_until(then), FP_OK);   /* long gone */
}

static void
note_signal(int signum)
{
    (void)signum;
}

static void
test_a_signal_ends_it(void)
{
    struct sigaction act = {.sa_handler = note_signal};
    struct itimerval soon = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000};
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK_EQ(fp_nap_until(FP_NEVER), FP_INTR);
}

int
main(void)
{
    check_within(60);
    test_a_new_pool_does_not_nap();
    test_fast_tasks_and_a_long_queue_make_it_nap();
    test_slow_tasks_never_do();
    test_the_end_of_a_queue_is_not_napped_through();
    test_tasks_that_turn_slow_are_noticed_at_once();
    test_none_that_ends_is_noticed_too();
    test_a_nap_lasts_until_its_time();
    test_a_signal_ends_it();
    return 0;
}
