#include "audit.h"
#include "pool_parts.h"
#include "ring.h"
#include "wake.h"

#include <string.h>

/* Which slots have a hint that is still to be taken. */
static void
mark_hinted(const fp_pool *p, u64 head, u32 *hinted)
{
    memset(hinted, 0, p->shm.nslots * sizeof *hinted);
    for (; head != p->tail; head++) {
        u64 hint = fp_load_relaxed(&p->shm.cells[head & (p->shm.ncells - 1)]);
        u32 s = (u32)hint;
        if (s < p->shm.nslots && p->slots[s].generation == (u32)(hint >> 32)) {
            hinted[s] = 1;
        }
    }
}

/* Worker w goes for another slot by now, or sleeps: it has completed s before, and listed it. */
static bool
has_left(const fp_pool *p, u32 w, u32 s)
{
    return fp_load_acquire(&p->shm.workers[w].wk_slot) != s + 1 ||
           (fp_load_acquire(&p->shm.idle[w / 64]) >> (w % 64) & 1);
}

enum { SOUND, LEFT, DAMAGED };

static int
look_at_slot(const fp_pool *p, u32 s, const u32 *hinted)
{
    const fp_a64 *at = &p->shm.slots[s].sl_state;
    u64 word = fp_load_acquire(at);
    u32 w = fp_word_owner(word);
    if (fp_word_generation(word) != p->slots[s].generation) {
        return DAMAGED;
    }
    if (fp_word_state(word) == FP_READY) {
        return w == 0 && hinted[s] ? SOUND : DAMAGED;
    }
    if (w >= p->shm.nworkers || !p->seats[w].in_use) {
        return DAMAGED;
    }
    bool left = has_left(p, w, s) && fp_load_acquire(at) == word;
    switch (fp_word_state(word)) {
    case FP_CLAIMED: return left ? DAMAGED : SOUND;
    case FP_DONE: return left ? LEFT : SOUND;
    case FP_DOOMED: return p->fates[w].condemned ? SOUND : DAMAGED;
    default: return DAMAGED;
    }
}

/* Its worker has listed it, so whoever pumps finds it. */
static bool
is_not_listed(fp_pool *p, u32 s)
{
    u32 generation = p->slots[s].generation;
    fp_pool_pump_locked(p);
    return !p->broken && p->slots[s].out && p->slots[s].generation == generation;
}

/* A worker that waits for its ticket would wait for ever if that were gone. */
static bool
tickets_are_ours(const fp_pool *p)
{
    for (u32 w = 0; w < p->shm.nworkers; w++) {
        if (p->seats[w].in_use && fp_load_relaxed(&p->shm.workers[w].wk_ticket) != p->seats[w].admitted) {
            return false;
        }
    }
    return true;
}

bool
fp_audit_locked(fp_pool *p)
{
    u64 head = fp_load_acquire(&p->shm.head->rg_head);   /* before the words: what is READY then has its hint behind it */
    if (head > p->tail || p->tail - head > p->shm.ncells || !tickets_are_ours(p)) {
        return false;
    }
    u32 *hinted = p->completed_slots, left = p->shm.nslots;
    mark_hinted(p, head, hinted);
    for (u32 s = 0; s < p->shm.nslots; s++) {
        int found = p->slots[s].out ? look_at_slot(p, s, hinted) : SOUND;
        if (found == DAMAGED) {
            return false;
        }
        left = found == LEFT ? s : left;
    }
    return left == p->shm.nslots || !is_not_listed(p, left);
}

void
fp_look_around_locked(fp_pool *p)
{
    fp_pool_pump_locked(p);
    if (p->broken) {
        return;
    }
    if (!fp_audit_locked(p)) {
        fp_break_damaged_locked(p);
    }
    else if (!fp_ring_is_empty(&p->shm)) {
        fp_wake_all(&p->shm);
    }
}
