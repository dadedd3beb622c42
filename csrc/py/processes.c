#include "processes.h"
#include "errors.h"
#include "../core/crash.h"
#include "../core/error.h"
#include "../core/os.h"

#include <errno.h>

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
