/* The atomic operations of fastpool, named by their memory order.
 *
 * The order stands at the operation itself (no stand-alone fences), so that
 * ThreadSanitizer sees every edge and a reader can search for its partner.
 */
#ifndef FP_ATOMIC_H
#define FP_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

typedef _Atomic u32 fp_a32;
typedef _Atomic u64 fp_a64;

#define fp_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define fp_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define fp_load_seq_cst(p) atomic_load_explicit((p), memory_order_seq_cst)
#define fp_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define fp_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define fp_store_seq_cst(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)

static inline bool
fp_cas32(fp_a32 *p, u32 from, u32 to)
{
    return atomic_compare_exchange_strong_explicit(
        p, &from, to, memory_order_seq_cst, memory_order_acquire);
}

static inline bool
fp_cas64(fp_a64 *p, u64 from, u64 to)
{
    return atomic_compare_exchange_strong_explicit(
        p, &from, to, memory_order_seq_cst, memory_order_acquire);
}

/* Tell the core that this is a spinning loop. */
static inline void
fp_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif
