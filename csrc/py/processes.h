/* Making processes, and what remains of them. */
#ifndef FP_PROCESSES_H
#define FP_PROCESSES_H

#include "state.h"

/* fork_sibling(): as os.fork(), but the child is one of this process's parent. */
PyObject *fp_fork_a_sibling(PyObject *module, PyObject *ignored);
/* without_interrupts(function): here, since in Python a signal's handler may raise between a change of the mask and what
   undoes it. */
PyObject *fp_call_without_interrupts(PyObject *module, PyObject *function);
/* admitted(memfd, index, ticket): wait until this process may be that worker. */
PyObject *fp_await_admission(PyObject *module, PyObject *args);
/* crash_log(memfd, index): a descriptor for that worker's faulthandler. */
PyObject *fp_crash_log(PyObject *module, PyObject *args);
/* peak_memory(pid): of a child that has ended and has not been waited for. */
PyObject *fp_peak_memory_of(PyObject *module, PyObject *pid);

#endif
