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
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

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
strike_locked(fp_share *s)
{
    *(s->previous ? &s->previous->next : &all) = s->next;
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
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

/* Is it one of ours, finished? Nothing else may be mapped, or as much as read: its name may mean any file by now. */
static bool
is_sealed(int fd)
{
    struct stat about;
    int seals = fcntl(fd, F_GET_SEALS);   /* -1: not a memory file */
    return seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &about) == 0 &&
           (u64)about.st_size > sizeof(fp_share_head);
}

/* Map the file s->fd and read its head. `token`: that it must have, or NULL. */
static int
map(fp_share *s, const u8 *token)
{
    if (!is_sealed(s->fd)) {
        return FP_CORRUPT;
    }
    s->mapped = (u64)lseek(s->fd, 0, SEEK_END);
    void *memory = mmap(NULL, s->mapped, PROT_READ, MAP_SHARED, s->fd, 0);
    if (memory == MAP_FAILED) {
        return FP_NOMEM;
    }
    const fp_share_head *h = memory;
    if (h->magic != MAGIC || h->size != s->mapped - sizeof *h || h->stream > h->size ||
        (token != NULL && memcmp(h->token, token, FP_TOKEN) != 0)) {
        munmap(memory, s->mapped);
        return FP_CORRUPT;
    }
    s->memory = memory;
    s->size = h->size;
    s->stream = h->stream;
    memcpy(s->token, h->token, FP_TOKEN);
    return FP_OK;
}

#define FD_PATH 64

static void
fd_path(char path[FD_PATH], int owner, int fd)
{
    snprintf(path, FD_PATH, "/proc/%d/fd/%d", owner, fd);
}

/* Whatever has that name by now, it must not make us wait, nor become our terminal. */
static int
open_of(int owner, int fd)
{
    char path[FD_PATH];
    fd_path(path, owner, fd);
    int own = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return own < 0 ? FP_SYSTEM : own;
}

/* -------------------------------------------------------------------- a new one */

/* A record of the file `fd`, which is taken over; in the list, so that no fork copies it unseen. NULL: no memory. */
static fp_share *
new_record(int fd)
{
    fp_share *s = calloc(1, sizeof *s);
    if (s == NULL) {
        close(fd);
        return NULL;
    }
    fp_store_relaxed(&s->refs, 1);
    s->fd = fd;
    s->process = getpid();
    enlist(s);
    return s;
}

/* Map it, if all went well until now. */
static int
finish(fp_share *s, int rc, const u8 *token, fp_share **share)
{
    if (rc == FP_OK) {
        rc = map(s, token);
    }
    if (rc != FP_OK) {
        int error = errno;
        fp_share_decref(s);
        errno = error;
        return rc;
    }
    *share = s;
    return FP_OK;
}

/* An empty file for so many bytes, that may be sealed. */
static int
new_file(u64 size, fp_share **s)
{
    if (!fp_memory_suffices(size)) {
        return FP_NOMEM;
    }
    int fd = memfd_create("fastpool-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return FP_SYSTEM;
    }
    *s = new_record(fd);
    if (*s == NULL) {
        return FP_NOMEM;
    }
    if (ftruncate(fd, (off_t)size) != 0) {
        fp_share_decref(*s);
        return FP_NOMEM;
    }
    return FP_OK;
}

static int
seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, SEALS) == 0 ? FP_OK : FP_SYSTEM;
}

int
fp_share_create(const fp_payload *payload, fp_share **share)
{
    fp_share_head head = {.magic = MAGIC, .size = payload->size, .stream = payload->stream};
    fp_share *s;
    int rc = new_file(sizeof head + payload->size, &s);
    if (rc != FP_OK) {
        return rc;
    }
    rc = getrandom(head.token, FP_TOKEN, 0) == FP_TOKEN ? FP_OK : FP_SYSTEM;
    if (rc == FP_OK) {
        rc = fp_write_at(s->fd, 0, &head, sizeof head);
    }
    if (rc == FP_OK) {
        rc = fp_payload_write_file(payload, s->fd, sizeof head);
    }
    if (rc == FP_OK) {
        rc = seal(s->fd);
    }
    return finish(s, rc, NULL, share);
}

int
fp_share_copy(const u8 *data, u64 size, fp_share **share)
{
    fp_share *s;
    int rc = new_file(size, &s);
    if (rc != FP_OK) {
        return rc;
    }
    rc = fp_write_at(s->fd, 0, data, size);
    if (rc == FP_OK) {
        rc = seal(s->fd);
    }
    return finish(s, rc, NULL, share);
}

int
fp_share_open(int owner, int fd, const u8 token[FP_TOKEN], fp_share **share)
{
    int own = open_of(owner, fd);
    fp_share *s = own < 0 ? NULL : new_record(own);
    return own < 0 ? own : s == NULL ? FP_NOMEM : finish(s, FP_OK, token, share);
}

int
fp_share_adopt(int fd, fp_share **share)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fp_share *s = new_record(fd);
    return s == NULL ? FP_NOMEM : finish(s, FP_OK, NULL, share);
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
        pthread_mutex_lock(&lock);   /* no fork between the two: it would copy a file that is in no list */
        strike_locked(s);
        unmap(s);
        pthread_mutex_unlock(&lock);
        free(s);
    }
}

/* It had been let go of: open it again. What another thread opens meanwhile stays. */
static int
reopen(fp_share *s)
{
    fp_share *again = NULL;
    int rc = fp_share_open(s->parent, s->parent_fd, s->token, &again);
    if (rc != FP_OK) {
        return rc == FP_NOMEM ? rc : FP_CORRUPT;
    }
    pthread_mutex_lock(&lock);
    if (s->memory == NULL) {
        s->fd = again->fd;
        s->memory = again->memory;
        again->fd = -1;
        again->memory = NULL;
    }
    pthread_mutex_unlock(&lock);
    fp_share_decref(again);
    return FP_OK;
}

int
fp_share_use(fp_share *s)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        bool there = s->memory != NULL;
        s->uses += there;
        pthread_mutex_unlock(&lock);
        int rc = there ? FP_OK : reopen(s);
        if (there || rc != FP_OK) {
            return rc;
        }
    }
}

void
fp_share_unuse(fp_share *s)
{
    pthread_mutex_lock(&lock);
    s->uses--;
    pthread_mutex_unlock(&lock);
}

/* Whether it still has this one or not: by the time that we look, it may have dropped it. */
static bool
may_look_into(int parent, const fp_share *s)
{
    char path[FD_PATH], target[2];
    fd_path(path, parent, s->fd);   /* the same number there */
    if (readlink(path, target, sizeof target) >= 0) {
        return true;
    }
    *strrchr(path, '/') = 0;
    return errno == ENOENT && access(path, X_OK) == 0;
}

void
fp_shares_let_go(void)
{
    int here = getpid(), parent = getppid();
    pthread_mutex_lock(&lock);
    for (fp_share *s = all; s != NULL; s = s->next) {
        bool idle = s->process != here && s->uses == 0 && s->fd >= 0;
        if (idle && (s->memory == NULL || may_look_into(parent, s))) {
            s->parent = parent;
            s->parent_fd = s->fd;
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
    more->next = NULL;
    *holds = more;
    return FP_OK;
}

bool
fp_holds_is_last(const fp_holds *holds)
{
    bool last = false;
    for (u32 i = 0; i < holds->n; i++) {
        last |= fp_load_relaxed(&holds->shares[i]->refs) == 1;
    }
    return last;
}

void
fp_holds_free(fp_holds *holds)
{
    while (holds != NULL) {
        fp_holds *next = holds->next;
        for (u32 i = 0; i < holds->n; i++) {
            fp_share_decref(holds->shares[i]);
        }
        free(holds);
        holds = next;
    }
}
