/* share.h: pages that others can open by name and cannot change; what a fork copies is let go of; nothing is left. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "core/share.h"

static const u8 words[] = "a pickle, and what it refers to";
static u8 bulk[100000];

static fp_share *
new_share(void)
{
    const fp_piece pieces[] = {{words, 9}, {words + 9, sizeof words - 9}};
    const fp_out_of_band buffers[] = {
        {{bulk, sizeof bulk}, FP_BUFFER_BYTES, {0}},
        {{NULL, 0}, FP_BUFFER_BYTEARRAY, {0}},
        {{bulk + 1, 5000}, FP_BUFFER_ARRAY, {0}},
    };
    fp_payload p = {.pieces = pieces, .npieces = 2, .buffers = buffers, .nbuffers = 3};
    fp_payload_measure(&p);
    fp_share *s = NULL;
    CHECK_EQ(fp_share_create(&p, &s), FP_OK);
    return s;
}

static void
check_content(fp_share *s)
{
    CHECK_EQ(fp_share_use(s), FP_OK);
    const u8 *data = fp_share_payload(s);
    CHECK_EQ(s->stream, sizeof words);
    CHECK(memcmp(data, words, sizeof words) == 0);
    u64 count;
    CHECK_EQ(fp_payload_count(data, s->size, s->stream, &count), FP_OK);
    CHECK_EQ(count, 3);
    fp_out_of_band b;
    CHECK_EQ(fp_payload_buffer(data, s->size, s->stream, 2, &b), FP_OK);
    CHECK(b.bytes.size == 5000 && memcmp(b.bytes.data, bulk + 1, 5000) == 0);
    CHECK_EQ((uintptr_t)b.bytes.data % FP_BUFFER_ALIGNMENT, 0);
    fp_share_unuse(s);
}

static int
open_files(void)
{
    int n = 0;
    for (int fd = 0; fd < 1000; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void
test_open_by_name(void)
{
    fp_share *s = new_share(), *other = NULL;
    check_content(s);
    CHECK_EQ(fp_share_open(getpid(), s->fd, s->token, &other), FP_OK);
    CHECK(other->fd != s->fd && other->memory != s->memory);
    fp_share_decref(s);
    check_content(other);   /* whoever has it keeps it */
    fp_share *copy = NULL;
    CHECK_EQ(fp_share_copy(other->memory, other->mapped, &copy), FP_OK);
    CHECK(memcmp(copy->token, other->token, FP_TOKEN) == 0);
    fp_share_decref(other);
    check_content(copy);
    CHECK_EQ(fp_share_adopt(dup(copy->fd), &other), FP_OK);
    fp_share_decref(copy);
    check_content(other);
    fp_share_decref(other);
}

static void
test_another_file_is_noticed(void)
{
    fp_share *s = new_share(), *other = new_share(), *found = NULL;
    CHECK_EQ(fp_share_open(getpid(), other->fd, s->token, &found), FP_CORRUPT);
    CHECK_EQ(fp_share_open(getpid(), 999, s->token, &found), FP_SYSTEM);
    CHECK_EQ(errno, ENOENT);
    int fd = fp_memfd_create("empty");
    CHECK_EQ(fp_share_open(getpid(), fd, s->token, &found), FP_CORRUPT);
    CHECK_EQ(fp_write_at(fd, 0, bulk, sizeof bulk), FP_OK);
    CHECK_EQ(fp_share_open(getpid(), fd, s->token, &found), FP_CORRUPT);
    close(fd);
    FILE *file = tmpfile();   /* on a disk, perhaps: whoever maps it may find it shorter */
    CHECK(file != NULL && fwrite(bulk, sizeof bulk, 1, file) == 1 && fflush(file) == 0);
    CHECK_EQ(fp_share_open(getpid(), fileno(file), s->token, &found), FP_CORRUPT);
    fclose(file);
    CHECK(found == NULL);
    fp_share_decref(s);
    fp_share_decref(other);
}

static void
test_nobody_can_change_it(void)
{
    fp_share *s = new_share();
    CHECK(pwrite(s->fd, "x", 1, 0) < 0 && errno == EPERM);
    CHECK(ftruncate(s->fd, 1) < 0 && errno == EPERM);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0) == MAP_FAILED && errno == EPERM);
    fp_share_decref(s);
}

static void
test_too_large(void)
{
    const fp_piece piece = {NULL, 1ull << 50};
    fp_payload p = {.pieces = &piece, .npieces = 1};
    fp_payload_measure(&p);
    fp_share *s = NULL;
    CHECK_EQ(fp_share_create(&p, &s), FP_NOMEM);
}

static void
test_holds(void)
{
    fp_share *s = new_share();
    fp_holds *holds = NULL;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(fp_holds_add(&holds, s), FP_OK);
    }
    CHECK_EQ(fp_load_relaxed(&s->refs), 4);
    fp_share_decref(s);
    check_content(s);
    fp_holds_free(holds);
    fp_holds_free(NULL);
}

static void
expect_success(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
test_child_lets_go(void)
{
    int before = open_files();
    fp_share *used = new_share(), *unused = new_share();
    CHECK_EQ(fp_share_use(used), FP_OK);
    pid_t child = fork();
    if (child == 0) {
        fp_share *own = new_share();
        fp_shares_let_go();
        CHECK(used->memory != NULL && own->memory != NULL && unused->memory == NULL);
        CHECK_EQ(open_files(), before + 2);
        check_content(unused);   /* opened again, in the parent */
        check_content(used);
        check_content(own);
        fp_share_decref(unused);
        _exit(0);
    }
    expect_success(child);
    fp_share_unuse(used);
    fp_share_decref(used);
    fp_share_decref(unused);
    CHECK_EQ(open_files(), before);
}

static void
test_parent_has_none_any_more(void)
{
    int go[2], done[2];
    CHECK(pipe(go) == 0 && pipe(done) == 0);
    fp_share *s = new_share(), *gone = new_share();
    pid_t child = fork();
    if (child == 0) {
        char c;
        fp_shares_let_go();
        CHECK(write(done[1], "d", 1) == 1 && read(go[0], &c, 1) == 1);
        CHECK_EQ(fp_share_use(s), FP_CORRUPT);
        CHECK_EQ(fp_share_use(gone), FP_CORRUPT);
        fp_share_decref(s);
        _exit(0);
    }
    char c;
    CHECK_EQ(read(done[0], &c, 1), 1);
    int fd = s->fd;
    fp_share_decref(s);
    fp_share_decref(gone);
    char fifo_path[64];
    snprintf(fifo_path, sizeof fifo_path, "/tmp/fastpool-test-fifo-%d", (int)getpid());
    mkfifo(fifo_path, 0600);
    int fifo = open(fifo_path, O_RDWR);   /* who opens it to read must not wait */
    CHECK(fifo >= 0 && dup2(fifo, fd) == fd);
    CHECK_EQ(write(go[1], "g", 1), 1);
    expect_success(child);
    unlink(fifo_path);
    for (int i = 0; i < 2; i++) {
        close(go[i]);
        close(done[i]);
    }
    close(fifo);
    close(fd);
}

/* A child that is slow to start does not keep what its parent has dropped meanwhile. */
static void
test_dropped_before_the_child_lets_go(void)
{
    int go[2];
    CHECK(pipe(go) == 0);
    int before = open_files();
    fp_share *s = new_share();
    pid_t child = fork();
    if (child == 0) {
        char c;
        CHECK_EQ(read(go[0], &c, 1), 1);
        fp_shares_let_go();
        CHECK(s->memory == NULL);
        CHECK_EQ(open_files(), before);
        CHECK_EQ(fp_share_use(s), FP_CORRUPT);
        _exit(0);
    }
    fp_share_decref(s);
    CHECK_EQ(write(go[1], "g", 1), 1);
    expect_success(child);
    close(go[0]);
    close(go[1]);
}

static void *
make_and_drop(void *shared)
{
    for (int i = 0; i < 200; i++) {
        fp_share *mine = new_share(), *other = NULL;
        CHECK_EQ(fp_share_open(getpid(), mine->fd, mine->token, &other), FP_OK);
        fp_share_incref(shared);
        fp_share_decref(mine);
        CHECK_EQ(fp_share_use(shared), FP_OK);
        fp_share_unuse(shared);
        fp_share_decref(other);
        fp_share_decref(shared);
    }
    return NULL;
}

static void
test_threads_and_forks(void)
{
    int before = open_files();
    fp_share *s = new_share();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, make_and_drop, s), 0);
    }
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            fp_shares_let_go();
            check_content(s);
            _exit(0);
        }
        expect_success(child);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(fp_load_relaxed(&s->refs), 1);
    fp_share_decref(s);
    CHECK_EQ(open_files(), before);
}

int
main(void)
{
    for (u64 i = 0; i < sizeof bulk; i++) {
        bulk[i] = (u8)(i * 7);
    }
    test_open_by_name();
    test_another_file_is_noticed();
    test_nobody_can_change_it();
    test_too_large();
    test_holds();
    test_child_lets_go();
    test_parent_has_none_any_more();
    test_dropped_before_the_child_lets_go();
    test_threads_and_forks();
    return 0;
}
