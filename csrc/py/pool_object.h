/* _core.Pool: a fp_pool as a Python object, with what belongs to Python: the function cache, the monitor. */
#ifndef FP_POOL_OBJECT_H
#define FP_POOL_OBJECT_H

#include "functions.h"
#include "../core/monitor.h"

typedef struct fp_deferred fp_deferred;

/* What a call is asked for with. */
typedef struct {
    fp_terms limits;
    u32 each;                  /* 0, or FP_CALL_EACH or FP_CALL_STAR */
    const char *name;          /* for messages; NULL: its function's */
} fp_call_terms;

typedef struct {
    PyObject_HEAD
    fp_pool *pool;
    fp_monitor monitor;
    fp_functions functions;
    PyObject *future_type;
    PyObject *start_thread;    /* called with the pool and the names of a method and a thread */
    bool courier_wanted;       /* there is one, or about to be */
    bool courier_relied_on;    /* by others than the thread that starts it */
    unsigned long courier;     /* that thread, 0: not yet */
    bool reader_wanted;        /* there is a reader, or about to be */
    bool leaving;              /* the courier and the reader, when they have nothing to do any more */
    fp_deferred *deferred_first, *deferred_last;   /* calls that are yet to be pickled, see submit.h */
    bool sending, sender_runs; /* there is a sender, or about to be; it has begun */
    bool of_pool;              /* with the manners of multiprocessing.Pool, not of an executor */
    bool survives;             /* a worker's death fails its task only */
    fp_call_terms terms;       /* of calls that have none of their own */
    PyObject *weakrefs;
} fp_pool_object;

extern PyType_Spec fp_pool_object_spec;

/* A future wants to be told: start the courier if there is none. -1 with an exception. */
int fp_pool_object_want_courier(fp_pool_object *p);
/* A thread that runs that method. `*wanted` until it has failed; `*runs`: it has begun. -1 with an exception. */
int fp_pool_object_start_thread(fp_pool_object *p, const char *method, const char *name, bool *wanted, const bool *runs);
/* Others rely on a thread whose start has failed. */
void fp_pool_object_miss_thread(fp_pool_object *p);
/* Let go of the calls that have ended, which may run anything. An exception stays set. False: there was none. */
bool fp_pool_object_let_go(fp_pool_object *p);

#endif
