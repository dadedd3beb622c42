/* The ring of hints, the state words and the completed list. */
#include "check.h"
#include "core/ring.h"

#include <pthread.h>

static fp_shm m;
static u64 tail;

static void
fresh(void)
{
    if (m.head != NULL) {
        fp_shm_close(&m, true);
    }
    CHECK_EQ(fp_shm_create(&m, 8, 64u << 20), FP_OK);
    tail = 0;
}

static int
publish(u32 slot, u32 generation)
{
    return fp_publish(&m, &tail, slot, generation);
}

typedef struct {
    u32 slot, generation;
    bool bell;
    int rc;
} claimed;

static claimed
claim(u32 w)
{
    claimed c = {0};
    c.rc = fp_claim(&m, w, &c.slot, &c.generation, &c.bell);
    return c;
}

static u32
state_of(u32 slot)
{
    return fp_word_state(fp_load_acquire(&m.slots[slot].sl_state));
}

static void
test_first_in_first_out(void)
{
    fresh();
    CHECK_EQ(claim(0).rc, FP_EMPTY);
    CHECK(fp_ring_is_empty(&m));
    for (u32 i = 0; i < 5; i++) {
        CHECK_EQ(publish(10 - i, i + 1), FP_OK);
    }
    for (u32 i = 0; i < 5; i++) {
        claimed c = claim(i);
        CHECK_EQ(c.rc, FP_OK);
        CHECK_EQ(c.slot, 10 - i);
        CHECK_EQ(c.generation, i + 1);
        CHECK_EQ(fp_load_acquire(&m.slots[10 - i].sl_state), fp_word(i + 1, i, FP_CLAIMED));
        CHECK_EQ(fp_load_acquire(&m.workers[i].wk_slot), 10 - i + 1);
    }
    CHECK(fp_ring_is_empty(&m));
}

static void
test_one_winner_of_withdraw_and_claim(void)
{
    fresh();
    publish(0, 1);
    publish(1, 1);
    CHECK(!fp_withdraw(&m, 0, 2));   /* another generation's */
    CHECK(fp_withdraw(&m, 0, 1));
    CHECK(!fp_withdraw(&m, 0, 1));
    CHECK_EQ(claim(3).slot, 1);      /* the dead hint is passed over */
    CHECK(!fp_withdraw(&m, 1, 1));
    CHECK_EQ(claim(3).rc, FP_EMPTY);
}

static void
test_stale_hint_claims_nothing(void)
{
    fresh();
    publish(0, 1);
    CHECK(fp_withdraw(&m, 0, 1));
    publish(0, 2);
    claimed c = claim(1);
    CHECK_EQ(c.generation, 2);
    CHECK_EQ(claim(1).rc, FP_EMPTY);
}

static void
test_one_winner_of_doom_and_complete(void)
{
    fresh();
    u32 flags;
    publish(0, 7);
    publish(1, 7);
    CHECK(!fp_doom(&m, 0, 7, 2));   /* not claimed yet */
    claim(2);
    claim(3);
    CHECK(!fp_doom(&m, 0, 7, 3));   /* not its worker */
    CHECK(fp_doom(&m, 0, 7, 2));
    CHECK_EQ(fp_complete(&m, 2, 0, 7, &flags), FP_CONDEMNED);
    CHECK_EQ(fp_complete(&m, 3, 1, 7, &flags), FP_OK);
    CHECK(!fp_doom(&m, 1, 7, 3));
    CHECK_EQ(state_of(0), FP_DOOMED);
}

static void
test_completed_list_is_taken_whole_and_in_order(void)
{
    fresh();
    u32 flags, taken[FP_NSLOTS_MIN];
    CHECK_EQ(fp_take_completed(&m, taken), 0);
    for (u32 i = 0; i < 4; i++) {
        publish(i, 1);
        claim(0);
        CHECK_EQ(fp_complete(&m, 0, i, 1, &flags), FP_OK);
        CHECK_EQ(flags, 0);
    }
    CHECK_EQ(fp_take_completed(&m, taken), 4);
    for (u32 i = 0; i < 4; i++) {
        CHECK_EQ(taken[i], i);
    }
    CHECK_EQ(fp_take_completed(&m, taken), 0);
}

static void
test_flags_are_for_the_first_to_complete(void)
{
    fresh();
    u32 flags, taken[FP_NSLOTS_MIN];
    fp_store_seq_cst(&m.head->cq_head, FP_CQ_WAITER | FP_CQ_BELL);
    CHECK_EQ(fp_take_completed(&m, taken), 0);
    CHECK_EQ(fp_load_seq_cst(&m.head->cq_head), FP_CQ_WAITER | FP_CQ_BELL);
    publish(0, 1);
    publish(1, 1);
    claim(0);
    claim(1);
    fp_complete(&m, 1, 1, 1, &flags);
    CHECK_EQ(flags, FP_CQ_WAITER | FP_CQ_BELL);
    fp_complete(&m, 0, 0, 1, &flags);
    CHECK_EQ(flags, 0);
    CHECK_EQ(fp_take_completed(&m, taken), 2);
    CHECK_EQ(taken[0], 1);
}

static void
test_bell_rings_for_whoever_passes_it(void)
{
    fresh();
    for (u32 i = 0; i < 4; i++) {
        publish(i, 1);
    }
    CHECK(fp_withdraw(&m, 1, 1));
    fp_store_seq_cst(&m.head->rg_bell, 2);   /* which the dead hint's removal reaches */
    CHECK(!claim(0).bell);
    CHECK(claim(0).bell);
    CHECK(!claim(0).bell);
}

static void
test_anyone_helps_a_claimer_that_died(void)
{
    fresh();
    publish(0, 1);
    publish(1, 1);
    /* worker 5 claimed, and died before it moved the head */
    fp_store_relaxed(&m.workers[5].wk_slot, 1);
    CHECK(fp_cas64(&m.slots[0].sl_state, fp_word(1, 0, FP_READY), fp_word(1, 5, FP_CLAIMED)));
    CHECK_EQ(claim(0).slot, 1);
    CHECK(fp_ring_is_empty(&m));
    CHECK_EQ(fp_load_acquire(&m.slots[0].sl_state), fp_word(1, 5, FP_CLAIMED));
}

static void
test_full_ring_drops_dead_hints_and_no_others(void)
{
    fresh();
    publish(0, 1);   /* alive, at the head */
    for (u32 i = 1; i < m.ncells; i++) {
        CHECK_EQ(publish(1, i), FP_OK);
        CHECK(fp_withdraw(&m, 1, i));
    }
    CHECK_EQ(publish(2, 1), FP_FULL);
    CHECK_EQ(state_of(2), FP_FREE);
    CHECK(fp_withdraw(&m, 0, 1));
    CHECK_EQ(publish(2, 1), FP_OK);
    CHECK_EQ(publish(3, 1), FP_OK);
    CHECK_EQ(claim(0).slot, 2);
    CHECK_EQ(claim(0).slot, 3);
    CHECK_EQ(claim(0).rc, FP_EMPTY);
    CHECK(fp_ring_is_sound(&m, tail));
}

static void
test_positions_wrap(void)
{
    fresh();
    for (u32 i = 1; i <= 3 * m.ncells; i++) {
        CHECK_EQ(publish(i % m.nslots, i), FP_OK);
        claimed c = claim(0);
        CHECK_EQ(c.slot, i % m.nslots);
        CHECK_EQ(c.generation, i);
    }
    CHECK(fp_ring_is_sound(&m, tail));
}

/* ------------------------------------------ many claimers, one publisher, a canceller */

#define WORKERS 3u
#define TASKS 30000u

static fp_a32 executed[TASKS], ended;

static void *
claim_and_complete(void *arg)
{
    u32 w = (u32)(uintptr_t)arg, flags;
    while (!fp_load_acquire(&ended)) {
        claimed c = claim(w);
        if (c.rc == FP_OK) {
            atomic_fetch_add(&executed[m.slots[c.slot].sl_len], 1);
            CHECK_EQ(fp_complete(&m, w, c.slot, c.generation, &flags), FP_OK);
        }
        else {
            sched_yield();
        }
    }
    return NULL;
}

static void
test_each_task_is_claimed_once(void)
{
    fresh();
    pthread_t threads[WORKERS];
    u32 generation[16] = {0}, free_slots[16], taken[FP_NSLOTS_MIN], nfree = 16, sent = 0, settled = 0;
    for (u32 i = 0; i < 16; i++) {
        free_slots[i] = i;
    }
    for (u32 w = 0; w < WORKERS; w++) {
        pthread_create(&threads[w], NULL, claim_and_complete, (void *)(uintptr_t)w);
    }
    u64 bound = BOUND;
    while (settled < TASKS) {
        CHECK(fp_now() < bound);
        if (nfree > 0 && sent < TASKS) {
            u32 s = free_slots[--nfree];
            m.slots[s].sl_len = sent++;
            CHECK_EQ(publish(s, ++generation[s]), FP_OK);
            if (sent % 7 == 0 && fp_withdraw(&m, s, generation[s])) {
                atomic_fetch_add(&executed[sent - 1], 1);
                free_slots[nfree++] = s;
                settled++;
            }
        }
        int n = fp_take_completed(&m, taken);
        CHECK(n >= 0);
        for (int i = 0; i < n; i++) {
            CHECK_EQ(state_of(taken[i]), FP_DONE);
            free_slots[nfree++] = taken[i];
            settled++;
        }
    }
    fp_store_release(&ended, 1);
    for (u32 w = 0; w < WORKERS; w++) {
        pthread_join(threads[w], NULL);
    }
    CHECK_EQ(nfree, 16);
    for (u32 i = 0; i < TASKS; i++) {
        CHECK_EQ(fp_load_acquire(&executed[i]), 1);
    }
}

int
main(void)
{
    check_within(120);
    test_first_in_first_out();
    test_one_winner_of_withdraw_and_claim();
    test_stale_hint_claims_nothing();
    test_one_winner_of_doom_and_complete();
    test_completed_list_is_taken_whole_and_in_order();
    test_flags_are_for_the_first_to_complete();
    test_bell_rings_for_whoever_passes_it();
    test_anyone_helps_a_claimer_that_died();
    test_full_ring_drops_dead_hints_and_no_others();
    test_positions_wrap();
    test_each_task_is_claimed_once();
    return 0;
}
