#include "processes.h"
#include "errors.h"
#include "../core/admission.h"
#include "../core/crash.h"
#include "../core/error.h"
#include "../core/os.h"

#include <errno.h>
#include <signal.h>

PyObject *
fp_fork_a_sibling(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyOS_BeforeFork();
    int pid = fp_fork_sibling(), error = errno;
    if (pid == 0) {
        PyOS_AfterFork_Child();
    }
    else {
        PyOS_AfterFork_Parent();
    }
    errno = error;
    return pid < 0 ? fp_raise_code(pid) : PyLong_FromLong(pid);
}

PyObject *
fp_call_without_interrupts(PyObject *Py_UNUSED(module), PyObject *function)
{
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    PyObject *result = PyObject_CallNoArgs(function);
    if (!sigismember(&before, SIGINT)) {
        pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
    }
    return result;
}

PyObject *
fp_await_admission(PyObject *Py_UNUSED(module), PyObject *args)
{
    int memfd, rc;
    unsigned int index, ticket;
    if (!PyArg_ParseTuple(args, "iII:admitted", &memfd, &index, &ticket)) {
        return NULL;
    }
    do {
        Py_BEGIN_ALLOW_THREADS
        rc = fp_ticket_wait(memfd, index, ticket);
        Py_END_ALLOW_THREADS
        if (rc == FP_INTR && PyErr_CheckSignals() < 0) {
            return NULL;
        }
    } while (rc == FP_INTR);
    return rc == FP_OK || rc == FP_CLOSED ? PyBool_FromLong(rc == FP_OK) : fp_raise_code(rc);
}

PyObject *
fp_crash_log(PyObject *Py_UNUSED(module), PyObject *args)
{
    int memfd;
    unsigned int index;
    if (!PyArg_ParseTuple(args, "iI:crash_log", &memfd, &index)) {
        return NULL;
    }
    int fd = fp_crash_open(memfd, index);
    return fd < 0 ? fp_raise_code(fd) : PyLong_FromLong(fd);
}

PyObject *
fp_peak_memory_of(PyObject *Py_UNUSED(module), PyObject *pid)
{
    long number = PyLong_AsLong(pid);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(fp_peak_memory((int)number));
}
