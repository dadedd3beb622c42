/* Tickets: one process is worker w, whatever others were started to be it. */
#include "check.h"
#include "core/admission.h"
#include "core/pool.h"

#include <pthread.h>

static fp_pool *
new_pool(void)
{
    fp_pool *p;
    CHECK_EQ(fp_pool_new(&p, 2, 0), FP_OK);
    CHECK_EQ(fp_pool_new_worker(p), 0);
    return p;
}

typedef struct {
    int memfd;
    u32 ticket;
    int rc;
    pthread_t thread;
} applicant;

static void *
apply(void *argument)
{
    applicant *a = argument;
    a->rc = fp_ticket_wait(a->memfd, 0, a->ticket);
    return NULL;
}

static applicant *
start(fp_pool *p, u32 ticket)
{
    applicant *a = malloc(sizeof *a);
    CHECK(a != NULL);
    *a = (applicant){.memfd = p->shm.fd, .ticket = ticket};
    CHECK_EQ(pthread_create(&a->thread, NULL, apply, a), 0);
    return a;
}

static int
answer(applicant *a)
{
    CHECK_EQ(pthread_join(a->thread, NULL), 0);
    int rc = a->rc;
    free(a);
    return rc;
}

static void
test_the_last_one_is_admitted(void)
{
    for (int early = 0; early < 2; early++) {
        fp_pool *p = new_pool();
        applicant *lost = start(p, fp_pool_new_ticket(p, 0));
        u32 ticket = fp_pool_new_ticket(p, 0);
        applicant *known = early ? start(p, ticket) : NULL;
        fp_pool_admit(p, 0);
        known = known ? known : start(p, ticket);
        CHECK_EQ(answer(known), FP_OK);
        CHECK_EQ(answer(lost), FP_CLOSED);
        fp_pool_decref(p);
    }
}

static void
test_nobody_is_admitted_any_more(void)
{
    fp_pool *p = new_pool();
    u32 ticket = fp_pool_new_ticket(p, 0);
    applicant *waits = start(p, ticket);
    fp_task *task;
    fp_pool_reap(p, 0, &task);
    CHECK_EQ(answer(waits), FP_CLOSED);
    CHECK_EQ(fp_ticket_wait(p->shm.fd, 0, ticket), FP_CLOSED);   /* who comes late */
    fp_pool_admit(p, 0);
    CHECK_EQ(fp_ticket_wait(p->shm.fd, 0, ticket), FP_CLOSED);
    fp_pool_decref(p);
}

/* Its index has been given to another before it looks. */
static void
test_a_ticket_of_before(void)
{
    fp_pool *p = new_pool();
    u32 old = fp_pool_new_ticket(p, 0);
    fp_task *task;
    fp_pool_reap(p, 0, &task);
    CHECK_EQ(fp_pool_new_worker(p), 0);
    applicant *late = start(p, old), *next = start(p, fp_pool_new_ticket(p, 0));
    fp_pool_admit(p, 0);
    CHECK_EQ(answer(late), FP_CLOSED);
    CHECK_EQ(answer(next), FP_OK);
    fp_pool_decref(p);
}

static void
test_the_pool_is_over(void)
{
    fp_pool *p = new_pool();
    u32 ticket = fp_pool_new_ticket(p, 0);
    int memfd = dup(p->shm.fd);
    fp_pool_decref(p);
    CHECK_EQ(fp_ticket_wait(memfd, 0, ticket), FP_CLOSED);
    close(memfd);
}

static void
test_no_such_worker(void)
{
    fp_pool *p = new_pool();
    CHECK_EQ(fp_ticket_wait(p->shm.fd, 2, 1), FP_CORRUPT);
    fp_pool_decref(p);
}

int
main(void)
{
    test_the_last_one_is_admitted();
    test_nobody_is_admitted_any_more();
    test_a_ticket_of_before();
    test_the_pool_is_over();
    test_no_such_worker();
    return 0;
}
