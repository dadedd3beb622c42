#define _GNU_SOURCE
#include "copy.h"
#include "os.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOP_FROM (4u << 10)      /* below, memcpy is as fast */
#define PIECE FP_HUGE_PAGE        /* two threads in the same one would both clear it */
#define MOST_HELPERS 3u           /* the memory can do no more */
#define STACK (128u << 10)

typedef u8 vector __attribute__((vector_size(16), aligned(1), may_alias));

/* On an Intel Xeon of 2.5 GHz (Skylake or later), where glibc's memcpy uses one string instruction, this loop writes 16 KiB that
 * another CPU has read last in 1.0 - 1.2 us and memcpy in 1.4 - 1.6; 1 MiB in 103 - 113 and 135 - 141; 64 MiB in 11.8 ms and
 * 13.8. Into new memory both are alike. */
static void
copy_alone(u8 *to, const u8 *from, u64 size)
{
    for (; size >= 4 * sizeof(vector); size -= 4 * sizeof(vector)) {
        const vector *source = (const vector *)from;
        vector *target = (vector *)to;
        vector a = source[0], b = source[1], c = source[2], d = source[3];
        target[0] = a;
        target[1] = b;
        target[2] = c;
        target[3] = d;
        to += 4 * sizeof(vector);
        from += 4 * sizeof(vector);
        __asm__ volatile("" ::: "memory");   /* or a compiler may see that this is memcpy */
    }
    memcpy(to, from, size);
}

/* One copy. Each thread takes the next piece as long as there is one: what a late helper does not do, the others do. */
typedef struct {
    u8 *to;
    const u8 *from;
    u64 size;
    u64 first;     /* bytes before the first huge page of `to` that begins in it: a piece of their own */
    fp_a64 next;   /* the piece that nobody has taken */
} copying;

typedef struct {
    copying *copy;
    pthread_t thread;
    int tid;
} helper;

static void
copy_pieces(copying *c)
{
    for (;;) {
        u64 n = atomic_fetch_add(&c->next, 1);
        u64 at = n == 0 ? 0 : c->first + (n - 1) * PIECE, end = c->first + n * PIECE;
        if (at >= c->size) {
            return;
        }
        copy_alone(c->to + at, c->from + at, (end < c->size ? end : c->size) - at);
    }
}

static void *
help(void *argument)
{
    helper *h = argument;
    h->tid = (int)syscall(SYS_gettid);
    copy_pieces(h->copy);
    return NULL;
}

/* All that can wait: a fault in the copy is told to whoever wants to know of it, in whatever thread. */
static void
mask_of_helpers(sigset_t *mask)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    sigfillset(mask);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        sigdelset(mask, faults[i]);
    }
}

/* How many there are: the system may have no thread for us. */
static unsigned
start_helpers(copying *c, unsigned wanted, helper *helpers)
{
    sigset_t mask, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return 0;
    }
    pthread_attr_setstacksize(&attributes, STACK);
    mask_of_helpers(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    unsigned n = 0;
    for (; n < wanted; n++) {
        helpers[n].copy = c;
        if (pthread_create(&helpers[n].thread, &attributes, help, &helpers[n]) != 0) {
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return n;
}

/* It has ended for the system, too: a worker has one thread, and a task may look. */
static void
await_end(const helper *h)
{
    pthread_join(h->thread, NULL);
    while (syscall(SYS_tgkill, getpid(), h->tid, 0) == 0) {
        sched_yield();
    }
}

static void
copy_together(void *to, const void *from, u64 size)
{
    u64 into = (uintptr_t)to % PIECE;
    copying c = {.to = to, .from = from, .size = size, .first = into ? PIECE - into : 0};
    helper helpers[MOST_HELPERS];
    unsigned others = fp_cpus() - 1;
    unsigned n = start_helpers(&c, others < MOST_HELPERS ? others : MOST_HELPERS, helpers);
    copy_pieces(&c);
    for (unsigned i = 0; i < n; i++) {
        await_end(&helpers[i]);
    }
}

void
fp_copy(void *to, const void *from, u64 size)
{
    if (size < LOOP_FROM) {
        memcpy(to, from, size);
    }
    else if (size < FP_SHARED_COPY) {
        copy_alone(to, from, size);
    }
    else {
        copy_together(to, from, size);
    }
}
