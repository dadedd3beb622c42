#include "limits.h"
#include "error.h"
#include "os.h"
#include "pool_parts.h"
#include "ring.h"

#include <stdlib.h>

#define ALLOWANCE 30000000000u   /* ns */

/* The worker that runs it, or FP_EMPTY. */
static int
runner_locked(const fp_pool *p, const fp_task *t)
{
    if ((fp_load_relaxed(&t->state) & FP_TASK_SENT) == 0 || p->slots[t->slot].task != t) {
        return FP_EMPTY;
    }
    u64 word = fp_load_acquire(&p->shm.slots[t->slot].sl_state);
    u32 w = fp_word_owner(word);
    bool runs = word == fp_word(t->generation, w, FP_CLAIMED) && w < p->shm.nworkers && p->seats[w].in_use;
    return runs ? (int)w : FP_EMPTY;
}

static void
pronounce_locked(fp_pool *p, u32 w, u64 grace)
{
    fp_fate *f = &p->fates[w];
    p->ncondemned += !f->condemned;
    *f = (fp_fate){.condemned = true, .grace = grace, .block = f->block, .block_size = f->block_size};
    p->look_at = 0;
    fp_eventfd_ring(p->bell);
}

void
fp_limits_condemn_locked(fp_pool *p, u32 w)
{
    if (p->seats[w].in_use && !p->fates[w].condemned) {
        pronounce_locked(p, w, 0);
    }
}

bool
fp_doom_locked(fp_pool *p, fp_task *t, u32 w)
{
    if (w >= p->shm.nworkers || !fp_doom(&p->shm, t->slot, t->generation, w)) {
        return false;
    }
    p->slots[t->slot].task = NULL;
    p->fates[w].block = t->block;
    p->fates[w].block_size = t->size;
    t->block = 0;
    return true;
}

static void
free_payload_locked(fp_pool *p, u32 w)
{
    fp_fate *f = &p->fates[w];
    if (f->block != 0) {
        fp_free_room_locked(p, f->block, f->block_size);
        f->block = 0;
    }
}

/* From here on the task is nobody's but the caller's. */
static bool
condemn_locked(fp_pool *p, fp_task *t, u32 w)
{
    if (!fp_doom_locked(p, t, w)) {
        return false;   /* it has completed just now */
    }
    pronounce_locked(p, w, t->terms ? t->terms->grace : 0);
    p->served++;
    return true;
}

bool
fp_pool_kill(fp_pool *p, fp_task *t)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    bool killed = fp_cancel_locked(p, t);
    if (!killed && !fp_task_is_done(t)) {
        int w = runner_locked(p, t);
        killed = w >= 0 && condemn_locked(p, t, (u32)w);
        if (killed) {
            fp_settle_locked(p, t, FP_OUTCOME_CANCELLED);
        }
        else {
            fp_pool_pump_locked(p);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return killed;
}

/* ----------------------------------------------------------------- limits */

void
fp_limits_expect_locked(fp_pool *p, u64 then)
{
    if (then < p->look_at) {
        p->look_at = then;
        fp_eventfd_ring(p->bell);
    }
}

/* When it has to end; `now` is the earliest that can be said of one that waits. */
static u64
due_locked(const fp_pool *p, fp_task *t, u64 now)
{
    int w = runner_locked(p, t);
    if (w < 0) {
        return now + t->terms->limit;
    }
    u64 began = fp_load_relaxed(&p->shm.workers[w].wk_started);
    if (t->seen == 0) {
        t->seen = now;
    }
    u64 latest = t->seen + ALLOWANCE;
    return (began != 0 && began < latest ? began : latest) + t->terms->limit;
}

static bool
stop_overdue_locked(fp_pool *p, fp_task *t, u64 now, u64 due)
{
    int w = runner_locked(p, t);
    if (w < 0 || !condemn_locked(p, t, (u32)w)) {
        return false;
    }
    p->fates[w].overdue = t;
    p->fates[w].why = FP_FATE_TIME;
    p->fates[w].ran = now - due + t->terms->limit;
    return true;
}

bool
fp_pool_condemn_for_memory(fp_pool *p, u32 w)
{
    pthread_mutex_lock(&p->lock);
    fp_pool_pump_locked(p);
    u32 s = fp_load_acquire(&p->shm.workers[w].wk_slot) - 1;
    fp_task *t = s < p->shm.nslots ? p->slots[s].task : NULL;
    bool found = t != NULL && runner_locked(p, t) == (int)w && condemn_locked(p, t, w);
    if (found) {
        p->fates[w].overdue = t;
        p->fates[w].why = FP_FATE_MEMORY;
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void
look_at_tasks_locked(fp_pool *p)
{
    u64 now = fp_now(), next = FP_NEVER;
    for (u32 s = 0; p->ntimed > 0 && s < p->shm.nslots; s++) {
        fp_task *t = p->slots[s].task;
        if (t == NULL || fp_task_limit(t) == 0) {
            continue;
        }
        u64 due = due_locked(p, t, now), look = due;
        if (due <= now) {
            look = stop_overdue_locked(p, t, now, due) ? FP_NEVER : now + 1000000u;   /* it is being completed */
        }
        else if (due > now + t->terms->limit) {
            look = now + t->terms->limit;   /* it may begin at once */
        }
        next = look < next ? look : next;
    }
    p->look_at = next;
}

/* When the manager has to hear of a fate, FP_NEVER: it knows all. */
static u64
next_call_locked(const fp_pool *p)
{
    u64 next = FP_NEVER;
    for (u32 w = 0; w < p->shm.nworkers; w++) {
        const fp_fate *f = &p->fates[w];
        if (f->condemned && f->call_at < next) {
            next = f->call_at;
        }
    }
    return next;
}

u64
fp_pool_enforce_limits(fp_pool *p)
{
    pthread_mutex_lock(&p->lock);
    u64 now = p->look_at == FP_NEVER ? 0 : fp_now();
    if (p->look_at <= now && !p->broken) {
        fp_pool_pump_locked(p);
        look_at_tasks_locked(p);
        u64 call = next_call_locked(p);
        p->look_at = call < p->look_at ? call : p->look_at;
    }
    u64 next = p->look_at;
    pthread_mutex_unlock(&p->lock);
    return next <= now && now != 0 ? 0 : next;
}

/* ------------------------------------------------------------------ fates */

static void
pass_sentence_locked(fp_pool *p, u32 w, u64 now, fp_sentence *sentence)
{
    fp_fate *f = &p->fates[w];
    const fp_task *t = f->overdue;
    *sentence = (fp_sentence){.w = w, .gently = f->grace != 0, .why = t ? f->why : FP_FATE_NONE, .ran = f->ran};
    if (t != NULL) {
        sentence->limit = fp_task_limit(t);
        sentence->label = fp_pool_label(p, t);
    }
    f->call_at = f->grace != 0 ? now + f->grace : FP_NEVER;
    f->grace = 0;
}

bool
fp_pool_next_fate(fp_pool *p, fp_sentence *sentence)
{
    bool found = false;
    pthread_mutex_lock(&p->lock);
    u64 now = fp_now();
    for (u32 w = 0; w < p->shm.nworkers && !found; w++) {
        found = p->fates[w].condemned && p->fates[w].call_at <= now;
        if (found) {
            pass_sentence_locked(p, w, now, sentence);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void
end_overdue_locked(fp_pool *p, u32 w, fp_death death)
{
    fp_task *t = p->fates[w].overdue;
    p->fates[w].overdue = NULL;
    if (t != NULL && (t->death = malloc(sizeof death)) != NULL) {
        *t->death = death;
    }
    else {
        fp_death_clear(&death);
    }
    if (t != NULL) {
        fp_settle_locked(p, t, FP_OUTCOME_BROKEN);
    }
}

void
fp_pool_fail_overdue(fp_pool *p, u32 w, fp_death death)
{
    pthread_mutex_lock(&p->lock);
    end_overdue_locked(p, w, death);
    pthread_mutex_unlock(&p->lock);
}

bool
fp_limits_reap_locked(fp_pool *p, u32 w)
{
    bool condemned = p->fates[w].condemned;
    p->ncondemned -= condemned;
    end_overdue_locked(p, w, (fp_death){.reason = NULL});
    free_payload_locked(p, w);
    p->fates[w] = (fp_fate){0};
    return condemned;
}

void
fp_limits_bury_locked(fp_pool *p)
{
    for (u32 w = 0; w < p->shm.nworkers; w++) {
        end_overdue_locked(p, w, (fp_death){.reason = NULL});
        free_payload_locked(p, w);
    }
}
