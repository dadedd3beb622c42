/* What the files that make up _core.Pool share: not for others.
 *
 * pool_object.c          the type: its life, submit(), what can be asked of it
 * pool_object_manager.c  what the manager thread calls; the end of a pool
 * pool_object_workers.c  workers come and go
 * pool_object_courier.c  the threads that deliver what has ended, and send what was deferred
 */
#ifndef FP_POOL_OBJECT_PARTS_H
#define FP_POOL_OBJECT_PARTS_H

#include "pool_object.h"

static inline fp_pool_object *
fp_as_pool(PyObject *self)
{
    return (fp_pool_object *)self;
}

/* Methods: pool_object.c says what each does. */
typedef PyObject *fp_pool_method(PyObject *self, PyObject *argument);
typedef PyObject *fp_pool_fast_method(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames);

/* in pool_object_manager.c */
fp_pool_method fp_pool_object_manage, fp_pool_object_next_fate, fp_pool_object_condemn_for_memory,
    fp_pool_object_fail_overdue, fp_pool_object_break, fp_pool_object_close, fp_pool_object_stop_workers,
    fp_pool_object_cancel_pending, fp_pool_object_bury, fp_pool_object_check_owner, fp_pool_object_wants_worker,
    fp_pool_object_attachment;

/* in pool_object_workers.c */
fp_pool_method fp_pool_object_new_worker, fp_pool_object_new_ticket, fp_pool_object_cancel_worker,
    fp_pool_object_enlist, fp_pool_object_enlisted, fp_pool_object_lives, fp_pool_object_unwatch, fp_pool_object_base_memory, fp_pool_object_crash_text,
    fp_pool_object_reap;

/* in pool_object_courier.c */
fp_pool_method fp_pool_object_dismiss_threads, fp_pool_object_make_up_for_threads, fp_pool_object_let_go_of_calls;
fp_pool_fast_method fp_pool_object_deliver, fp_pool_object_call_when_done, fp_pool_object_send_deferred, fp_pool_object_read_at_once,
    fp_pool_object_read_replies;

#endif
