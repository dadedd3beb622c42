#define _GNU_SOURCE
#include "crew.h"

#include "core/limits.h"
#include "core/wake.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

stage_shm *stage;

/* ------------------------------------------------------------------- the stage */

void
stage_init(void)
{
    if (stage == NULL) {
        stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(stage != MAP_FAILED);
    }
    memset(stage, 0, offsetof(stage_shm, runs));
    madvise(stage, sizeof *stage, MADV_REMOVE);   /* all zeros again */
}

void
stage_open_gate(void)
{
    fp_store_seq_cst(&stage->gate, 1);
    fp_futex_wake(&stage->gate, INT32_MAX, true);
}

void
stage_close_gate(void)
{
    fp_store_seq_cst(&stage->gate, 0);
    fp_store_seq_cst(&stage->began, 0);
}

void
stage_await_began(u32 n)
{
    u64 bound = BOUND;
    for (u32 now; (now = fp_load_seq_cst(&stage->began)) < n;) {
        CHECK(fp_futex_wait(&stage->began, now, bound, true) != FP_TIMEDOUT);
    }
}

static void
at_the_gate(void)
{
    atomic_fetch_add(&stage->began, 1);
    fp_futex_wake(&stage->began, INT32_MAX, true);
    while (fp_load_seq_cst(&stage->gate) == 0) {
        fp_futex_wait(&stage->gate, 0, FP_NEVER, true);
    }
}

/* --------------------------------------------------------------------- marks */

#define PAGE 65536u

static void
put_mark(u8 *at, u64 id)
{
    u64 mark = id * 3 + 1;
    memcpy(at, &mark, sizeof mark);
}

static bool
has_mark(const u8 *at, u64 id)
{
    u64 mark;
    memcpy(&mark, at, sizeof mark);
    return mark == id * 3 + 1;
}

static void
put_marks(u8 *to, u64 id, u64 from, u64 size)
{
    for (u64 i = from; i + 16 <= size; i += PAGE) {
        put_mark(to + i, id);
    }
    if (size >= from + 8) {
        put_mark(to + size - 8, id);
    }
}

static bool
has_marks(const u8 *data, u64 id, u64 from, u64 size)
{
    for (u64 i = from; i + 16 <= size; i += PAGE) {
        if (!has_mark(data + i, id)) {
            return false;
        }
    }
    return size < from + 8 || has_mark(data + size - 8, id);
}

/* --------------------------------------------------------------- a worker's part */

static int
answer(fp_worker *k, const fp_call *call, order o)
{
    fp_reply reply = {.kind = FP_REPLY_NONE};
    if (o.size > 0) {
        u8 *room;
        if (fp_worker_reply(k, call, o.size, &reply, &room) == FP_OK) {
            put_marks(room, o.id, 0, o.size);
            reply.kind = o.act == HAND ? FP_REPLY_HANDED : FP_REPLY_VALUE;
        }
        else {
            reply = (fp_reply){.kind = FP_REPLY_NOMEM};
        }
    }
    return fp_worker_complete(k, call, &reply);
}

/* What a call says of a shared object. */
typedef struct {
    order o;
    int owner, fd;
    u8 token[FP_TOKEN];
} look_order;

static void
look_into_share(const fp_call *call)
{
    look_order l;
    fp_share *s;
    CHECK(call->size >= sizeof l);
    memcpy(&l, call->data, sizeof l);
    CHECK_EQ(fp_share_open(l.owner, l.fd, l.token, &s), FP_OK);
    CHECK_EQ(fp_share_use(s), FP_OK);
    CHECK(s->size > 0 && fp_share_payload(s)[s->size - 1] == fp_share_payload(s)[0]);
    fp_share_unuse(s);
    fp_share_decref(s);
}

/* 0, FP_CONDEMNED, or FP_CLOSED: it was told to go. */
static int
execute(fp_worker *k, const fp_call *call)
{
    order o;
    CHECK(call->size >= sizeof o);
    memcpy(&o, call->data, sizeof o);
    CHECK(o.act == LOOK || has_marks(call->data, o.id, sizeof o, call->size));
    CHECK(o.id < IDS);
    fp_store_relaxed(&stage->turn[o.id], atomic_fetch_add(&stage->turns, 1));
    atomic_fetch_add(&stage->runs[o.id], 1);
    if (o.act == HOLD || o.act == DIE_LATE) {
        at_the_gate();
    }
    if (o.act == LOOK) {
        look_into_share(call);
    }
    if (o.act == DIE || o.act == DIE_LATE) {
        raise(SIGKILL);
    }
    int rc = answer(k, call, o);
    return rc == FP_OK && o.act == RETIRE ? FP_CLOSED : rc;
}

void
crew_work(fp_worker *k)
{
    int rc = FP_OK;
    while (rc != FP_CLOSED) {
        fp_call call;
        rc = fp_worker_next(k, &call);
        if (rc == FP_EMPTY) {
            fp_worker_wait(k, FP_NEVER);
        }
        else if (rc == FP_OK) {
            rc = execute(k, &call);
        }
        if (rc == FP_CONDEMNED) {
            return;   /* a worker proper waits for its end; in the tests it comes by itself */
        }
    }
    fp_worker_phase(k, FP_WORKER_RETIRED);
}

static void *
thread_main(void *arg)
{
    crew_work(arg);
    return NULL;
}

static void
start_thread(crew *c, u32 w)
{
    member *m = &c->members[w];
    m->side = (fp_worker){.shm = c->pool->shm, .w = w, .bell = c->pool->bell};
    fp_spin_init(&m->side.spin);
    fp_worker_phase(&m->side, FP_WORKER_RUNNING);
    m->pid = -1;
    CHECK_EQ(pthread_create(&m->thread, NULL, thread_main, &m->side), 0);
}

static void
process_main(const crew *c, u32 w, void (*before)(fp_worker *))
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fp_worker k;
    CHECK_EQ(fp_worker_attach(&k, c->pool->shm.fd, c->pool->bell, w), FP_OK);
    fp_worker_phase(&k, FP_WORKER_RUNNING);
    if (before != NULL) {
        before(&k);
    }
    crew_work(&k);
    fp_worker_detach(&k);
    _exit(0);
}

/* ------------------------------------------------------------------ the parent's */

void
crew_open_with(crew *c, u32 nworkers, u64 bytes)
{
    CHECK(nworkers <= CREW_MOST);
    stage_init();
    *c = (crew){0};
    CHECK_EQ(fp_pool_new(&c->pool, nworkers, bytes), FP_OK);
    CHECK_EQ(fp_monitor_init(&c->monitor, nworkers, c->pool->bell), FP_OK);
}

void
crew_open(crew *c, u32 nworkers)
{
    crew_open_with(c, nworkers, 0);
}

u32
crew_start_with(crew *c, void (*before)(fp_worker *))
{
    int w = fp_pool_new_worker(c->pool);
    CHECK(w >= 0);
    if (CREW_THREADS) {
        start_thread(c, (u32)w);
        return (u32)w;
    }
    int sentinel[2];
    CHECK_EQ(pipe2(sentinel, O_CLOEXEC), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        process_main(c, (u32)w, before);
    }
    c->members[w].pid = pid;
    CHECK_EQ(fp_monitor_add(&c->monitor, (u32)w, pid, sentinel[0]), FP_OK);
    close(sentinel[0]);
    close(sentinel[1]);
    return (u32)w;
}

u32
crew_start(crew *c)
{
    return crew_start_with(c, NULL);
}

int
crew_wait(crew *c, u32 w)
{
    member *m = &c->members[w];
    int status = 0;
    if (CREW_THREADS) {
        CHECK_EQ(pthread_join(m->thread, NULL), 0);
    }
    else {
        fp_monitor_remove(&c->monitor, w);
        CHECK_EQ(waitpid(m->pid, &status, 0), m->pid);
    }
    m->pid = 0;
    return status;
}

void
crew_kill(crew *c, u32 w)
{
    CHECK(!CREW_THREADS);
    kill(c->members[w].pid, SIGKILL);
    CHECK(WIFSIGNALED(crew_wait(c, w)));
}

int
crew_reap(crew *c, u32 w, fp_task **task)
{
    return fp_pool_reap(c->pool, w, task);
}

static void
kill_condemned(crew *c)
{
    for (fp_sentence s; fp_pool_next_fate(c->pool, &s);) {
        kill(c->members[s.w].pid, SIGKILL);
    }
}

static void
bury_and_replace(crew *c, u32 w, bool replace)
{
    fp_task *task;
    crew_wait(c, w);
    if (crew_reap(c, w, &task) != FP_OK && task != NULL) {
        fp_pool_fail(c->pool, task);
    }
    if (replace) {
        crew_start(c);
    }
}

u32
crew_manage(crew *c, bool replace)
{
    u32 deaths = 0, ended[CREW_MOST];
    while (!fp_pool_manage(c->pool)) {
        kill_condemned(c);
        int n = fp_monitor_wait(&c->monitor, ended, CREW_MOST, FP_NEVER);
        for (int i = 0; i < n; i++) {
            bury_and_replace(c, ended[i], replace);
            deaths++;
        }
    }
    return deaths;
}

bool
worker_is_asleep(const fp_pool *p, u32 w)
{
    return (fp_load_seq_cst(&p->shm.idle[w / 64]) >> (w % 64) & 1) &&
           fp_load_seq_cst(&p->shm.workers[w].wk_futex) == 1;
}

u32
spans_owned_by(const fp_pool *p, u32 owner)
{
    u32 n = 0;
    for (u32 i = 0; i < p->shm.nspans; i++) {
        n += (fp_load_acquire(&p->shm.owners[i]) & FP_SPAN_OWNER) == owner;
    }
    return n;
}

u32
spans_of_workers(const fp_pool *p)
{
    return p->shm.nspans - spans_owned_by(p, FP_SPAN_FREE) - spans_owned_by(p, FP_SPAN_PARENT);
}

/* Spans that the parent's allocator keeps for the next call. */
static u32
spans_kept(const fp_pool *p)
{
    u32 n = 0;
    for (u32 i = 0; p->blocks.of_span != NULL && i < p->shm.nspans; i++) {
        n += p->blocks.of_span[i] != NULL;
    }
    return n;
}

void
crew_check_empty(crew *c)
{
    fp_pool *p = c->pool;
    fp_pool_pump(p);
    CHECK_EQ(fp_load_seq_cst(&p->unfinished), 0);
    CHECK_EQ(p->nfree, p->shm.nslots);
    for (u32 s = 0; s < p->shm.nslots; s++) {
        CHECK(p->slots[s].task == NULL && !p->slots[s].out);
        CHECK_EQ(fp_word_state(fp_load_acquire(&p->shm.slots[s].sl_state)), FP_FREE);
    }
    CHECK(p->backlog_first == NULL && p->nbacklog == 0);
    CHECK(p->leader == NULL && p->followers == NULL);
    CHECK_EQ(spans_of_workers(p), 0);
    CHECK_EQ(spans_owned_by(p, FP_SPAN_PARENT), spans_kept(p));
}

void
crew_free(crew *c)
{
    fp_monitor_fini(&c->monitor);
    fp_pool_decref(c->pool);
    c->pool = NULL;
}

void
crew_close(crew *c)
{
    fp_pool_close(c->pool);
    CHECK_EQ(crew_manage(c, false), 0);
    fp_pool_stop_workers(c->pool);
    for (u32 w = 0; w < c->pool->shm.nworkers; w++) {
        fp_task *task;
        if (c->members[w].pid != 0) {
            CHECK_EQ(crew_wait(c, w), 0);
            CHECK_EQ(crew_reap(c, w, &task), FP_OK);
            CHECK(task == NULL);
        }
    }
    CHECK_EQ(c->pool->started, 0);
    crew_check_empty(c);
    crew_free(c);
}

/* ------------------------------------------------------------------------ tasks */

/* The payload of an order, its bytes malloc'd. */
static fp_payload
payload_of(order o, u64 size, fp_piece *piece)
{
    size = size < sizeof o ? sizeof o : size;
    u8 *data = calloc(1, size);
    CHECK(data != NULL);
    memcpy(data, &o, sizeof o);
    put_marks(data, o.id, sizeof o, size);
    *piece = (fp_piece){data, size};
    fp_payload payload = {.pieces = piece, .npieces = 1};
    fp_payload_measure(&payload);
    return payload;
}

/* Into a block, if it needs one: 0, FP_FULL, FP_NOMEM. */
static int
place(crew *c, const fp_payload *payload, u64 *block)
{
    *block = 0;
    int rc = payload->size > FP_INLINE ? fp_pool_room(c->pool, payload->size, block) : FP_OK;
    if (*block) {
        fp_payload_write(payload, fp_shm_at(&c->pool->shm, *block));
    }
    return rc;
}

int
crew_try(crew *c, order o, u64 size, fp_task **t)
{
    fp_piece piece;
    fp_payload payload = payload_of(o, size, &piece);
    u64 block;
    *t = NULL;
    int rc = place(c, &payload, &block);
    if (rc == FP_OK) {
        *t = fp_task_new(0, FP_CALL_WHOLE, &payload, NULL);
        CHECK(*t != NULL);
        (*t)->block = block;
        (*t)->call = c->call;
        (*t)->hands_over = c->hands_over;
        CHECK(fp_task_set_terms(*t, &(fp_terms){.retries = c->retries}));
        rc = fp_pool_submit(c->pool, *t);
    }
    if (rc != FP_OK && *t != NULL) {
        if (block) {
            fp_pool_free_room(c->pool, block, payload.size);
        }
        fp_pool_drop_task(c->pool, *t);
        *t = NULL;
    }
    free((void *)piece.data);
    return rc;
}

fp_task *
crew_give_look(crew *c, order o, fp_share *share)
{
    look_order l = {.o = o, .owner = getpid(), .fd = share->fd};
    l.o.act = LOOK;
    memcpy(l.token, share->token, FP_TOKEN);
    fp_piece piece = {(const u8 *)&l, sizeof l};
    fp_payload payload = {.pieces = &piece, .npieces = 1};
    fp_payload_measure(&payload);
    fp_task *t = fp_task_new(0, FP_CALL_WHOLE, &payload, NULL);
    CHECK(t != NULL);
    CHECK_EQ(fp_holds_add(&t->holds, share), FP_OK);
    CHECK_EQ(fp_pool_submit(c->pool, t), FP_OK);
    return t;
}

fp_task *
crew_give_unplaced(crew *c)
{
    fp_task *t = fp_task_new_unplaced(0, FP_CALL_WHOLE, NULL);
    CHECK(t != NULL);
    CHECK_EQ(fp_pool_submit(c->pool, t), FP_OK);
    return t;
}

bool
crew_place(crew *c, fp_task *t, order o, u64 size)
{
    fp_piece piece;
    fp_payload payload = payload_of(o, size, &piece);
    u64 block;
    for (;;) {
        fp_store_seq_cst(&c->pool->sender.nready, 0);
        if (fp_pool_has_room(c->pool, true) && place(c, &payload, &block) == FP_OK) {
            break;
        }
        CHECK_EQ(fp_wait(c->pool, &c->pool->sender, 1, FP_NEVER), FP_OK);
    }
    if (block == 0) {
        fp_payload_write(&payload, t->small);
    }
    free((void *)piece.data);
    fp_placement placement = {.block = block, .size = payload.size, .stream = payload.stream};
    placement.call = c->call;
    placement.hands_over = c->hands_over;
    return fp_pool_place(c->pool, t, &placement);
}

fp_task *
crew_give(crew *c, order o, u64 size)
{
    fp_task *t;
    CHECK_EQ(crew_try(c, o, size, &t), FP_OK);
    return t;
}

void
crew_expect(crew *c, fp_task *t, order o)
{
    CHECK(fp_task_is_done(t));
    CHECK_EQ(t->outcome, FP_OUTCOME_REPLY);
    CHECK_EQ(t->reply_kind, o.size ? FP_REPLY_VALUE : FP_REPLY_NONE);
    CHECK_EQ(t->reply_size, o.size);
    const u8 *data = t->reply_offset ? fp_shm_at(&c->pool->shm, t->reply_offset) : t->reply;
    CHECK(has_marks(data, o.id, 0, o.size));
    CHECK_EQ(fp_load_acquire(&stage->runs[o.id]), 1);
    fp_pool_drop_task(c->pool, t);
}

void
crew_expect_outcome(crew *c, fp_task *t, u32 outcome)
{
    CHECK(fp_task_is_done(t));
    CHECK_EQ(t->outcome, outcome);
    fp_pool_drop_task(c->pool, t);
}

void
crew_wait_for(crew *c, fp_task *t)
{
    u64 bound = BOUND;
    CHECK_EQ(fp_wait_task(c->pool, t, bound), FP_OK);
    CHECK(fp_now() < bound);
}

void
crew_await(crew *c, fp_task *t, order o)
{
    crew_wait_for(c, t);
    crew_expect(c, t, o);
}

/* --------------------------------------------------------------- who waits, who manages */

#define WAIT_MOST 8u

static void *
wait_for_all(void *arg)
{
    crew_waiter *cw = arg;
    fp_pool *p = cw->c->pool;
    fp_waiter w;
    fp_node nodes[WAIT_MOST];
    fp_waiter_init(&w);
    for (u32 i = 0; i < cw->n; i++) {
        fp_wait_add(p, &w, &nodes[i], cw->tasks[i]);
    }
    u64 bound = BOUND;
    CHECK_EQ(fp_wait(p, &w, cw->n, bound), FP_OK);
    CHECK(fp_now() < bound);
    fp_eventfd_ring(cw->through);
    return NULL;
}

void
crew_begin_waiting(crew *c, crew_waiter *w, fp_task **tasks, u32 n)
{
    CHECK(n <= WAIT_MOST);
    *w = (crew_waiter){.c = c, .tasks = tasks, .n = n, .through = fp_eventfd_create()};
    CHECK_EQ(pthread_create(&w->thread, NULL, wait_for_all, w), 0);
}

void
crew_manage_by_the_bell(crew *c, crew_waiter *w)
{
    struct pollfd p[2] = {{.fd = c->pool->bell, .events = POLLIN}, {.fd = w->through, .events = POLLIN}};
    while (!(p[1].revents & POLLIN)) {
        CHECK(poll(p, 2, (int)BOUND_S * 1000) > 0);
        if (p[0].revents & POLLIN) {
            fp_pool_manage(c->pool);
        }
    }
    CHECK_EQ(pthread_join(w->thread, NULL), 0);
    close(w->through);
}

/* ------------------------------------------------------------------------- after a death */

fp_task *
crew_claimed_by(crew *c, u32 w, fp_task **tasks, u32 n)
{
    fp_task *found = NULL;
    for (u32 i = 0; i < n; i++) {
        u64 word = fp_load_acquire(&c->pool->shm.slots[tasks[i]->slot].sl_state);
        if (!fp_task_is_done(tasks[i]) && word == fp_word(tasks[i]->generation, w, FP_CLAIMED)) {
            CHECK(found == NULL);
            found = tasks[i];
        }
    }
    return found;
}

void
crew_check_reachable(crew *c, u32 n)
{
    order o = {.id = 100, .act = HOLD, .size = 600};
    fp_task *t[WAIT_MOST];
    stage_close_gate();
    for (u32 w = 0; w < n; w++) {
        EVENTUALLY(worker_is_asleep(c->pool, w));
    }
    for (u32 i = 0; i < n; i++, o.id++) {
        t[i] = crew_give(c, o, 0);
    }
    stage_await_began(n);
    stage_open_gate();
    for (u32 i = n; i-- > 0;) {
        o.id--;
        crew_await(c, t[i], o);
    }
}
