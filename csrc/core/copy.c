#include "copy.h"
#include "os.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#define PIECE (1u << 20)
#define SHARED_FROM (4u << 20)   /* starting a thread takes as long as copying a few hundred KiB */
#define MOST_HELPERS 3u          /* the memory can do no more */
#define STACK (128u << 10)

/* One copy. Each thread takes the next piece as long as there is one, so that nobody waits for a helper whose CPU is
 * late: what it does not do, the others do. */
typedef struct {
    u8 *to;
    const u8 *from;
    u64 size;
    fp_a64 next;   /* offset of the first piece that nobody has taken */
} copying;

static void *
copy_pieces(void *argument)
{
    copying *c = argument;
    for (u64 at = atomic_fetch_add(&c->next, PIECE); at < c->size; at = atomic_fetch_add(&c->next, PIECE)) {
        memcpy(c->to + at, c->from + at, c->size - at < PIECE ? c->size - at : PIECE);
    }
    return NULL;
}

/* How many there are. Signals are for the program's own threads. */
static unsigned
start_helpers(copying *c, unsigned wanted, pthread_t *helpers)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return 0;
    }
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    unsigned n = 0;
    while (n < wanted && pthread_create(&helpers[n], &attributes, copy_pieces, c) == 0) {
        n++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return n;
}

static void
copy_together(void *to, const void *from, u64 size)
{
    copying c = {.to = to, .from = from, .size = size};
    pthread_t helpers[MOST_HELPERS];
    unsigned others = fp_allowed_cpus() - 1;
    unsigned n = start_helpers(&c, others < MOST_HELPERS ? others : MOST_HELPERS, helpers);
    copy_pieces(&c);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(helpers[i], NULL);
    }
}

void
fp_copy(void *to, const void *from, u64 size)
{
    if (size < SHARED_FROM) {
        memcpy(to, from, size);
    }
    else {
        copy_together(to, from, size);
    }
}
