/* Whatever a worker writes into shared memory, the parent survives it: see reader.h. (What changes while the parent looks at
 * it: fuzz_meanwhile.c.)
 *
 * fuzz_reader [SECONDS [SEED]]     random inputs
 * fuzz_reader FILE...              these, one after the other
 * With clang, "make fuzz" builds it as a libFuzzer target.
 */
#define _GNU_SOURCE
#include "check.h"
#include "reader.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    reader_run(data, size);
    return 0;
}

#ifndef FP_LIBFUZZER

static void
run_file(const char *name)
{
    static u8 input[1u << 20];
    FILE *f = fopen(name, "re");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        exit(2);
    }
    size_t size = fread(input, 1, sizeof input, f);
    fclose(f);
    check_doing(name);
    reader_run(input, size);
}

static void
run_random(u64 seed)
{
    static u8 input[600];
    char text[64];
    snprintf(text, sizeof text, "seed %llu", (unsigned long long)seed);
    check_doing(text);
    size_t size = check_random(&seed) % sizeof input;
    for (size_t i = 0; i < size; i++) {
        input[i] = (u8)check_random(&seed);
    }
    reader_run(input, size);
}

/* Each input has a seed of its own: "fuzz_reader 0 SEED" is that one alone. */
int
main(int argc, char **argv)
{
    char *rest = "";
    u64 seconds = argc > 1 ? strtoull(argv[1], &rest, 0) : 1;
    if (*rest != 0) {
        check_within(60u * (unsigned)argc);
        for (int i = 1; i < argc; i++) {
            run_file(argv[i]);
        }
        return 0;
    }
    check_within(60 + 2 * (unsigned)seconds);
    u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : fp_now(), n = 0;
    printf("  from seed %llu on:", (unsigned long long)seed);
    fflush(stdout);
    for (u64 until = fp_now() + seconds * 1000000000u; n == 0 || fp_now() < until; n++) {
        run_random(seed++);
    }
    printf(" %llu inputs\n", (unsigned long long)n);
    return 0;
}

#endif
