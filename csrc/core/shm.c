#define _GNU_SOURCE
#include "shm.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPANS_LEAST 64u

static u64
place(u64 *end, u64 size, u64 alignment)
{
    u64 at = (*end + alignment - 1) & ~(alignment - 1);
    *end = at + size;
    return at;
}

/* A power of two, with room for every worker to be busy and as much again to wait. */
static u32
slots_for(u32 nworkers)
{
    u32 n = FP_NSLOTS_MIN;
    while (n < 2 * nworkers) {
        n *= 2;
    }
    return n;
}

static void
lay_out(fp_head_shm *h, u32 nworkers, u32 nspans)
{
    u64 end = sizeof *h;
    h->hd_nslots = slots_for(nworkers);
    h->hd_ncells = 2 * h->hd_nslots;   /* live hints and as many of tasks withdrawn */
    h->hd_nworkers = nworkers;
    h->hd_nspans = nspans;
    h->hd_workers = place(&end, (u64)nworkers * sizeof(fp_worker_shm), FP_LINE);
    h->hd_idle = place(&end, (nworkers + 63u) / 64u * 8u, FP_LINE);
    h->hd_cells = place(&end, h->hd_ncells * 8u, FP_LINE);
    h->hd_slots = place(&end, (u64)h->hd_nslots * FP_SLOT, 4096);
    h->hd_functions = place(&end, FP_NFUNCTIONS * sizeof(fp_function_shm), 4096);
    h->hd_owners = place(&end, (u64)nspans * 4u, 4096);
    h->hd_rings = place(&end, (u64)nworkers * FP_RING, 4096);
    h->hd_spans = place(&end, (u64)nspans * FP_SPAN, FP_SPAN);
    h->hd_crashes = place(&end, (u64)nworkers * FP_CRASH, 4096);
    h->hd_size = end;
    h->hd_magic = FP_MAGIC;
}

static void
find_parts(fp_shm *m, fp_head_shm *base, const fp_head_shm *h, int fd)
{
    *m = (fp_shm){
        .head = base,
        .workers = (fp_worker_shm *)((u8 *)base + h->hd_workers),
        .idle = (fp_a64 *)((u8 *)base + h->hd_idle),
        .functions = (fp_function_shm *)((u8 *)base + h->hd_functions),
        .cells = (fp_a64 *)((u8 *)base + h->hd_cells),
        .slots = (fp_slot_shm *)((u8 *)base + h->hd_slots),
        .owners = (fp_a32 *)((u8 *)base + h->hd_owners),
        .rings = (u8 *)base + h->hd_rings,
        .spans = h->hd_spans,
        .spans_end = h->hd_spans + (u64)h->hd_nspans * FP_SPAN,
        .crashes = h->hd_crashes,
        .size = h->hd_size,
        .nslots = h->hd_nslots,
        .ncells = h->hd_ncells,
        .nworkers = h->hd_nworkers,
        .nspans = h->hd_nspans,
        .fd = fd,
    };
}

static void *
map(int fd, u64 offset, u64 size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
    if (p == MAP_FAILED) {
        return NULL;
    }
    /* a child of the user's own fork must not touch it, a core dump need not hold it */
    madvise(p, size, MADV_DONTFORK);
    madvise(p, size, MADV_DONTDUMP);
    return p;
}

int
fp_shm_create(fp_shm *m, u32 nworkers, u64 bytes)
{
    int fd = fp_memfd_create("fastpool");
    if (fd < 0) {
        return fd;
    }
    u32 nspans = (u32)(bytes / FP_SPAN);
    for (; nspans >= SPANS_LEAST; nspans /= 2) {
        fp_head_shm h = {0};
        lay_out(&h, nworkers, nspans);
        /* past RLIMIT_FSIZE, ftruncate would raise SIGXFSZ */
        if (h.hd_size > fp_rlimit(RLIMIT_FSIZE) || ftruncate(fd, (off_t)h.hd_size) != 0) {
            continue;
        }
        fp_head_shm *base = map(fd, 0, h.hd_size);
        if (base != NULL) {
            fp_seal_size(fd);
            memcpy(base, &h, offsetof(fp_head_shm, rg_head));
            find_parts(m, base, &h, fd);
            m->mapped = h.hd_size;
            return FP_OK;
        }
    }
    close(fd);
    return FP_NOMEM;
}

static bool
geometry_is_ours(const fp_head_shm *h)
{
    if (h->hd_magic != FP_MAGIC || h->hd_nworkers > FP_MAX_WORKERS) {
        return false;
    }
    fp_head_shm again = {0};
    lay_out(&again, h->hd_nworkers, h->hd_nspans);
    return memcmp(&again, h, offsetof(fp_head_shm, rg_head)) == 0;
}

int
fp_shm_geometry(fp_head_shm *h, int fd)
{
    ssize_t n = pread(fd, h, sizeof *h, 0);
    if (n < 0) {
        return FP_SYSTEM;
    }
    off_t size = lseek(fd, 0, SEEK_END);
    return n == sizeof *h && geometry_is_ours(h) && (u64)size == h->hd_size ? FP_OK : FP_CORRUPT;
}

int
fp_shm_attach(fp_shm *m, int fd)
{
    fp_head_shm h;
    int rc = fp_shm_geometry(&h, fd);
    if (rc != FP_OK) {
        return rc;
    }
    /* the whole, which takes no memory by itself, may leave nothing of a limited address space for the tasks */
    u64 size = fp_rlimit(RLIMIT_AS) == UINT64_MAX ? h.hd_size : h.hd_spans;
    fp_head_shm *base = map(fd, 0, size);
    if (base == NULL) {
        return FP_SYSTEM;
    }
    find_parts(m, base, &h, fd);
    m->mapped = size;
    return FP_OK;
}

u8 *
fp_view_at(const fp_shm *m, fp_view *v, u64 offset, u64 size)
{
    fp_view_drop(v);
    if (offset + size <= m->mapped) {
        return fp_shm_at(m, offset);
    }
    u64 start = offset & ~(u64)4095;
    u8 *pages = map(m->fd, start, offset + size - start);
    if (pages == NULL) {
        return NULL;
    }
    *v = (fp_view){.pages = pages, .size = offset + size - start};
    return pages + (offset - start);
}

void
fp_view_drop(fp_view *v)
{
    if (v->pages != NULL) {
        munmap(v->pages, v->size);
    }
    *v = (fp_view){0};
}

void
fp_shm_close(fp_shm *m, bool destroy)
{
    if (m->head == NULL) {
        return;
    }
    if (destroy) {
        /* but for the tickets, which a process may still wait for; refused: they go when the last descriptor does */
        u64 from = (u64)((u8 *)m->cells - (u8 *)m->head);
        fp_release_pages(m->fd, from, m->size - from);
    }
    munmap(m->head, m->mapped);
    close(m->fd);
    m->head = NULL;
}
