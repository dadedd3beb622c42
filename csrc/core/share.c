#define _GNU_SOURCE
#include "share.h"
#include "error.h"
#include "memory.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x6572616873706621u

typedef struct {
    u64 magic, size, stream;
    u8 token[FP_TOKEN];
    u8 pad[24];   /* the payload's buffers are aligned to 64 from its start */
} fp_share_head;

_Static_assert(sizeof(fp_share_head) == FP_BUFFER_ALIGNMENT, "the payload behind it is aligned");

/* ------------------------------------------------------------ the list of all */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static fp_share *all;

static void
before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void
after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static void
watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static void
enlist(fp_share *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    s->next = all;
    if (all != NULL) {
        all->previous = s;
    }
    all = s;
    pthread_mutex_unlock(&lock);
}

static void
strike(fp_share *s)
{
    pthread_mutex_lock(&lock);
    *(s->previous ? &s->previous->next : &all) = s->next;
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
    pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------------- a mapping */

static void
unmap(fp_share *s)
{
    if (s->memory != NULL) {
        munmap((void *)s->memory, s->mapped);
        s->memory = NULL;
    }
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

/* Map the file s->fd and read its head. `token`: that it must have, or NULL. On failure all is let go. */
static int
map(fp_share *s, const u8 *token)
{
    struct stat about;
    int rc = FP_SYSTEM;
    if (fstat(s->fd, &about) == 0) {
        s->mapped = (u64)about.st_size;
        void *memory = s->mapped > sizeof(fp_share_head) ? mmap(NULL, s->mapped, PROT_READ, MAP_SHARED, s->fd, 0) : NULL;
        rc = memory == NULL ? FP_CORRUPT : memory == MAP_FAILED ? FP_NOMEM : FP_OK;
        s->memory = rc == FP_OK ? memory : NULL;
    }
    if (rc == FP_OK) {
        const fp_share_head *h = (const fp_share_head *)s->memory;
        bool right = h->magic == MAGIC && h->size == s->mapped - sizeof *h && h->stream <= h->size &&
                     (token == NULL || memcmp(h->token, token, FP_TOKEN) == 0);
        if (right) {
            s->size = h->size;
            s->stream = h->stream;
            memcpy(s->token, h->token, FP_TOKEN);
            return FP_OK;
        }
        rc = FP_CORRUPT;
    }
    int error = errno;
    unmap(s);
    errno = error;
    return rc;
}

static int
open_of(int owner, int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", owner, fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* -------------------------------------------------------------------- a new one */

/* With the file `fd`, which is taken over, whatever becomes of it. */
static int
new_share(int fd, const u8 *token, fp_share **share)
{
    fp_share *s = calloc(1, sizeof *s);
    if (s == NULL) {
        close(fd);
        return FP_NOMEM;
    }
    fp_store_relaxed(&s->refs, 1);
    s->fd = fd;
    s->process = getpid();
    int rc = map(s, token);
    if (rc != FP_OK) {
        free(s);
        return rc;
    }
    enlist(s);
    *share = s;
    return FP_OK;
}

static int
seal(int fd)
{
    int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    return fcntl(fd, F_ADD_SEALS, seals) == 0 ? FP_OK : FP_SYSTEM;
}

/* An empty file for so many bytes, that may be sealed. */
static int
new_file(u64 size)
{
    if (!fp_memory_suffices(size)) {
        return FP_NOMEM;
    }
    int fd = memfd_create("fastpool-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ftruncate(fd, (off_t)size) != 0) {
        close(fd);
        return FP_NOMEM;
    }
    return fd < 0 ? FP_SYSTEM : fd;
}

/* Seal and open what has been written; `rc`: how that went. */
static int
finish(int fd, int rc, fp_share **share)
{
    if (rc == FP_OK) {
        rc = seal(fd);
    }
    if (rc != FP_OK) {
        int error = errno;
        close(fd);
        errno = error;
        return rc;
    }
    return new_share(fd, NULL, share);
}

int
fp_share_create(const fp_payload *payload, fp_share **share)
{
    fp_share_head head = {.magic = MAGIC, .size = payload->size, .stream = payload->stream};
    int fd = new_file(sizeof head + payload->size);
    if (fd < 0) {
        return fd;
    }
    int rc = getrandom(head.token, FP_TOKEN, 0) == FP_TOKEN ? FP_OK : FP_SYSTEM;
    if (rc == FP_OK) {
        rc = fp_write_at(fd, 0, &head, sizeof head);
    }
    if (rc == FP_OK) {
        rc = fp_payload_write_file(payload, fd, sizeof head);
    }
    return finish(fd, rc, share);
}

int
fp_share_copy(const u8 *data, u64 size, fp_share **share)
{
    int fd = new_file(size);
    return fd < 0 ? fd : finish(fd, fp_write_at(fd, 0, data, size), share);
}

int
fp_share_open(int owner, int fd, const u8 token[FP_TOKEN], fp_share **share)
{
    int own = open_of(owner, fd);
    return own < 0 ? FP_SYSTEM : new_share(own, token, share);
}

int
fp_share_adopt(int fd, fp_share **share)
{
    return new_share(fd, NULL, share);
}

/* --------------------------------------------------------------------- counting */

void
fp_share_incref(fp_share *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void
fp_share_decref(fp_share *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        strike(s);
        unmap(s);
        free(s);
    }
}

int
fp_share_use(fp_share *s)
{
    pthread_mutex_lock(&lock);
    int rc = FP_OK;
    if (s->memory == NULL) {
        s->fd = open_of(s->parent, s->parent_fd);
        rc = s->fd < 0 ? FP_SYSTEM : map(s, s->token);
    }
    s->uses += rc == FP_OK;
    pthread_mutex_unlock(&lock);
    return rc;
}

void
fp_share_unuse(fp_share *s)
{
    pthread_mutex_lock(&lock);
    s->uses--;
    pthread_mutex_unlock(&lock);
}

void
fp_shares_let_go(int parent)
{
    int here = getpid();
    pthread_mutex_lock(&lock);
    for (fp_share *s = all; s != NULL; s = s->next) {
        if (s->process != here && s->uses == 0 && s->fd >= 0) {
            s->parent = parent;
            s->parent_fd = s->fd;   /* the same number there */
            unmap(s);
        }
    }
    pthread_mutex_unlock(&lock);
}

int
fp_holds_add(fp_holds **holds, fp_share *s)
{
    u32 n = *holds ? (*holds)->n : 0;
    fp_holds *more = realloc(*holds, sizeof *more + (n + 1) * sizeof *more->shares);
    if (more == NULL) {
        return FP_NOMEM;
    }
    fp_share_incref(s);
    more->shares[n] = s;
    more->n = n + 1;
    *holds = more;
    return FP_OK;
}

void
fp_holds_free(fp_holds *holds)
{
    for (u32 i = 0; holds != NULL && i < holds->n; i++) {
        fp_share_decref(holds->shares[i]);
    }
    free(holds);
}
