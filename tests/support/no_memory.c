/* For tests: allocations that fail, one after the other, in one thread. LD_PRELOAD this; Python has to run with
 * PYTHONMALLOC=malloc, or it would not come here with small objects. What is not C's own malloc (mmap) does not fail.
 *
 * Each thread has its own count of allocations since fp_fail_from; from the `first` on, `length` of them fail. */
#define _GNU_SOURCE
#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static _Thread_local long count, first, last;   /* first 0: none is to fail */
static _Thread_local long failed;
static atomic_long live;

static int
fails(void)
{
    if (first == 0) {
        return 0;
    }
    count++;
    if (count < first || count >= last) {
        return 0;
    }
    failed++;
    errno = ENOMEM;
    return 1;
}

static void *
counted(void *memory)
{
    if (memory != NULL) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    }
    return memory;
}

void *
malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *
calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *
realloc(void *old, size_t size)
{
    if (fails()) {
        return NULL;
    }
    void *memory = __libc_realloc(old, size);
    return old == NULL ? counted(memory) : memory;
}

void
free(void *memory)
{
    if (memory != NULL) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    }
    __libc_free(memory);
}

/* Let the allocations of this thread fail from the n-th on, n >= 1, as many as `length`. */
void
fp_fail_from(long n, long length)
{
    count = failed = 0;
    last = n + length;
    first = n;
}

/* No more. How many have failed? */
long
fp_fail_no_more(void)
{
    first = 0;
    return failed;
}

/* callable(), with allocations that fail: nothing of the caller's is among them. */
PyObject *
fp_attempt(PyObject *callable, long n, long length)
{
    fp_fail_from(n, length);
    PyObject *result = PyObject_CallNoArgs(callable);
    long how_many = fp_fail_no_more();
    failed = how_many;
    return result;
}

static void
in_child(void)
{
    first = 0;   /* a worker has all the memory it wants */
}

__attribute__((constructor)) static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

/* Of this thread's last attempt. */
long
fp_failed(void)
{
    return failed;
}

/* Blocks that have been allocated and not freed, by all threads. */
long
fp_live(void)
{
    return atomic_load(&live);
}
