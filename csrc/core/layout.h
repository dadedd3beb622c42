/* EVERY struct that lies in shared memory, and nothing else.
 *
 * Memory   one anonymous memfd per pool, mapped by the parent and by each worker at an
 *          address of its own: no pointers in here, only offsets from the file's start.
 * Trust    workers run other people's code. The parent checks what it reads here and
 *          keeps its own copy of whatever it must be able to rely on.
 *
 *   0            fp_head_shm
 *   hd_workers   fp_worker_shm [hd_nworkers]
 *   hd_idle      u64           [ceil(hd_nworkers / 64)]   who sleeps: bit w
 *   hd_cells     u64           [hd_ncells]                hints: generation << 32 | slot
 *   hd_slots     fp_slot_shm   [hd_nslots]
 *   hd_functions fp_function_shm [FP_NFUNCTIONS]
 *   hd_owners    u32           [hd_nspans]                whose span: FP_SPAN_*
 *   hd_rings     u8            [hd_nworkers][FP_RING]     small replies
 *   hd_spans     u8            [hd_nspans][FP_SPAN]       everything big
 *   hd_crashes   u8            [hd_nworkers][FP_CRASH]    what faulthandler says of a worker, by write(): sparse
 *
 * Prefixes: hd_ head, rg_ ring of hints, cq_ completed list, wk_ worker, sl_ slot, fn_ function.
 */
#ifndef FP_LAYOUT_H
#define FP_LAYOUT_H

#include <assert.h>
#include "atomic.h"

#define FP_LINE 128u              /* two x86 lines (they are fetched in pairs), one big aarch64 line */
#define FP_MAGIC 0x6c6f6f7074736166u
#define FP_NSLOTS_MIN 1024u       /* tasks that are with the workers; more wait in the parent */
#define FP_NFUNCTIONS 1024u
#define FP_MAX_WORKERS 0xfff0u    /* the owner field has 16 bits */
#define FP_SPAN (256u << 10)
#define FP_RING (256u << 10)
#define FP_RING_MAX (32u << 10)   /* a reply above this goes to spans */
#define FP_CRASH (256u << 10)     /* far more than is ever written there: nobody bounds it */

/* The slot's state word: generation:32 | owner:16 | state:8. */
enum { FP_FREE, FP_READY, FP_CLAIMED, FP_DONE, FP_DOOMED };

static inline u64
fp_word(u32 generation, u32 owner, u32 state)
{
    return (u64)generation << 32 | owner << 8 | state;
}
static inline u32 fp_word_generation(u64 w) { return (u32)(w >> 32); }
static inline u32 fp_word_owner(u64 w) { return (u32)(w >> 8) & 0xffffu; }
static inline u32 fp_word_state(u64 w) { return (u32)w & 0xffu; }

/* What the payload of a slot is. */
enum {
    FP_CALL_EMPTY,      /* no arguments, no payload; sl_fn names the function */
    FP_CALL_ARGS,       /* pickle of args; sl_fn names the function */
    FP_CALL_KWARGS,     /* pickle of (args, kwargs); sl_fn names the function */
    FP_CALL_WHOLE,      /* pickle of (fn, args, kwargs) */
    FP_CALL_FORM = 3,   /* the bits of the above; beside them: */
    FP_CALL_EACH = 4,   /* one call for each of args; the result is a list */
    FP_CALL_STAR = 8,   /* the same, and each of args is the arguments of its call */
    FP_CALL_TIMED = 32, /* the worker notes when it starts: wk_started */
    FP_CALL_ONCE = 64,  /* nobody will want this payload again: the reply may take its place */
    FP_REPLY_NONE = 16, /* the result None, no payload */
    FP_REPLY_VALUE,     /* pickle of the result */
    FP_REPLY_ERROR,     /* pickle of the exception */
    FP_REPLY_NOMEM,     /* shared memory ran out, no payload */
    FP_REPLY_HANDED,    /* pickle of the result, to be read at once: it names what the worker hands over, while it lives */
    FP_REPLY_HANDED_ERROR,   /* the same of the exception */
};

#define FP_SLOT 512u
#define FP_INLINE (FP_SLOT - 48u)

typedef struct {
    _Alignas(64) fp_a64 sl_state;
    fp_a32 sl_next;    /* worker, before it lists the slot: index + 1 of the next, or 0 */
    u32 sl_fn;         /* parent: id in the function table, 0 for none */
    u64 sl_len;        /* bytes of payload: the call's, later the reply's */
    u64 sl_stream;     /* of these, the pickle; behind it its buffers: see payload.h */
    u64 sl_offset;     /* where they are: 0 inline, else offset in the file */
    u32 sl_kind;       /* FP_CALL_* or FP_REPLY_* */
    u32 sl_ring_end;   /* reply in the worker's ring: its position after this reply, else 0 */
    u8 sl_inline[FP_INLINE];
} fp_slot_shm;
static_assert(sizeof(fp_slot_shm) == FP_SLOT, "a slot is FP_SLOT bytes");

/* cq_head: slot index + 1 of the newest completed slot, or 0, and two bits. */
#define FP_CQ_WAITER 0x80000000u   /* the leader sleeps on this word: futex-wake it */
#define FP_CQ_BELL 0x40000000u     /* the manager wants to know: ring the doorbell */
#define FP_CQ_SLOT 0x3fffffffu

/* wk_phase */
enum {
    FP_WORKER_NONE,      /* the index is free */
    FP_WORKER_STARTED,
    FP_WORKER_RUNNING,   /* it takes tasks */
    FP_WORKER_RETIRED,   /* it ends because it was told to, or has run its number of tasks */
    FP_WORKER_UNFIT,     /* its initializer raised: wk_note */
};

typedef struct {
    _Alignas(FP_LINE) fp_a32 wk_futex;   /* 1: about to sleep or asleep. Itself sets 1, wakers set 0 */
    fp_a32 wk_slot;                      /* itself: index + 1 of the slot it last went for */
    fp_a32 wk_phase;                     /* parent: NONE, STARTED; itself: the rest */
    fp_a32 wk_ring_head;                 /* parent: bytes of the ring that it has freed (mod 2^32) */
    fp_a32 wk_note;                      /* itself, before UNFIT: bytes at the start of its ring, a pickled exception */
    fp_a32 wk_ticket;                    /* parent: which process is this worker, see admission.h */
    fp_a64 wk_base;                      /* itself, before RUNNING: bytes of memory that it shared with no file then */
    fp_a64 wk_started;                   /* itself: when its timed task began (fp_now), 0 before and after */
} fp_worker_shm;

#define FP_FUNCTION_MAX 240u   /* bytes: two names and a little more */

/* Written by the parent, before the first slot that names the function. */
typedef struct {
    u32 fn_len;
    u32 fn_by_value;               /* 1: no name leads to it, so a worker keeps what it has unpickled */
    u64 fn_offset;                 /* where the pickle is: 0 here, else offset in the file */
    u8 fn_pickle[FP_FUNCTION_MAX];
} fp_function_shm;

enum { FP_SPAN_FREE, FP_SPAN_PARENT, FP_SPAN_WORKER };   /* FP_SPAN_WORKER + w */
/* bits beside the owner */
#define FP_SPAN_RESERVED 0x80000000u   /* the span's pages exist */
#define FP_SPAN_USED 0x40000000u       /* claimed or freed since the last fp_spans_trim */
#define FP_SPAN_OWNER 0x3fffffffu
#define FP_SPAN_TRIMMED 0x3fffffffu    /* an owner: the parent gives its pages back just now, in a moment it is free */
#define FP_SPAN_LOST 0x3ffffffeu       /* an owner: nobody; what should have been trimmed and never came back */

/* hd_flags */
#define FP_STOP 1u   /* no work will come any more: an idle worker may go */

typedef struct {
    /* written once by the parent, before any worker exists */
    u64 hd_magic;
    u64 hd_size;
    u32 hd_nslots, hd_ncells, hd_nworkers, hd_nspans;
    u64 hd_workers, hd_idle, hd_functions, hd_cells, hd_slots, hd_owners, hd_rings, hd_spans, hd_crashes;

    _Alignas(FP_LINE) fp_a64 rg_head;    /* anyone: CAS +1 */
    _Alignas(FP_LINE) fp_a64 rg_tail;    /* parent */
    fp_a64 rg_bell;                      /* parent: when rg_head gets here, ring the doorbell; 0 = never */
    _Alignas(FP_LINE) fp_a32 cq_head;    /* workers push, the parent takes all */
    _Alignas(FP_LINE) fp_a32 wk_watch;   /* the watch token: worker + 1, or 0 */
    fp_a64 wk_waking;                    /* the wake under way: time in us << 16 | worker + 1, or 0 */
    _Alignas(FP_LINE) fp_a32 hd_flags;   /* parent */
    fp_a32 hd_live;                      /* parent: workers started and not reaped */
    fp_a32 hd_spare;                     /* of these, how many may go when they are idle; an idle one takes 1 and goes */
} fp_head_shm;

#endif
