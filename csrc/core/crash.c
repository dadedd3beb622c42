#define _GNU_SOURCE
#include "crash.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static u64
place_of(u64 crashes, u32 w)
{
    return crashes + (u64)w * FP_CRASH;
}

int
fp_crash_open(int memfd, u32 w)
{
    fp_head_shm h;
    int rc = fp_shm_geometry(&h, memfd);
    if (rc != FP_OK || w >= h.hd_nworkers) {
        return rc != FP_OK ? rc : FP_CORRUPT;
    }
    char path[32];   /* opened anew: a position in the file that nobody else moves */
    snprintf(path, sizeof path, "/proc/self/fd/%d", memfd);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && lseek(fd, (off_t)place_of(h.hd_crashes, w), SEEK_SET) < 0) {
        close(fd);
        fd = -1;
    }
    return fd < 0 ? FP_SYSTEM : fd;
}

u64
fp_crash_read(const fp_shm *m, u32 w, char *text, u64 room)
{
    u64 most = room < FP_CRASH ? room : FP_CRASH;
    ssize_t n;
    do {
        n = pread(m->fd, text, most, (off_t)place_of(m->crashes, w));
    } while (n < 0 && errno == EINTR);
    return n > 0 ? strnlen(text, (size_t)n) : 0;
}

void
fp_crash_clear(const fp_shm *m, u32 w)
{
    char first;
    if (fp_crash_read(m, w, &first, 1) != 0) {
        fp_release_pages(m->fd, place_of(m->crashes, w), FP_CRASH);
    }
}
