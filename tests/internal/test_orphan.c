/* A worker does not outlive the owner of its pool, whoever forked it. */
#define _GNU_SOURCE
#include "check.h"
#include "core/orphan.h"

#include <sys/prctl.h>
#include <sys/wait.h>

typedef struct {
    int from_worker[2], to_worker[2], for_server[2];
} pipes;

/* Announce the pid, then answer each byte with one, until killed. */
static void
worker(const pipes *p, pid_t owner, int lifeline)
{
    pid_t me = getpid();
    char byte;
    if (fp_orphan_watch(owner, lifeline) != FP_OK || write(p->from_worker[1], &me, sizeof me) != sizeof me) {
        _exit(2);
    }
    close(p->to_worker[1]);
    while (read(p->to_worker[0], &byte, 1) == 1 && write(p->from_worker[1], &byte, 1) == 1) {
    }
    for (;;) {
        pause();   /* not the closed pipe, the owner's end is what must end it */
    }
}

static void
owner_that_forks(const pipes *p)
{
    pid_t me = getpid();
    int lifeline = fp_lifeline();
    if (fork() == 0) {
        worker(p, me, dup(lifeline));
    }
    for (;;) {
        pause();
    }
}

/* It outlives its owner, until the test is over. */
static void
be_server(const pipes *p)
{
    char byte;
    close(p->for_server[1]);
    _exit(read(p->for_server[0], &byte, 1) != 0);
}

static void
owner_with_a_server(const pipes *p)
{
    pid_t me = getpid();
    int lifeline = fp_lifeline();
    CHECK_EQ(fp_lifeline(), lifeline);   /* one per process */
    if (fork() == 0) {
        if (fork() == 0) {
            worker(p, me, dup(lifeline));
        }
        be_server(p);
    }
    for (;;) {
        pause();
    }
}

static pid_t
pid_from(const pipes *p)
{
    pid_t pid;
    CHECK_EQ(read(p->from_worker[0], &pid, sizeof pid), sizeof pid);
    return pid;
}

static void
check_answers(const pipes *p)
{
    char byte = 'x';
    CHECK_EQ(write(p->to_worker[1], &byte, 1), 1);
    CHECK_EQ(read(p->from_worker[0], &byte, 1), 1);
}

static void
check_ends(pid_t pid)
{
    int fd = fp_pidfd_open(pid);
    CHECK(fd >= 0);
    EVENTUALLY(fp_pidfd_ended(fd));
    close(fd);
}

static void
open_pipes(pipes *p)
{
    CHECK_EQ(pipe(p->from_worker), 0);
    CHECK_EQ(pipe(p->to_worker), 0);
    CHECK_EQ(pipe(p->for_server), 0);
}

static void
test_ends_with_its_owner(void (*be_owner)(const pipes *))
{
    pipes p;
    open_pipes(&p);
    pid_t owner = fork();
    if (owner == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        be_owner(&p);
    }
    pid_t pid = pid_from(&p);
    check_answers(&p);
    kill(owner, SIGKILL);
    CHECK_EQ(waitpid(owner, NULL, 0), owner);
    check_ends(pid);
    close(p.for_server[1]);
    CHECK(wait(NULL) > 0);   /* whom its owner left behind: the server, or the worker itself */
}

/* Its parent ends, which rings a doorbell; the owner lives, so the worker does. */
static void
test_outlives_its_parent(void)
{
    pipes p;
    open_pipes(&p);
    int lifeline = fp_lifeline();
    pid_t owner = getpid(), server = fork();
    if (server == 0) {
        if (fork() == 0) {
            worker(&p, owner, dup(lifeline));
        }
        pause();
    }
    pid_t pid = pid_from(&p);
    kill(server, SIGKILL);
    CHECK_EQ(waitpid(server, NULL, 0), server);
    check_answers(&p);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

static void
test_the_owner_is_gone_already(void)
{
    pipes p;
    open_pipes(&p);
    pid_t owner = fork();
    if (owner == 0) {
        _exit(0);
    }
    CHECK_EQ(waitpid(owner, NULL, 0), owner);
    pid_t pid = fork();
    if (pid == 0) {
        worker(&p, owner, -1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 1);
}

int
main(void)
{
    check_within(60);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    test_ends_with_its_owner(owner_that_forks);
    test_ends_with_its_owner(owner_with_a_server);
    test_outlives_its_parent();
    test_the_owner_is_gone_already();
    return 0;
}
