/* The protocol of csrc/core (ring.c, wake.c, wait.c, pool_*.c, worker.c): one parent, two workers, and the death of a worker
 * possible before every one of its steps. README.md says what is left out; `check` runs it.
 *
 * Steps     a statement is one access to shared memory, as the C code makes it (a compare-and-swap is a d_step; that it
 *           failed is another branch), and anybody else may come between any two. Private computing is part of the step
 *           before or after. So is what the parent does, under its lock, to what no worker looks at.
 * Death     what a worker does it does `unless` it dies. `fate` decides when, CRASHES times at most, and may stop at any
 *           moment: else the death yet to come would make good whatever went wrong before it.
 * Errors    an assertion fails; or nobody can go on, and not everybody has ended: a lost wake-up, a lost task.
 *           With -DLTL: "always eventually resolved", in fair runs.
 *
 * What a configuration has, beside two workers that claim and complete:
 *   TASKS, SLOTS   there are 2 x SLOTS cells, as in C; a task that finds no slot waits in the backlog
 *   CRASHES        deaths
 *   SUBMIT         tasks arrive one by one, from a thread of its own; else they are there when all begins
 *   CANCEL         that thread may cancel each of them
 *   SPANS          replies lie in spans of shared memory, of which there are so many (1 or 2)
 *   SLEEP          workers without work sleep, and are woken; else they just know when there is some
 *   WATCH          a worker may watch before it sleeps: the token
 *   SIGNALS        times that a signal ends a worker's sleep
 *   TOGETHER       task 0 does not end before task 1 has begun: nobody may sleep on while there is work
 *   WAITERS        threads that wait (1 or 2), thread i for task i, one of them leading; else somebody pumps whenever it is
 *                  worth it
 *   TIMEOUTS       times that a wait ends early; that thread does not come back
 *   VISITS         times that somebody else pumps
 *   BELL           the manager has to be told of progress: rg_bell, and the BELL bit
 *   BREAK          a death breaks the pool, as does an order at any time; else another worker takes the place
 *   COARSE         fewer steps where another configuration has them all: publishing is one; of a claim only the
 *                  compare-and-swaps (with WAITERS not even those); a call is made at its completion
 * BUG_... are errors, to see whether they are found.
 */
#define WORKERS 2
#ifndef TASKS
#define TASKS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef SIGNALS
#define SIGNALS 0
#endif
#ifndef WAITERS
#define WAITERS 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0
#endif
#ifndef VISITS
#define VISITS 0
#endif
#define CELLS (2 * SLOTS)

mtype = { FREE, READY, CLAIMED, DONE, DOOMED };   /* sl_state */
mtype = { OPEN, VALUE, FAILED, CANCELLED };       /* what has become of a task */
mtype = { RUNS, DEAD, GONE };                     /* a worker's process; DEAD: its pidfd says so; GONE: reaped */

/* -------------------------------------------------------------- shared memory */
typedef Slot {
    mtype state = FREE;          /* sl_state: these three are one word */
    byte generation, owner;
    byte next;                   /* sl_next */
    byte call, reply;            /* the payload: task + 1 */
    byte place                   /* the reply's: span + 1 */
};
typedef Cell { byte slot, generation };

Slot slots[SLOTS];
Cell cells[CELLS];
byte rg_head, rg_tail;
byte cq_head;                    /* slot + 1; its two bits are cq_waiter and cq_bell */
byte wk_slot[WORKERS];           /* slot + 1 */
bool stop;                       /* FP_STOP */
#if WAITERS
bool cq_waiter;
#endif
#ifdef BELL
bool cq_bell;
byte rg_bell;
#endif
#ifdef SLEEP
bool wk_futex[WORKERS];
bool idle[WORKERS];              /* one word */
byte wk_watch;                   /* worker + 1 */
byte wk_waking;                  /* worker + 1, and a stamp */
#endif
#ifdef SPANS
byte span[SPANS];                /* worker + 1 */
#endif

/* ----------------------------------------------------------------- the system */
mtype life[WORKERS] = RUNS;
byte dying;                      /* worker + 1: its death comes next */
bool bell;                       /* the manager's eventfd */
#ifdef SLEEP
bool asleep[WORKERS];            /* in FUTEX_WAIT on wk_futex */
#endif
#if WAITERS
bool leader_sleeps;              /* in FUTEX_WAIT on cq_head */
bool parked[WAITERS];            /* in FUTEX_WAIT on fp_waiter.word */
#endif
byte crashes = CRASHES, signals = SIGNALS, timeouts = TIMEOUTS, visits = VISITS;

/* ------------------------------------------------------------ the parent's own */
bool lock;
byte submitted, sent;            /* tasks from `sent` to `submitted` are the backlog */
byte task_in[SLOTS];             /* task + 1 */
bool out[SLOTS];
byte generation[SLOTS];
bool draining, broken;
byte taken;                      /* the list that a pump works on */
#if WAITERS
bool nready[WAITERS], fired[WAITERS];
bool word[WAITERS] = true;
byte leader, follower;           /* waiter + 1 */
byte gone_home;                  /* waiters that wait no more */
#endif

/* ------------------------------------------------------------- what is observed */
mtype outcome[TASKS] = OPEN;
bool ran[TASKS];
byte settled, failed, deaths;
#define RESOLVED (settled == TASKS)

/* ---------------------------------------------------------------------- wake.c */
#ifdef SLEEP
/* By the parent. (Who sleeps again between the two is woken for nothing.) */
inline wake(x) { d_step { wk_futex[x] = false; asleep[x] = false } }

/* fp_wake_one. A wake under way is relied on, unless it is old: whether it is, is anybody's guess. The time in a promise may
 * be another than in the last one for the same worker, or, within a microsecond, the same: a stamp, 0 or 4. Any sleeper will do. */
inline wake_one(x, promise) {
    do
    :: wk_waking != 0 -> break
    :: promise = wk_waking;
       if
       :: d_step { !idle[0] && !idle[1] -> promise = 0 }; break
       :: d_step { idle[0] -> x = 0 }
       :: d_step { idle[1] -> x = 1 }
       fi;
       if
       :: d_step { wk_waking == promise -> promise = x + 1; wk_waking = promise }
       :: d_step { wk_waking == promise -> promise = x + 5; wk_waking = promise }
       :: d_step { wk_waking != promise -> promise = 0; x = 0 }
       fi;
       if
       :: promise == 0
       :: d_step { promise != 0 && idle[x] -> idle[x] = false; promise = 0 };
          wk_futex[x] = false;
          d_step { asleep[x] = false; x = 0 };
          break
       :: promise != 0 && !idle[x] ->
#ifdef BUG_PROMISE_STAYS
          d_step { promise = 0; x = 0 }
#else
          d_step { if :: wk_waking == promise -> wk_waking = 0 :: else fi; promise = 0; x = 0 }
#endif
       fi
    od
}

inline wake_for_task(x, promise) {
    x = wk_watch;
    if
    :: d_step { x != 0 && wk_watch == x -> wk_watch = 0; x = 0 }
    :: d_step { x == 0 || wk_watch != x -> x = 0 }; wake_one(x, promise)
    fi
}

inline wake_helper(x, promise) {
    if
    :: rg_head != rg_tail ->
       if
       :: wk_watch == 0 -> wake_one(x, promise)
       :: else
       fi
    :: else
    fi
}

/* Only a waker that takes w's bit makes the promise w's for good, and w has no bit now: so its look and its compare-and-swap are
 * one step. */
inline wake_arrived(w) {
    d_step { if :: wk_waking % 4 == w + 1 -> wk_waking = 0 :: else fi }
}

/* Only w itself can make it w's: so its look and its compare-and-swap are one step. */
inline watch_drop(w) { d_step { if :: wk_watch == w + 1 -> wk_watch = 0 :: else fi } }
#else
#define wake_for_task(x, promise)
#endif

/* ---------------------------------------------------------- wait.c, under the lock */
#if WAITERS
/* fp_wait_notify_locked: whom it concerns sleeps, or does not until it has had the lock; so this is one step. */
inline notify(i) {
    d_step {
        if
        :: fired[i] ->
           fired[i] = false;
           if
           :: leader == i + 1 -> if :: cq_waiter -> cq_waiter = false; leader_sleeps = false :: else fi
           :: else -> word[i] = true; parked[i] = false
           fi
        :: else
        fi
    }
}
#endif

#if WAITERS == 0
#define notify_all()
#elif WAITERS == 1
inline notify_all() { notify(0) }
#else
inline notify_all() { notify(0); notify(1) }
#endif
#if WAITERS
inline rouse_leader() { d_step { cq_waiter = false; leader_sleeps = false } }

#ifdef BELL
#define SEE_BELL saw = cq_bell
#define SAME_BELL cq_bell == saw
#else
#define SEE_BELL skip
#define SAME_BELL true
#endif
#endif

/* ------------------------------------------------------- pool_settle.c: settling */
inline settle(t, how) {
    assert(outcome[t] == OPEN);                 /* nothing is decided twice */
    assert(how != VALUE || ran[t]);
    assert(how != CANCELLED || !ran[t]);
    outcome[t] = how;
    settled++;
    if
    :: how == FAILED -> failed++; assert(broken || failed <= deaths)   /* a death costs one task at most */
    :: else
    fi;
#if WAITERS
    if :: t < WAITERS -> nready[t] = true; fired[t] = true :: else fi;
#endif
    if :: RESOLVED && draining -> bell = true :: else fi
}

inline free_slot(s) {
    slots[s].state = FREE; slots[s].owner = 0; slots[s].next = 0; slots[s].call = 0; slots[s].reply = 0; slots[s].place = 0;
    task_in[s] = 0; out[s] = false
}

/* fp_finish_slot_locked */
inline finish(s, t) {
    assert(out[s] && slots[s].state == DONE && slots[s].generation == generation[s]);
    t = task_in[s];
    if
    :: t != 0 ->
       assert(slots[s].reply == t);             /* its own result */
#ifdef SPANS
       if
       :: slots[s].place != 0 ->                /* fp_spans_take_over, and free */
          assert(span[slots[s].place - 1] == slots[s].owner + 1);
          span[slots[s].place - 1] = 0
       :: else
       fi;
#endif
       free_slot(s);
       settle(t - 1, VALUE)
    :: else -> free_slot(s)
    fi;
    t = 0
}

inline finish_list(list, s, t) {
    do
    :: list != 0 ->
       s = list - 1;
       list = slots[s].next;
       finish(s, t);
       s = 0
    :: else -> break
    od
}

/* ------------------------------------------------------ pool_send.c: submit, refill */
#define BACKLOG (sent < submitted)

#if SLOTS == 1
#define LOWEST_FREE (out[0] -> SLOTS : 0)
#elif SLOTS == 2
#define LOWEST_FREE (out[0] -> (out[1] -> SLOTS : 1) : 0)
#else
#define LOWEST_FREE (out[0] -> (out[1] -> (out[2] -> SLOTS : 2) : 1) : 0)
#endif
#define IS_READY(s, g) (slots[s].state == READY && slots[s].generation == g)
#define NO_ROOM (rg_tail - rg_head == CELLS)
#define HINT cells[rg_head % CELLS]
#define HINT_IS_DEAD (slots[HINT.slot].state != READY || slots[HINT.slot].generation != HINT.generation)

/* send_locked of task `sent`: `s` is SLOTS if there was no room */
inline send(s) {
    do
    :: d_step { LOWEST_FREE < SLOTS && NO_ROOM && HINT_IS_DEAD -> rg_head++ }   /* make_room */
    :: d_step {
           LOWEST_FREE < SLOTS && !NO_ROOM ->
           s = LOWEST_FREE;
           out[s] = true;
           task_in[s] = sent + 1;
           slots[s].call = sent + 1;
           generation[s]++;
           slots[s].generation = generation[s];
           slots[s].state = READY                                               /* P1 */
       };
       d_step { cells[rg_tail % CELLS].slot = s; cells[rg_tail % CELLS].generation = generation[s] };   /* P2 */
       d_step { rg_tail++; sent++; s = 0 };                                     /* P3 */
       break
    :: d_step { LOWEST_FREE == SLOTS || (NO_ROOM && !HINT_IS_DEAD) -> s = SLOTS }; break
    od
}

/* The first use of a slot and of a cell. */
inline send_at_once() {
    out[sent] = true; task_in[sent] = sent + 1; generation[sent] = 1;
    slots[sent].call = sent + 1; slots[sent].generation = 1; slots[sent].state = READY;
    cells[sent].slot = sent; cells[sent].generation = 1;
    rg_tail++; sent++
}

#if TASKS > SLOTS
inline refill(s, x, promise, did) {
    do
    :: d_step { BACKLOG && outcome[sent] != OPEN -> sent++ }                    /* cancelled meanwhile */
    :: BACKLOG && outcome[sent] == OPEN ->
       send(s);
       if
       :: d_step { s == SLOTS -> s = 0 }; break
       :: d_step { s != SLOTS -> did = true }
       fi
    :: !BACKLOG -> break
    od;
    if
    :: did -> did = false; wake_for_task(x, promise)
    :: else
    fi
}
#else
#define refill(s, x, promise, did)
#endif

/* ------------------------------------------------------------ pool_settle.c: pump */
#ifdef BELL
#define PROGRESS_MATTERS (BACKLOG || (draining && !RESOLVED))

inline arm_bell(h, at) {
    if
    :: PROGRESS_MATTERS ->
       h = rg_head;
       if
       :: h == rg_tail || broken ->
          if
          :: d_step { cq_head != 0 -> bell = true }
          :: d_step { cq_head == 0 -> cq_bell = true }
          fi
       :: else ->
          d_step {
              at = (BACKLOG -> h + (rg_tail - h + 1) / 2 : rg_tail);
              if :: rg_bell > h && rg_bell <= at -> at = 0 :: else fi
          };
          if
          :: at != 0 ->
             rg_bell = at;
#ifndef BUG_ARM_BLINDLY
             d_step { if :: rg_head >= at -> bell = true :: else fi }
#endif
          :: else
          fi
       fi;
       d_step { h = 0; at = 0 }
    :: else
    fi
}
#else
#define arm_bell(h, at)
#endif

#define acquire() d_step { !lock -> lock = true }
#define release() lock = false

inline take_list() {
    d_step {
        if
        :: cq_head != 0 ->
           taken = cq_head;
           cq_head = 0;
#if WAITERS
           assert(!cq_waiter);                  /* whoever made the list has taken the bit */
#endif
#ifdef BELL
           cq_bell = false
#endif
        :: else
        fi
    }
}

/* In an atomic sequence: others may come between. (Without threads that wait they could not tell.) */
#if WAITERS
#define MEANWHILE }; atomic {
#else
#define MEANWHILE
#endif
#if TASKS > SLOTS || defined(BELL)
#define FILL_AND_ARM }; refill(s, x, promise, did); arm_bell(s, t); atomic {
#else
#define FILL_AND_ARM
#endif

/* fp_pool_pump_locked */
#define PUMP take_list(); MEANWHILE d_step { finish_list(taken, s, t) }; MEANWHILE notify_all(); FILL_AND_ARM

/* ---------------------------------- pool_cancel.c, pool_death.c: cancel, break, reap */
inline cancel(t, s) {
    s = 0;
    do
    :: s < SLOTS && task_in[s] != t + 1 -> s++
    :: else -> break
    od;
    if
    :: outcome[t] != OPEN
    :: outcome[t] == OPEN && s < SLOTS && slots[s].state == READY -> free_slot(s); settle(t, CANCELLED)
    :: outcome[t] == OPEN && s == SLOTS && t >= sent -> settle(t, CANCELLED)
    :: else
    fi;
    s = 0
}

/* break_slot_locked */
inline break_slot(s) {
    d_step {
        if
        :: task_in[s] != 0 && slots[s].state == READY -> settle(task_in[s] - 1, FAILED); free_slot(s)
        :: task_in[s] != 0 && slots[s].state == CLAIMED ->
           settle(task_in[s] - 1, FAILED);
#ifndef BUG_NO_DOOM
           slots[s].state = DOOMED;
           task_in[s] = 0
#endif
        :: else
        fi
    }
}

#ifdef BREAK
/* fp_pool_break */
inline break_pool(s, t, x, promise, did) {
    atomic {
        acquire();
        PUMP
        if
        :: !broken ->
           broken = true;
           draining = true;
           do
           :: BACKLOG -> if :: outcome[sent] == OPEN -> settle(sent, FAILED) :: else fi; sent++
           :: else -> break
           od
        :: else
        fi;
        break_slot(0);
#if SLOTS > 1
    };
    atomic {
        break_slot(1);
#endif
        MEANWHILE
        notify_all();
        bell = true;
        release()
    }
}
#endif

/* reap_slot_locked */
inline reap_slot(w, lost, s, t) {
    d_step {
        s = wk_slot[w];
        if
        :: s != 0 ->
           s--;
           if
           :: slots[s].owner == w && slots[s].generation == generation[s] && out[s] ->
              if
#ifndef BUG_DONE_IS_LOST
              :: slots[s].state == DONE -> finish(s, t)
#endif
              :: slots[s].state == CLAIMED || slots[s].state == DOOMED -> lost = task_in[s]; free_slot(s)
              :: else
              fi
           :: else
           fi;
           s = 0
        :: else
        fi
    }
}

#ifdef SPANS
inline free_spans(w) {
    d_step {
        if :: span[0] == w + 1 -> span[0] = 0 :: else fi;
#if SPANS > 1
        if :: span[1] == w + 1 -> span[1] = 0 :: else fi
#endif
    }
}
#else
#define free_spans(w)
#endif

/* fp_pool_reap, answer_for_death, maintain */
inline reap(w, lost, s, t, x, promise, did) {
    atomic {
        acquire();
#ifdef BUG_REAP_FIRST
        reap_slot(w, lost, s, t);
#endif
        PUMP
#ifdef BUG_SPANS_FIRST
        free_spans(w);
#endif
        reap_slot(w, lost, s, t);
        free_spans(w);
        wk_slot[w] = 0;
        MEANWHILE
        notify_all();
#ifdef SLEEP                                     /* fp_clear_worker_locked */
        idle[w] = false
    };
#ifndef BUG_TOKEN_STAYS
    watch_drop(w);
#endif
    wk_waking = 0;
#ifndef BUG_NO_WAKE_ALL
    wake(0);
    wake(1);
#endif
    atomic {
#endif
#if WAITERS
#ifndef BUG_NO_ROUSE
        rouse_leader();
#endif
#endif
        life[w] = GONE;
        release()
    };
#ifdef BREAK
    break_pool(s, t, x, promise, did);
#endif
    atomic {
        acquire();
        if
        :: lost != 0 -> settle(lost - 1, FAILED); lost = 0    /* fp_pool_fail */
        :: else
        fi;
        MEANWHILE
        notify_all();
        release();
        if
        :: life[1 - w] == RUNS || broken         /* it takes its time */
        :: !broken -> life[w] = RUNS
        fi
    }
}

/* All are dead. */
inline bury(s) {
    s = 0;
    do
    :: s < SLOTS ->
       if :: task_in[s] != 0 -> settle(task_in[s] - 1, FAILED); task_in[s] = 0 :: else fi;
       s++
    :: else -> break
    od;
    s = 0
}

/* ---------------------------------------------------------------------- ring.c */
#ifdef BELL
inline advance(h, ring) {
    if
    :: d_step { rg_head == h -> rg_head++ };
       d_step { if :: rg_bell == h + 1 -> ring = true :: else fi; h = 0 }
    :: d_step { rg_head != h -> h = 0 }
    fi
}
inline ring_bell(ring) { if :: d_step { ring -> bell = true; ring = false } :: else fi }
#else
inline advance(h, ring) {
    if
    :: d_step { rg_head == h -> rg_head++; h = 0 }
    :: d_step { rg_head != h -> h = 0 }
    fi
}
#define ring_bell(ring)
#endif

inline call_and_reply(s) {
    d_step {
        assert(slots[s].call != 0 && !ran[slots[s].call - 1]);
        ran[slots[s].call - 1] = true;
        slots[s].reply = slots[s].call
    }
}

/* What it does before its compare-and-swap nobody sees. */
inline push(s) { slots[s].next = cq_head; cq_head = s + 1; s = 0 }

#ifdef SPANS
inline claim_span(w, s) {
    if
    :: d_step { span[0] == 0 -> span[0] = w + 1; slots[s].place = 1 }
#if SPANS > 1
    :: d_step { span[0] != 0 && span[1] == 0 -> span[1] = w + 1; slots[s].place = 2 }
#endif
    :: else
    fi
}
#endif

/* -------------------------------------------------------------------- the threads */
#define IF_NOBODY_DIES provided (dying == 0)

active [WORKERS] proctype worker() provided (dying == 0 || dying == _pid + 1)
{
    byte h, s, g, x, promise;
    bool ring;
end:
    do
    :: {
          life[_pid] == RUNS;
next:                                            /* fp_worker_next */
#ifdef SLEEP
          wake_arrived(_pid);
#endif
claim:                                           /* fp_claim */
#if defined(COARSE) && WAITERS
          if
          :: d_step { rg_head == rg_tail && stop -> life[_pid] = DEAD }; goto end
          :: d_step {
                 rg_head != rg_tail && !HINT_IS_DEAD ->
                 s = HINT.slot;
                 rg_head++;
                 wk_slot[_pid] = s + 1;
                 slots[s].state = CLAIMED; slots[s].owner = _pid
             };
             goto work
          :: d_step { rg_head != rg_tail && HINT_IS_DEAD -> rg_head++ }; goto claim
          :: rg_head == rg_tail && !stop -> goto nothing
          fi;
#elif defined(COARSE)
          if
          :: d_step { rg_head == rg_tail && stop -> life[_pid] = DEAD }; goto end
          :: rg_head == rg_tail && !stop -> goto nothing
          :: d_step {
                 rg_head != rg_tail ->
                 h = rg_head;
                 s = cells[h % CELLS].slot;
                 g = cells[h % CELLS].generation;
                 if :: IS_READY(s, g) -> wk_slot[_pid] = s + 1 :: else fi
             }
          fi;
#else
          h = rg_head;
          if
          :: d_step { h == rg_tail && stop -> h = 0; life[_pid] = DEAD }; goto end
          :: d_step { h == rg_tail && !stop -> h = 0 }; goto nothing
          :: else
          fi;
          d_step { s = cells[h % CELLS].slot; g = cells[h % CELLS].generation };
          if
          :: IS_READY(s, g) ->
#ifndef BUG_CLAIM_FIRST
             wk_slot[_pid] = s + 1
#endif
          :: d_step { else -> s = 0; g = 0 }; goto past
          fi;
#endif
          if
          :: d_step { IS_READY(s, g) -> slots[s].state = CLAIMED; slots[s].owner = _pid; g = 0 };
#ifdef BUG_CLAIM_FIRST
             wk_slot[_pid] = s + 1;
#endif
             advance(h, ring);
             goto work
          :: d_step { else -> s = 0; g = 0 }
          fi;
past:     advance(h, ring);
          goto claim;

nothing:  ring_bell(ring);
#ifndef SLEEP
          rg_head != rg_tail || stop;
#endif
#ifdef SLEEP
          if                                     /* fp_worker_wait */
#ifdef WATCH
          :: d_step { wk_watch == 0 -> wk_watch = _pid + 1 }; goto next
#endif
          :: wk_futex[_pid] = true               /* fp_sleep_announce */
          fi;
          idle[_pid] = true;
          watch_drop(_pid);
#ifndef BUG_NO_SECOND_LOOK
          if
          :: rg_head != rg_tail || stop -> idle[_pid] = false; goto next
          :: else
          fi;
#endif
          do                                     /* fp_sleep */
          :: d_step { wk_futex[_pid] -> asleep[_pid] = true };
             if
             :: !asleep[_pid]
#if SIGNALS
             :: d_step { asleep[_pid] && signals > 0 -> signals--; asleep[_pid] = false };
                if
                :: d_step { idle[_pid] -> idle[_pid] = false }
                :: else -> wake_arrived(_pid); wake_helper(x, promise)
                fi;
                goto next
#endif
             fi
          :: else -> break
          od;
          idle[_pid] = false;
#endif
          goto next;

work:     ring_bell(ring);
#ifdef SLEEP
          watch_drop(_pid);
#ifndef BUG_NO_HELPER
          wake_helper(x, promise);
#endif
#endif
#ifdef TOGETHER
          slots[s].call != 1 || ran[1] || outcome[1] != OPEN;
#endif
#ifdef SPANS
          claim_span(_pid, s);
#endif
#ifndef COARSE
          if                                     /* the call, and its reply */
          :: call_and_reply(s)
          fi;
#endif
          if                                     /* fp_complete: C1 */
          :: d_step {
                 slots[s].state == CLAIMED && slots[s].owner == _pid ->
#ifdef COARSE
                 call_and_reply(s);
#endif
                 slots[s].state = DONE
             }
          :: else -> false                       /* condemned: it waits for its end */
          fi;
          if                                     /* C2, and whom to wake */
#if WAITERS
#ifdef BELL
          :: d_step { cq_waiter && !cq_bell -> push(s); cq_waiter = false }; leader_sleeps = false
          :: d_step { cq_waiter && cq_bell -> push(s); cq_waiter = false; cq_bell = false }; leader_sleeps = false; bell = true
          :: d_step { !cq_waiter && cq_bell -> push(s); cq_bell = false }; bell = true
#else
          :: d_step { cq_waiter -> push(s); cq_waiter = false }; leader_sleeps = false
#endif
#else
#ifdef BELL
          :: d_step { cq_bell -> push(s); cq_bell = false }; bell = true
#endif
#endif
          :: d_step { else -> push(s) }
          fi;
          goto next
       }
       unless {
          d_step {
              dying == _pid + 1 ->
              dying = 0;
              life[_pid] = DEAD;
              deaths++;
#ifdef SLEEP
              asleep[_pid] = false;
#endif
              h = 0; s = 0; g = 0; x = 0; promise = 0; ring = false
          }
       }
    od
}

#if WAITERS
/* fp_wait: for its own task, which may come too late. */
#define ME (_pid - WORKERS)

active [WAITERS] proctype waiter() IF_NOBODY_DIES
{
    byte s, t, x, promise;
    bool did, late, saw;
    do
    :: atomic {
           acquire();
           if :: leader == ME + 1 -> leader = 0 :: else fi;
           if :: follower == ME + 1 -> follower = 0; word[ME] = true :: else fi;
           PUMP
           if
           :: nready[ME] || late -> break
           :: else
           fi;
           if
           :: leader == 0 -> leader = ME + 1
           :: else -> follower = ME + 1; word[ME] = false
           fi;
           release()
       };
       if                                        /* sleep_on_list, or follow */
       :: leader == ME + 1 && cq_head != 0
#ifdef BUG_BIT_LATE
       :: leader == ME + 1 && nready[ME]
       :: d_step { leader == ME + 1 && cq_head == 0 && !nready[ME] -> saw = true };
          d_step { if :: cq_head == 0 -> cq_waiter = true :: else fi; SEE_BELL };
#else
       :: d_step { leader == ME + 1 && cq_head == 0 -> cq_waiter = true; SEE_BELL };
#endif
          if
#ifndef BUG_BIT_LATE
          :: d_step { nready[ME] -> saw = false }
#endif
          :: else ->
             if                                  /* FUTEX_WAIT */
             :: d_step { cq_head == 0 && cq_waiter && SAME_BELL -> leader_sleeps = true; saw = false };
                if
                :: !leader_sleeps
                :: d_step { leader_sleeps && timeouts > 0 -> timeouts--; leader_sleeps = false; late = true }
                fi
             :: d_step { else -> saw = false }
             fi
          fi
       :: leader != ME + 1 && word[ME]
       :: d_step { leader != ME + 1 && !word[ME] -> parked[ME] = true };
          if
          :: !parked[ME]
          :: d_step { parked[ME] && timeouts > 0 -> timeouts--; parked[ME] = false; late = true }
          fi
       fi
    od;
    atomic {
#ifndef BUG_NO_HANDOVER
        if :: leader == 0 && follower != 0 -> word[follower - 1] = true; parked[follower - 1] = false :: else fi;
#endif
        late = false;
        gone_home++;
        release()
    }
}
#endif

/* Submits, and may change its mind. */
active proctype submitter() IF_NOBODY_DIES
{
    byte s, t, x, promise;
    bool did;
#ifdef SUBMIT
    do
#ifdef COARSE                                    /* nobody sees it before rg_tail has moved */
    :: d_step {
           submitted < TASKS && !lock ->
           send_at_once();
           submitted++;
           if :: submitted == TASKS -> draining = true; bell = true :: else fi
       };
       wake_for_task(x, promise)
#else
    :: submitted < TASKS ->
       acquire();
       if
       :: LOWEST_FREE == SLOTS -> atomic { PUMP skip }
       :: else
       fi;
       if
       :: BACKLOG -> submitted++
       :: else ->
          send(s);
          atomic { submitted++; if :: s == SLOTS -> s = 0 :: else -> did = true fi }
       fi;
       if
       :: did -> d_step { release(); did = false }; wake_for_task(x, promise)
       :: else -> arm_bell(s, t); release()
       fi;
#ifdef CANCEL
       if
       :: atomic { acquire(); PUMP cancel(submitted - 1, s); release() }
       :: true
       fi
#endif
#endif
    :: submitted == TASKS -> break
    od;
#else
    d_step {                                     /* as many as there is room for */
        do
        :: sent < TASKS && sent < SLOTS -> send_at_once()
        :: else -> break
        od;
        submitted = TASKS;
        draining = true
    }
#endif
#if defined(SUBMIT) && !defined(COARSE)
    atomic { !lock -> draining = true; bell = true }                            /* fp_pool_close */
#endif
}

/* ------------------------------------------------------------------- the manager */
#define GONE_OR_DEAD (life[0] != RUNS && life[1] != RUNS)

/* What the manager hears of, beside its bell. */
#if WAITERS
#define SOMETHING_ELSE (visits > 0 || (gone_home == WAITERS && cq_head != 0))
#elif defined(BELL)
#define SOMETHING_ELSE false
#else
#define SOMETHING_ELSE (cq_head != 0)
#endif

/* Its list of deaths may name both. */
#ifdef BREAK
#define and_perhaps(w) if :: life[w] == DEAD -> goto ends :: true fi
#else
#define and_perhaps(w)
#endif

active proctype manager() IF_NOBODY_DIES
{
    byte lost, s, t, x, promise;
    bool did;
#ifndef SUBMIT
    submitted == TASKS;
#endif
    do
    :: atomic {                                                                 /* fp_pool_manage */
           bell = false;
           acquire();
           PUMP
           release();
           if
           :: broken || (draining && RESOLVED) -> break
           :: else
           fi
       };
ends:  if                                                                       /* epoll_wait */
       :: bell
       :: d_step { SOMETHING_ELSE -> if :: visits > 0 -> visits-- :: else fi }
#ifdef BREAK
       :: break_pool(s, t, x, promise, did)
#endif
       :: life[0] == DEAD -> reap(0, lost, s, t, x, promise, did); and_perhaps(1)
       :: life[1] == DEAD -> reap(1, lost, s, t, x, promise, did); and_perhaps(0)
       fi
    od;
    /* Team.end: no task will come. From here on nobody is reaped. */
#ifdef BREAK
    if
    :: broken ->
       d_step { if :: life[0] == RUNS -> dying = 1 :: else fi };
       d_step { if :: life[1] == RUNS -> dying = 2 :: else fi }
    :: else
    fi;
#endif
    if
    :: !broken ->
       stop = true;
#ifdef SLEEP
       wake(0);
       wake(1)
#endif
    :: else
    fi;
    atomic {
        GONE_OR_DEAD;                                                           /* join */
        acquire();                                                              /* fp_pool_bury */
        bury(s);
        MEANWHILE
        notify_all();
#if WAITERS
#ifndef BUG_NO_ROUSE_AT_THE_END
        rouse_leader();
#endif
#endif
        release();
        assert(RESOLVED)
    }
}

/* Who is killed, and when; and that nothing more of that kind happens. As nothing tells the two workers from one another, the
 * first to die is worker 0. */
#if CRASHES + SIGNALS + TIMEOUTS + VISITS > 0
active proctype fate() IF_NOBODY_DIES
{
    do
    :: d_step { crashes > 0 && life[0] == RUNS -> crashes--; dying = 1 }
    :: d_step { crashes > 0 && crashes < CRASHES && life[1] == RUNS -> crashes--; dying = 2 }
    :: d_step { crashes = 0; signals = 0; timeouts = 0; visits = 0 }; break
    od
}
#endif

#ifdef LTL
ltl resolved { <> RESOLVED }
#endif
