/* Results of csrc/core: 0 or one of these negative codes.
 * csrc/py/errors.c is the one place that turns them into exceptions. */
#ifndef FP_ERROR_H
#define FP_ERROR_H

enum {
    FP_OK = 0,
    FP_EMPTY = -1,    /* nothing there */
    FP_FULL = -2,     /* no room now */
    FP_AGAIN = -3,    /* the word had changed, look again */
    FP_TIMEDOUT = -4,
    FP_INTR = -5,     /* a signal came */
    FP_NOMEM = -6,    /* private or shared memory ran out */
    FP_CLOSED = -7,   /* the pool takes no more tasks */
    FP_BROKEN = -8,   /* a worker died and took the pool with it */
    FP_CONDEMNED = -9, /* this worker was condemned: it has only to wait for its end */
    FP_SYSTEM = -10,  /* a system call failed: errno tells */
    FP_CORRUPT = -11, /* shared memory holds what the protocol never writes */
};

#endif
