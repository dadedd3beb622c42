/* See reader.h. */
#define _GNU_SOURCE
#include "reader.h"
#include "scribble.h"

#include "check.h"
#include "core/ring.h"
#include "core/spans.h"
#include "core/wake.h"
#include "core/worker.h"

#define WORKERS 3u
#define TASKS 24u
#define SPANS 64u

/* abort(), unlike CHECK's _exit, has the fuzzer keep the input */
#define MUST(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

static void
failed(int line, const char *condition)
{
    fprintf(stderr, "reader.c:%d: not so: %s (%s)\n", line, condition, check_subject);
    abort();
}

fp_pool *reader_pool;
static fp_pool *p;
static fp_task *tasks[TASKS];
static struct {
    fp_worker side;
    fp_call call;
    bool busy;
} workers[WORKERS];

static void
nothing(bool begins)
{
    (void)begins;
}

void (*reader_at_call)(bool begins) = nothing;

/* --------------------------------------------------------------------- honest workers */

/* Where its reply may go. */
static void
read_call(fp_call *call)
{
    const fp_slot_shm *sl = &p->shm.slots[call->slot];
    call->kind = sl->sl_kind;
    call->size = sl->sl_len;
    call->offset = sl->sl_offset;
}

/* It does not look into the call: what others have written there is the worker's affair, and may be its end. So may be a ring
 * that makes no sense, in which it would run in circles. */
static bool
claim(u32 w)
{
    fp_call *call = &workers[w].call;
    bool bell;
    if (p->seats[w].in_use && !workers[w].busy && fp_ring_is_sound(&p->shm, p->tail)) {
        fp_wake_arrived(&p->shm, w);
        workers[w].busy = fp_claim(&p->shm, w, &call->slot, &call->generation, &bell) == FP_OK;
        fp_wake_helper(&p->shm);
        if (workers[w].busy) {
            read_call(call);
        }
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
    u8 *room;
    if (fp_worker_reply(&workers[w].side, &workers[w].call, size, &reply, &room) == FP_OK) {
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
    u8 *room;
    if (fp_worker_reply(&workers[w].side, &workers[w].call, size, &reply, &room) == FP_OK) {
        fill(room, size);
    }
    reply.kind = FP_REPLY_VALUE;
    for (u64 lies = take_below(4); lies > 0; lies--) {
        switch (take_below(5)) {
        case 0: reply.kind = (u32)some_value(&p->shm); break;
        case 1: reply.size = some_value(&p->shm); break;
        case 2: reply.offset = some_value(&p->shm); break;
        case 3: reply.stream = some_value(&p->shm); break;
        default: reply.ring_end = (u32)some_value(&p->shm); break;
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
    if (p->seats[w].in_use) {
        fp_pool_last_words(p, w, &death);
        fp_death_clear(&death);
        fp_pool_reap(p, w, &t);
        if (t != NULL) {   /* whatever the reason: nobody else answers for it */
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
        fp_pool_fail_unplaced(p, *t, NULL, 0);
    }
    else {
        fp_pool_place(p, *t, &(fp_placement){.size = 16, .stream = 16});
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
    u32 what = (u32)take_below(22);
    if (what >= 15) {
        scribble(&p->shm);
        return;
    }
    bool is_call = what < 8 || what > 10;
    if (is_call) {
        reader_at_call(true);
    }
    switch (what) {
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
    default: fp_pool_add_function_by_value(p, bytes, take(2), "f"); break;
    }
    if (is_call) {
        reader_at_call(false);
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

void
reader_run(const u8 *data, u64 size)
{
    at = data;
    end = data + size;
    MUST(fp_pool_new(&p, WORKERS, SPANS * FP_SPAN) == FP_OK);
    reader_pool = p;
    memset(workers, 0, sizeof workers);
    p->spin.cpus = 1;
    start();
    start();
    for (u32 i = 0; i < 512 && at < end; i++) {
        one_step();
        check_books();
    }
    go_on();
    end_it_all();
}
