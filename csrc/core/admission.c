#define _GNU_SOURCE
#include "admission.h"
#include "error.h"
#include "os.h"

#include <limits.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

void
fp_ticket_show(fp_shm *m, u32 w, u32 ticket)
{
    fp_store_release(&m->workers[w].wk_ticket, ticket);
    fp_futex_wake(&m->workers[w].wk_ticket, INT_MAX, true);
}

/* Until the word at `offset` is not 0. */
static int
wait_at(int memfd, u64 offset, u32 *shown)
{
    u64 size = offset + sizeof *shown;   /* from the file's start, whatever the size of pages */
    u8 *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (base == MAP_FAILED) {
        return FP_SYSTEM;
    }
    fp_a32 *word = (fp_a32 *)(base + offset);
    int rc = FP_OK;
    while (rc != FP_INTR && (*shown = fp_load_acquire(word)) == 0) {
        rc = fp_futex_wait(word, 0, FP_NEVER, true);
    }
    munmap(base, size);
    return rc == FP_INTR ? FP_INTR : FP_OK;
}

int
fp_ticket_wait(int memfd, u32 w, u32 ticket)
{
    fp_head_shm h;
    int rc = fp_shm_geometry(&h, memfd);
    if (rc != FP_OK || w >= h.hd_nworkers) {
        return rc != FP_OK ? rc : FP_CORRUPT;
    }
    u64 offset = h.hd_workers + w * sizeof(fp_worker_shm) + offsetof(fp_worker_shm, wk_ticket);
    u32 shown;
    if (pread(memfd, &shown, sizeof shown, (off_t)offset) != sizeof shown) {   /* mostly it is there already */
        return FP_SYSTEM;
    }
    if (shown == 0 && (rc = wait_at(memfd, offset, &shown)) != FP_OK) {
        return rc;
    }
    return shown == ticket ? FP_OK : FP_CLOSED;
}
