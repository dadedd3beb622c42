/* The parent reads shared memory in which a worker may have written anything: it neither crashes nor hangs, no memory
 * is lost, every task ends.
 *
 * An input is a little program: what the parent does, what honest workers do, and what is scribbled in between, a word
 * of some structure or a byte of anything. After it the workers are reaped and honest ones go on; then whatever has
 * not ended is failed and buried, as the manager does with a pool that is broken. It all happens in one thread, so
 * an input does the same each time. (What changes while the parent looks at it: stall_anywhere.c.)
 *
 * fuzz_reader [SECONDS [SEED]]     random inputs
 * fuzz_reader FILE...              these, one after the other
 * With clang, "make fuzz" builds it as a libFuzzer target.
 */
#define _GNU_SOURCE
#include "check.h"
#include "core/pool.h"
#include "core/ring.h"
#include "core/spans.h"
#include "core/wake.h"
#include "core/worker.h"

#include <errno.h>

#define WORKERS 3u
#define TASKS 24u
#define SPANS 64u

/* abort(), unlike CHECK's _exit, has the fuzzer keep the input */
#define MUST(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

static void
failed(int line, const char *condition)
{
    fprintf(stderr, "fuzz_reader.c:%d: not so: %s (%s)\n", line, condition, check_subject);
    abort();
}

static fp_pool *p;
static fp_task *tasks[TASKS];
static struct {
    fp_worker side;
    fp_call call;
    bool busy;
} workers[WORKERS];

/* ------------------------------------------------------------------------ the input */

static const u8 *at, *end;

static u64
take(u32 bytes)
{
    u64 value = 0;
    for (u32 i = 0; i < bytes && at < end; i++) {
        value |= (u64)*at++ << (8 * i);
    }
    return value;
}

static u64
take_below(u64 n)
{
    return take(n <= 256 ? 1 : n <= 65536 ? 2 : 4) % n;
}

static u32
some_slot(void)   /* mostly one of those that are in use */
{
    return (u32)(take(1) & 7 ? take_below(2 * TASKS) : take_below(p->shm.nslots));
}

static u64
some_offset(void)
{
    u64 delta = take(2);
    switch (take_below(6)) {
    case 0: return delta;
    case 1: return (u64)(p->shm.rings - (u8 *)p->shm.head) + take_below(WORKERS) * FP_RING + delta;
    case 2: return p->shm.spans + take_below(SPANS) * FP_SPAN;
    case 3: return p->shm.spans + take_below(SPANS) * FP_SPAN + delta;
    case 4: return p->shm.size - delta;
    default: return 0 - delta;
    }
}

static u64
some_value(void)
{
    switch (take_below(11)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return UINT64_MAX;
    case 3: return take(1);
    case 4: return take(4);
    case 5: return take(8);
    case 6: return fp_word(p->slots[some_slot()].generation + (u32)take(1) / 128, (u32)take_below(WORKERS + 1), (u32)take_below(6));
    case 7: return some_offset();
    case 8: return some_slot() + 1;
    case 9: return FP_SPAN_TRIMMED | (u32)take(1) << 24;
    default: return (u64)FP_REPLY_NONE + take_below(4);
    }
}

/* --------------------------------------------------------------------- what is scribbled */

static void
put32(fp_a32 *word)
{
    fp_store_seq_cst(word, (u32)some_value());
}

static void
put64(fp_a64 *word)
{
    fp_store_seq_cst(word, some_value());
}

static void
scribble_head(void)
{
    fp_head_shm *h = p->shm.head;
    switch (take_below(10)) {
    case 0: put64(&h->rg_head); break;
    case 1: put64(&h->rg_tail); break;
    case 2: put64(&h->rg_bell); break;
    case 3: put32(&h->cq_head); break;
    case 4: put32(&h->wk_watch); break;
    case 5: put64(&h->wk_waking); break;
    case 6: put32(&h->hd_flags); break;
    case 7: put32(&h->hd_live); break;
    case 8: put64(&p->shm.idle[0]); break;
    default: put64(&p->shm.cells[take_below(p->shm.ncells)]); break;
    }
}

static void
scribble_worker(void)
{
    fp_worker_shm *k = &p->shm.workers[take_below(WORKERS)];
    switch (take_below(5)) {
    case 0: put32(&k->wk_futex); break;
    case 1: put32(&k->wk_slot); break;
    case 2: put32(&k->wk_phase); break;
    case 3: put32(&k->wk_ring_head); break;
    default: put32(&k->wk_note); break;
    }
}

static void
scribble_slot(void)
{
    fp_slot_shm *sl = &p->shm.slots[some_slot()];
    switch (take_below(8)) {
    case 0: put64(&sl->sl_state); break;
    case 1: put32(&sl->sl_next); break;
    case 2: sl->sl_fn = (u32)some_value(); break;
    case 3: sl->sl_len = some_value(); break;
    case 4: sl->sl_stream = some_value(); break;
    case 5: sl->sl_offset = some_value(); break;
    case 6: sl->sl_kind = (u32)some_value(); break;
    default: sl->sl_ring_end = (u32)some_value(); break;
    }
}

static void
scribble_owners(void)
{
    u32 i = (u32)take_below(p->shm.nspans), n = (u32)take_below(9) == 0 ? p->shm.nspans : i + 1;
    u32 value = (u32)some_value();
    for (; i < n; i++) {
        fp_store_seq_cst(&p->shm.owners[i], value);
    }
}

static void
scribble_function(void)
{
    fp_function_shm *fn = &p->shm.functions[take_below(8)];
    fn->fn_len = (u32)some_value();
    fn->fn_offset = some_value();
}

static void
scribble_bytes(void)
{
    u64 all = p->shm.spans + SPANS * FP_SPAN, from = take_below(all), n = take(1);
    u8 what = (u8)take(1);
    for (u64 i = 0; i < n && from + i < all; i++) {
        fp_shm_at(&p->shm, from + i)[0] = what;
    }
}

/* A list of slots that somebody says to be done, in circles perhaps. */
static void
scribble_list(void)
{
    u32 first = some_slot(), last = first, w = (u32)take_below(WORKERS + 1);
    for (u64 n = take_below(4); n > 0; n--) {
        u32 next = some_slot();
        fp_store_seq_cst(&p->shm.slots[last].sl_next, next + 1);
        last = next;
        fp_store_seq_cst(&p->shm.slots[next].sl_state, fp_word(p->slots[next].generation, w, FP_DONE));
    }
    fp_store_seq_cst(&p->shm.slots[first].sl_state, fp_word(p->slots[first].generation, w, FP_DONE));
    fp_store_seq_cst(&p->shm.head->cq_head, (first + 1) | ((u32)take(1) & 3u) << 30);
}

/* --------------------------------------------------------------------- honest workers */

/* It does not look at the call: what others have written there is the worker's affair, and may be its end. So may be a ring
 * that makes no sense, in which it would run in circles. */
static bool
claim(u32 w)
{
    fp_call *call = &workers[w].call;
    bool bell;
    if (p->in_use[w] && !workers[w].busy && fp_ring_is_sound(&p->shm, p->tail)) {
        fp_wake_arrived(&p->shm, w);
        workers[w].busy = fp_claim(&p->shm, w, &call->slot, &call->generation, &bell) == FP_OK;
        fp_wake_helper(&p->shm);
    }
    return workers[w].busy;
}

static void
fill(u8 *to, u64 size)
{
    memset(to, 7, size < 4096 ? size : 4096);
    to[size - 1] = 7;
}

static void
answer(u32 w, u64 size)
{
    fp_reply reply = {.kind = FP_REPLY_VALUE};
    u8 *room = fp_worker_reply(&workers[w].side, &workers[w].call, size, &reply);
    if (room != NULL) {
        reply.stream = size;
        fill(room, size);
    }
    else {
        reply = (fp_reply){.kind = FP_REPLY_NOMEM, .size = size};
    }
    fp_worker_complete(&workers[w].side, &workers[w].call, &reply);
    workers[w].busy = false;
}

static u64
some_size(void)
{
    switch (take_below(4)) {
    case 0: return 1 + take(1);
    case 1: return 1 + take(2) % FP_RING_MAX;
    case 2: return 1 + take(2) * 4;
    default: return 1 + take(3) % (3 * FP_SPAN);
    }
}

static void
complete(void)
{
    u32 w = (u32)take_below(WORKERS);
    u64 size = some_size();
    if (workers[w].busy) {
        answer(w, size);
    }
}

/* It has claimed the task, written its reply, and says that it is elsewhere. */
static void
complete_with_a_lie(void)
{
    u32 w = (u32)take_below(WORKERS);
    fp_reply reply = {0};
    if (!workers[w].busy) {
        return;
    }
    u64 size = some_size();
    u8 *room = fp_worker_reply(&workers[w].side, &workers[w].call, size, &reply);
    if (room != NULL) {
        fill(room, size);
    }
    reply.kind = FP_REPLY_VALUE;
    for (u64 lies = take_below(4); lies > 0; lies--) {
        switch (take_below(5)) {
        case 0: reply.kind = (u32)some_value(); break;
        case 1: reply.size = some_value(); break;
        case 2: reply.offset = some_value(); break;
        case 3: reply.stream = some_value(); break;
        default: reply.ring_end = (u32)some_value(); break;
        }
    }
    fp_worker_complete(&workers[w].side, &workers[w].call, &reply);
    workers[w].busy = false;
}

static void
start(void)
{
    int w = fp_pool_new_worker(p);
    if (w >= 0) {
        workers[w].busy = false;
        workers[w].side = (fp_worker){.shm = p->shm, .w = (u32)w, .bell = p->bell};
        workers[w].side.ring_tail = fp_load_acquire(&p->shm.workers[w].wk_ring_head);
    }
}

static void
reap(u32 w)
{
    fp_task *t;
    fp_death death = {0};
    if (p->in_use[w]) {
        fp_pool_last_words(p, w, &death);
        fp_death_clear(&death);
        if (fp_pool_reap(p, w, &t) == FP_BROKEN && t != NULL) {
            fp_pool_fail(p, t);
        }
    }
}

/* ------------------------------------------------------------------------ the parent */

static u8 bytes[4 * FP_SPAN];

static fp_task **
empty_place(void)
{
    for (u32 i = 0; i < TASKS; i++) {
        if (tasks[i] == NULL) {
            return &tasks[i];
        }
    }
    return NULL;
}

static void
submit(u64 size)
{
    fp_task **t = empty_place();
    u64 block = 0;
    if (t == NULL || (size > FP_INLINE && fp_pool_room(p, size, &block) != FP_OK)) {
        return;
    }
    fp_piece piece = {bytes, size};
    fp_payload payload = {.pieces = &piece, .npieces = 1};
    fp_payload_measure(&payload);
    if (block != 0) {
        fp_payload_write(&payload, fp_shm_at(&p->shm, block));
    }
    *t = fp_task_new(0, FP_CALL_WHOLE, &payload, NULL);
    MUST(*t != NULL);
    (*t)->block = block;
    if (fp_pool_submit(p, *t) != FP_OK) {
        if (block != 0) {
            fp_pool_free_room(p, block, size);
            (*t)->block = 0;
        }
        fp_pool_drop_task(p, *t);
        *t = NULL;
    }
}

static void
submit_unplaced(void)
{
    fp_task **t = empty_place();
    if (t == NULL) {
        return;
    }
    *t = fp_task_new_unplaced(0, FP_CALL_WHOLE, NULL);
    MUST(*t != NULL);
    if (fp_pool_submit(p, *t) != FP_OK) {
        fp_pool_drop_task(p, *t);
        *t = NULL;
    }
    else if (take(1) & 1) {
        fp_pool_fail_unplaced(p, *t, NULL);
    }
    else {
        fp_pool_place(p, *t, 0, 16, 16, NULL);
    }
}

/* All that the receiver of a reply does before pickle has it. */
static u64
read_reply(const fp_task *t)
{
    u64 sum = 0, count = 0;
    if (t->outcome != FP_OUTCOME_REPLY || t->reply_kind == FP_REPLY_NONE) {
        return 0;
    }
    MUST(t->reply_offset == 0 || fp_shm_in_spans(&p->shm, t->reply_offset, t->reply_size));
    const u8 *data = t->reply_offset ? fp_shm_at(&p->shm, t->reply_offset) : t->reply;
    for (u64 i = 0; i < t->reply_size; i += 64) {
        sum += data[i];
    }
    sum += t->reply_size ? data[t->reply_size - 1] : 0;
    if (fp_payload_count(data, t->reply_size, t->reply_stream, &count) == FP_OK) {
        for (u64 i = 0; i < count; i++) {
            fp_out_of_band b;
            if (fp_payload_buffer(data, t->reply_size, t->reply_stream, i, &b) == FP_OK && b.bytes.size > 0) {
                sum += b.bytes.data[0] + b.bytes.data[b.bytes.size - 1];
            }
        }
    }
    return sum;
}

static void
drop(u32 i)
{
    if (tasks[i] != NULL) {
        static volatile u64 kept;   /* so that what is read is read */
        kept = fp_task_is_done(tasks[i]) ? read_reply(tasks[i]) : 0;
        (void)kept;
        fp_pool_drop_task(p, tasks[i]);
        tasks[i] = NULL;
    }
}

/* What the parent goes by has not been damaged. */
static void
check_books(void)
{
    static bool is_free[FP_NSLOTS_MIN];
    u32 out = 0;
    memset(is_free, 0, sizeof is_free);
    for (u32 i = 0; i < p->nfree; i++) {
        u32 s = p->free_slots[i];
        MUST(s < p->shm.nslots && !is_free[s] && !p->slots[s].out && p->slots[s].task == NULL);
        is_free[s] = true;
    }
    for (u32 s = 0; s < p->shm.nslots; s++) {
        out += p->slots[s].out;
    }
    MUST(out + p->nfree == p->shm.nslots);
}

static void
with_a_task(void)
{
    u32 what = (u32)take_below(4), i = (u32)take_below(TASKS);
    if (tasks[i] == NULL) {
        return;
    }
    switch (what) {
    case 0: fp_pool_cancel(p, tasks[i]); break;
    case 1: fp_pool_is_running(p, tasks[i]); break;
    case 2: fp_wait_task(p, tasks[i], 1); break;
    default: drop(i); break;
    }
}

static void
ask(void)
{
    fp_pool_waiting(p);
    fp_pool_ready_workers(p);
    fp_pool_wants_worker(p);
    fp_busy_workers(&p->shm);
    fp_pool_is_crowded(p);
    fp_pool_has_room(p, take(1) & 1);
}

static void
one_step(void)
{
    switch (take_below(22)) {
    case 0: submit(16); break;
    case 1: submit(1 + take(2)); break;
    case 2: submit(1 + take(3) % sizeof bytes); break;
    case 3: submit_unplaced(); break;
    case 4: with_a_task(); break;
    case 5: fp_pool_pump(p); break;
    case 6: fp_pool_manage(p); break;
    case 7: fp_spans_trim(&p->shm, (u32)take(1)); break;
    case 8: claim((u32)take_below(WORKERS)); break;
    case 9: complete(); break;
    case 10: complete_with_a_lie(); break;
    case 11: reap((u32)take_below(WORKERS)); start(); break;
    case 12: fp_pool_cancel_pending(p); break;
    case 13: ask(); break;
    case 14: fp_pool_add_function_by_value(p, bytes, take(2), "f"); break;
    case 15: scribble_head(); break;
    case 16: scribble_worker(); break;
    case 17: scribble_slot(); break;
    case 18: scribble_owners(); break;
    case 19: scribble_function(); break;
    case 20: scribble_bytes(); break;
    default: scribble_list(); break;
    }
}

/* Those who may have lied are dead; others do what is left. */
static void
go_on(void)
{
    for (u32 w = 0; w < WORKERS; w++) {
        reap(w);
    }
    start();
    while (!p->broken && claim(0)) {
        answer(0, 16);
        fp_pool_manage(p);
    }
    fp_pool_manage(p);
    MUST(p->broken || fp_load_seq_cst(&p->unfinished) == 0);
    reap(0);
}

static void
end_it_all(void)
{
    fp_pool_break(p, (fp_death){0});
    for (u32 w = 0; w < WORKERS; w++) {
        reap(w);
    }
    fp_pool_bury(p);
    check_books();
    MUST(fp_load_seq_cst(&p->unfinished) == 0);
    MUST(p->backlog_first == NULL && p->nbacklog == 0);
    MUST(p->leader == NULL && p->followers == NULL && p->told == 0);
    for (u32 i = 0; i < TASKS; i++) {
        MUST(tasks[i] == NULL || fp_task_is_done(tasks[i]));
        drop(i);
    }
    fp_pool_decref(p);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    at = data;
    end = data + size;
    MUST(fp_pool_new(&p, WORKERS, SPANS * FP_SPAN) == FP_OK);
    p->spin.cpus = 1;
    start();
    start();
    for (u32 i = 0; i < 512 && at < end; i++) {
        one_step();
        check_books();
    }
    go_on();
    end_it_all();
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
    LLVMFuzzerTestOneInput(input, size);
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
    LLVMFuzzerTestOneInput(input, size);
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
    u64 first = seed;
    for (u64 until = fp_now() + seconds * 1000000000u; n == 0 || fp_now() < until; n++) {
        run_random(seed++);
    }
    printf("  %llu inputs from seed %llu on\n", (unsigned long long)n, (unsigned long long)first);
    return 0;
}

#endif
