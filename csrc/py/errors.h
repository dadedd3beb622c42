/* The one place that turns what csrc/core returns, and what became of a task, into exceptions. */
#ifndef FP_ERRORS_H
#define FP_ERRORS_H

#include "state.h"
#include "../core/pool.h"

/* Set the exception for a negative code of csrc/core; returns NULL. */
PyObject *fp_raise_code(int code);
/* True (with RuntimeError set) in a process that was forked from the pool's. */
bool fp_refuse_after_fork(const fp_pool *p);
/* A new exception object for a task whose outcome is neither a reply nor a cancellation. */
PyObject *fp_outcome_exception(const fp_pool *p, const fp_task *t);
/* Raise the MemoryError of a payload of `size` bytes that found no room. NULL. */
PyObject *fp_raise_out_of_memory(const fp_pool *p, const char *label, u64 size);
/* A new exception object for a death; NULL with an exception. */
PyObject *fp_death_exception(const fp_death *d);
/* Fetch the current exception as one object, normalised, with its traceback. Never NULL. */
PyObject *fp_fetch_exception(void);

#endif
