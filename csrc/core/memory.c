#define _GNU_SOURCE
#include "memory.h"
#include "warm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NONE UINT64_MAX
#define ASK_FROM (1u << 20)   /* to ask costs what a few hundred KiB of new pages cost */
#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"

static u64
smaller(u64 a, u64 b)
{
    return a < b ? a : b;
}

static u64
less(u64 a, u64 b)
{
    return a > b ? a - b : 0;
}

/* The number that a file consists of; "max" and no file are NONE. */
static u64
read_number(const char *folder, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    unsigned long long number = NONE;
    if (f != NULL) {
        if (fscanf(f, "%llu", &number) != 1) {
            number = NONE;
        }
        fclose(f);
    }
    return number;
}

/* The number behind `key` in a file of lines "key number"; NONE if it is not there. */
static u64
read_key(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[256];
    unsigned long long number = NONE;
    size_t n = strlen(key);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, n) == 0 && sscanf(line + n, "%llu", &number) == 1) {
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return number;
}

/* The folder of this process's group under `root`: in /proc/self/cgroup the line that begins with `id`. */
static void
find_group(const char *root, const char *id, bool anywhere, char *folder, size_t room)
{
    char line[4096];
    FILE *f = fopen("/proc/self/cgroup", "re");
    snprintf(folder, room, "%s", root);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *path = anywhere ? strstr(line, id) : strncmp(line, id, strlen(id)) == 0 ? line : NULL;
        if (path != NULL) {
            path += strlen(id);
            path[strcspn(path, "\n")] = 0;
            snprintf(folder, room, "%s%s", root, path);
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

typedef struct {
    const char *root, *id;
    bool anywhere;
    const char *limit, *usage, *reclaimable;
} fp_hierarchy;

static const fp_hierarchy hierarchies[] = {
    {V2, "0::", false, "memory.max", "memory.current", "inactive_file "},
    {V1, ":memory:", true, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};

/* What one group leaves: its limit, or what is left of it. */
static u64
left_in_group(const fp_hierarchy *h, const char *folder, bool now)
{
    u64 limit = read_number(folder, h->limit);
    if (limit == NONE || !now) {
        return limit;
    }
    char stat[4200];
    snprintf(stat, sizeof stat, "%s/memory.stat", folder);
    u64 usage = read_number(folder, h->usage), cache = read_key(stat, h->reclaimable);
    if (usage == NONE) {
        return limit;
    }
    return less(limit, less(usage, cache == NONE ? 0 : cache));
}

/* The least of this process's group and those above it. In a container the path may lead nowhere: then its root counts. */
static u64
left_in_groups(const fp_hierarchy *h, bool now)
{
    char folder[4096];
    u64 left = NONE;
    find_group(h->root, h->id, h->anywhere, folder, sizeof folder);
    for (size_t root = strlen(h->root); strlen(folder) >= root;) {
        left = smaller(left, left_in_group(h, folder, now));
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < root) {
            break;
        }
        *slash = 0;
    }
    return left;
}

static u64
left_by_all(u64 machine, bool now)
{
    for (size_t i = 0; i < sizeof hierarchies / sizeof *hierarchies; i++) {
        machine = smaller(machine, left_in_groups(&hierarchies[i], now));
    }
    return machine;
}

u64
fp_memory_total(void)
{
    return left_by_all((u64)sysconf(_SC_PHYS_PAGES) * (u64)sysconf(_SC_PAGESIZE), false);
}

u64
fp_memory_available(void)
{
    u64 kib = read_key("/proc/meminfo", "MemAvailable:");
    return left_by_all(kib == NONE ? NONE : kib * 1024, true);
}

static bool
leaves_some(u64 size)
{
    u64 available = fp_memory_available();
    /* a sixteenth stays: for the pickle's source, its copy in the receiver, and whoever else asks at the same time */
    return available == NONE || (size <= available && available - size >= smaller(available / 16, 256u << 20));
}

bool
fp_memory_suffices(u64 size)
{
    if (size < ASK_FROM || leaves_some(size)) {
        return true;
    }
    if (!fp_warm_is_kept()) {
        return false;
    }
    fp_warm_drop();
    return leaves_some(size);
}
