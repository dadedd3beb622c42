#ifndef FP_WORKER_LOOP_H
#define FP_WORKER_LOOP_H

#include "state.h"

/* work(memfd, bell, index, (max_tasks, max_memory, idle), of_pool): a worker's life; each bound 0: none. */
PyObject *fp_worker_run(PyObject *module, PyObject *args);
/* resign(memfd, bell, index, error): instead of it. */
PyObject *fp_worker_resignation(PyObject *module, PyObject *args);
/* watch_owner(pid, lifeline): end with that process. */
PyObject *fp_worker_watch_owner(PyObject *module, PyObject *args);

#endif
