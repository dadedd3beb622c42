/* The shared memory: its parts, attaching to it, limits, its end. */
#define _GNU_SOURCE
#include "check.h"
#include "core/shm.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MIB (1ull << 20)

static void
check_part(const fp_shm *m, const void *part, u64 size, u64 alignment, u64 *end)
{
    u64 at = (u64)((const u8 *)part - (const u8 *)m->head);
    CHECK(at >= *end);
    CHECK_EQ(at % alignment, 0);
    *end = at + size;
}

static void
check_parts(const fp_shm *m)
{
    u64 end = sizeof *m->head;
    check_part(m, m->workers, m->nworkers * sizeof *m->workers, FP_LINE, &end);
    check_part(m, m->idle, (m->nworkers + 63) / 64 * 8, 8, &end);
    check_part(m, m->cells, m->ncells * 8, 8, &end);
    check_part(m, m->slots, m->nslots * sizeof *m->slots, FP_SLOT, &end);
    check_part(m, m->functions, FP_NFUNCTIONS * sizeof *m->functions, 16, &end);
    check_part(m, m->owners, m->nspans * 4, 4, &end);
    check_part(m, m->rings, (u64)m->nworkers * FP_RING, 4096, &end);
    check_part(m, fp_shm_at(m, m->spans), (u64)m->nspans * FP_SPAN, FP_SPAN, &end);
    CHECK_EQ(end, m->spans_end);
    check_part(m, fp_shm_at(m, m->crashes), (u64)m->nworkers * FP_CRASH, 4096, &end);
    CHECK_EQ(end, m->size);
}

static void
test_parts_do_not_overlap(void)
{
    static const u32 counts[] = {1, 2, 61, 64, 65, 1000, FP_MAX_WORKERS};
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        fp_shm m;
        CHECK_EQ(fp_shm_create(&m, counts[i], 64 * MIB), FP_OK);
        CHECK_EQ(m.nworkers, counts[i]);
        CHECK(m.nslots >= FP_NSLOTS_MIN && m.nslots >= 2 * counts[i]);
        CHECK_EQ(m.nslots & (m.nslots - 1), 0);
        CHECK_EQ((u64)m.nspans * FP_SPAN, 64 * MIB);
        check_parts(&m);
        fp_shm_close(&m, true);
    }
}

/* Whoever has the descriptor: it would be a SIGBUS for the others. */
static void
test_its_size_stays(void)
{
    fp_shm m;
    CHECK_EQ(fp_shm_create(&m, 2, 64 * MIB), FP_OK);
    CHECK_EQ(ftruncate(m.fd, 0), -1);
    CHECK_EQ(ftruncate(m.fd, (off_t)(2 * m.size)), -1);
    CHECK_EQ(lseek(m.fd, 0, SEEK_END), m.size);
    fp_shm_close(&m, true);
}

static void
test_both_sides_see_the_same(void)
{
    fp_shm a, b;
    CHECK_EQ(fp_shm_create(&a, 3, 64 * MIB), FP_OK);
    CHECK_EQ(fp_shm_attach(&b, dup(a.fd)), FP_OK);
    CHECK(a.head != b.head);
    CHECK_EQ(b.nworkers, 3);
    CHECK_EQ(b.size, a.size);
    check_parts(&b);
    fp_store_seq_cst(&a.workers[2].wk_slot, 77);
    a.slots[a.nslots - 1].sl_inline[FP_INLINE - 1] = 5;
    *fp_shm_at(&a, a.size - 1) = 9;
    CHECK_EQ(fp_load_seq_cst(&b.workers[2].wk_slot), 77);
    CHECK_EQ(b.slots[b.nslots - 1].sl_inline[FP_INLINE - 1], 5);
    CHECK_EQ(*fp_shm_at(&b, b.size - 1), 9);
    fp_shm_close(&b, false);
    fp_shm_close(&b, false);   /* once is enough */
    CHECK_EQ(*fp_shm_at(&a, a.size - 1), 9);
    fp_shm_close(&a, true);
}

static int
attach_to(const void *content, u64 size, u64 file_size)
{
    int fd = fp_memfd_create("check");
    CHECK_EQ(ftruncate(fd, (off_t)file_size), 0);
    CHECK_EQ(pwrite(fd, content, size, 0), (ssize_t)size);
    fp_shm m;
    int rc = fp_shm_attach(&m, fd);
    close(fd);
    return rc;
}

static void
test_what_is_not_ours_is_refused(void)
{
    fp_shm m;
    CHECK_EQ(fp_shm_create(&m, 2, 64 * MIB), FP_OK);
    fp_head_shm good = *m.head, bad;
    CHECK_EQ(attach_to(&good, 16, 16), FP_CORRUPT);
    CHECK_EQ(attach_to(&good, sizeof good, m.size - 4096), FP_CORRUPT);
    bad = good, bad.hd_magic++;
    CHECK_EQ(attach_to(&bad, sizeof bad, m.size), FP_CORRUPT);
    bad = good, bad.hd_nworkers = 0x7fffffff;
    CHECK_EQ(attach_to(&bad, sizeof bad, m.size), FP_CORRUPT);
    bad = good, bad.hd_slots += FP_SLOT;
    CHECK_EQ(attach_to(&bad, sizeof bad, m.size), FP_CORRUPT);
    bad = good, bad.hd_nspans++;
    CHECK_EQ(attach_to(&bad, sizeof bad, m.size), FP_CORRUPT);
    CHECK_EQ(fp_shm_attach(&m, -1), FP_SYSTEM);
}

static void
in_a_child(void (*test)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        test();
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void
limit(int resource, u64 bytes)
{
    struct rlimit r = {bytes, bytes};
    CHECK_EQ(setrlimit(resource, &r), 0);
}

static void
within_a_file_limit(void)
{
    fp_shm m;
    limit(RLIMIT_FSIZE, 300 * MIB);
    CHECK_EQ(fp_shm_create(&m, 2, 1024 * MIB), FP_OK);   /* SIGXFSZ would kill us */
    CHECK_EQ((u64)m.nspans * FP_SPAN, 256 * MIB);
    fp_shm_close(&m, true);
    limit(RLIMIT_FSIZE, 10 * MIB);
    CHECK_EQ(fp_shm_create(&m, 2, 1024 * MIB), FP_NOMEM);
}

static void
within_an_address_limit(void)
{
    fp_shm m;
    limit(RLIMIT_AS, 400 * MIB);
    CHECK_EQ(fp_shm_create(&m, 2, 1024 * MIB), FP_OK);
    CHECK(m.nspans >= 64 && (u64)m.nspans * FP_SPAN <= 256 * MIB);
    fp_shm_close(&m, true);
}

static void
test_a_users_fork_does_not_inherit_it(void)
{
    fp_shm m;
    CHECK_EQ(fp_shm_create(&m, 2, 64 * MIB), FP_OK);
    pid_t pid = fork();
    if (pid == 0) {
        unsigned char there;   /* of a hole in the address space mincore says ENOMEM */
        _exit(mincore(m.head, 4096, &there) < 0 ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    fp_shm_close(&m, true);
}

static void
test_the_end_gives_the_pages_back(void)
{
    fp_shm m;
    struct stat st;
    CHECK_EQ(fp_shm_create(&m, 2, 64 * MIB), FP_OK);
    int held = dup(m.fd);   /* somebody's forgotten descriptor */
    u64 tickets = (u64)((u8 *)m.cells - (u8 *)m.head), page = (u64)sysconf(_SC_PAGESIZE);
    memset(fp_shm_at(&m, m.spans), 1, FP_SPAN);
    fp_shm_close(&m, true);
    CHECK_EQ(fstat(held, &st), 0);
    CHECK((u64)st.st_blocks * 512 <= (tickets + page - 1) / page * page);
    close(held);
}

int
main(void)
{
    check_within(60);
    test_parts_do_not_overlap();
    test_its_size_stays();
    test_both_sides_see_the_same();
    test_what_is_not_ours_is_refused();
    in_a_child(within_a_file_limit);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)   /* they need more address space */
    in_a_child(within_an_address_limit);
#else
    (void)within_an_address_limit;
#endif
    test_a_users_fork_does_not_inherit_it();
    test_the_end_gives_the_pages_back();
    return 0;
}
