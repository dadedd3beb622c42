/* fastpool._core: the module, its types and its state. */
#include "arrays.h"
#include "future.h"
#include "pickling.h"
#include "processes.h"
#include "shared.h"
#include "unpickling.h"
#include "worker_loop.h"
#include "../core/error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

extern PyType_Spec fp_executor_spec, fp_waitset_spec, fp_completion_queue_spec;
PyObject *fp_watch_futures(PyObject *module, PyObject *futures);

/* A sentence that says why this machine cannot run fastpool, or None. */
static PyObject *
module_obstacle(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int fd = fp_memfd_create("fastpool-probe");
    if (fd < 0) {
        return PyUnicode_FromFormat("the kernel refuses memfd_create: %s", strerror(errno));
    }
    close(fd);
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"obstacle", module_obstacle, METH_NOARGS, PyDoc_STR(
     "obstacle($module)\n--\n\nWhat keeps this machine from running fastpool, a sentence; None: nothing.")},
    {"watch_futures", fp_watch_futures, METH_O, PyDoc_STR(
     "watch_futures($module, futures, /)\n--\n\n(those that are done, WaitSet of the others), or None if some cannot be waited for natively.")},
    {"work", fp_worker_run, METH_VARARGS, PyDoc_STR(
     "work($module, memfd, bell, index, bounds, of_pool, /)\n--\n\nA worker's life. Takes the descriptors over.\n"
     "bounds: it goes after so many tasks, after a task that leaves it with more bytes of memory, after so many seconds\n"
     "without one; each 0: not for that.\n"
     "of_pool: as a worker of multiprocessing.Pool lives it; an exception beyond Exception ends it.")},
    {"resign", fp_worker_resignation, METH_VARARGS, PyDoc_STR(
     "resign($module, memfd, bell, index, error, /)\n--\n\nInstead of work(): say why not, with a pickled exception. Takes the descriptors over.")},
    {"watch_owner", fp_worker_watch_owner, METH_VARARGS, PyDoc_STR(
     "watch_owner($module, pid, lifeline, /)\n--\n\nEnd this process when that one does. Takes the descriptor over.")},
    {"admitted", fp_await_admission, METH_VARARGS, PyDoc_STR(
     "admitted($module, memfd, index, ticket, /)\n--\n\nWait until this process may be that worker. False: it never may.")},
    {"crash_log", fp_crash_log, METH_VARARGS, PyDoc_STR(
     "crash_log($module, memfd, index, /)\n--\n\nA descriptor for the faulthandler of that worker.")},
    {"fork_sibling", fp_fork_a_sibling, METH_NOARGS, PyDoc_STR(
     "fork_sibling($module)\n--\n\nAs os.fork(), but the child becomes one of this process's parent. Only in a process with one\n"
     "thread.")},
    {"without_interrupts", fp_call_without_interrupts, METH_O, PyDoc_STR(
     "without_interrupts($module, function, /)\n--\n\nWhat it returns when called with SIGINT blocked in this thread.")},
    {"peak_memory", fp_peak_memory_of, METH_O, PyDoc_STR(
     "peak_memory($module, pid, /)\n--\n\nThe bytes of memory that a child which has ended had at most; 0: not known.")},
    {"share", fp_share_object, METH_O, PyDoc_STR(
     "share($module, object, /)\n--\n\nPages with the object's pickle and its buffers.")},
    {"open_pages", fp_open_pages, METH_VARARGS, PyDoc_STR(
     "open_pages($module, pid, descriptor, token, /)\n--\n\nThe Pages that another process has.")},
    {"adopt_pages", fp_adopt_pages, METH_O, PyDoc_STR(
     "adopt_pages($module, descriptor, /)\n--\n\nThe Pages that this descriptor refers to. Takes it over.")},
    {"copy_pages", fp_copy_pages, METH_O, PyDoc_STR(
     "copy_pages($module, data, /)\n--\n\nPages with the bytes of others.")},
    {"let_go_of_pages", fp_let_go_of_pages, METH_NOARGS, PyDoc_STR(
     "let_go_of_pages($module)\n--\n\nIn a forked child: close what it has inherited and does not look into.")},
    {"set_shared_type", fp_set_shared_type, METH_VARARGS, PyDoc_STR(
     "set_shared_type($module, type, open, /)\n--\n\nWhat travels by reference in a call, its Pages in `_pages`; and what makes one of\n"
     "token, pid and descriptor.")},
    {"keep_for_next_task", fp_keep_for_next_task, METH_O, PyDoc_STR(
     "keep_for_next_task($module, object, /)\n--\n\nIn a worker: hold it until the next task is over, or there is nothing to do.")},
    {NULL},
};

static PyObject *
import_from(const char *module, const char *name)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *object = m ? PyObject_GetAttrString(m, name) : NULL;
    Py_XDECREF(m);
    return object;
}

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **place)
{
    *place = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*place == NULL) {
        return -1;
    }
    return spec->name[strlen("fastpool._core.")] == '_' ? 0 : PyModule_AddType(module, *place);
}

static int
borrow(fp_state *st)
{
    static const char *const states[] = {"PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"};
    struct {
        PyObject **place;
        const char *module, *name;
    } wanted[] = {
        {&st->loads, "pickle", "loads"},
        {&st->ForkingPickler, "multiprocessing.reduction", "ForkingPickler"},
        {&st->copyreg_reducers, "copyreg", "dispatch_table"},
        {&st->BaseFuture, "concurrent.futures._base", "Future"},
        {&st->CancelledError, "concurrent.futures._base", "CancelledError"},
        {&st->TimeoutError, "concurrent.futures._base", "TimeoutError"},
        {&st->Condition, "threading", "Condition"},
        {&st->modules, "sys", "modules"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        *wanted[i].place = import_from(wanted[i].module, wanted[i].name);
        if (*wanted[i].place == NULL) {
            return -1;
        }
    }
    st->forking_reducers = PyObject_GetAttrString(st->ForkingPickler, "_extra_reducers");
    if (st->forking_reducers == NULL || !PyDict_Check(st->forking_reducers) || !PyDict_Check(st->copyreg_reducers)) {
        PyErr_SetString(PyExc_ImportError, "this Python keeps its registries of reducers in another way");
        return -1;
    }
    for (size_t i = 0; i < 5; i++) {
        st->state_names[i] = import_from("concurrent.futures._base", states[i]);
        if (st->state_names[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

static int
intern(fp_state *st)
{
    struct {
        PyObject **place;
        const char *text;
    } wanted[] = {
        {&st->s_dump, "dump"},     {&st->s_clear_memo, "clear_memo"}, {&st->s_dispatch_table, "dispatch_table"}, {&st->s_prepare, "_prepare"},
        {&st->s_reinforce, "_reinforce"},
        {&st->s_module, "__module__"}, {&st->s_qualname, "__qualname__"},
        {&st->s_load, "load"}, {&st->s_take_buffer, "take_buffer"},
        {&st->s_reduce_shared, "reduce_shared"}, {&st->s_reduce_array, "reduce_array"}, {&st->s_reduce_block, "reduce_block"},
        {&st->s_reduce_ex, "__reduce_ex__"}, {&st->s_nbytes, "nbytes"}, {&st->s_shape, "shape"},
        {&st->s_pages, "_pages"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        *wanted[i].place = PyUnicode_InternFromString(wanted[i].text);
        if (*wanted[i].place == NULL) {
            return -1;
        }
    }
    st->buffers_keyword = Py_BuildValue("(s)", "buffers");
    st->protocol = PyLong_FromLong(FP_PROTOCOL);
    return st->buffers_keyword && st->protocol ? 0 : -1;
}

/* A subclass of pickle's own. */
static int
add_unpickler(PyObject *module, fp_state *st)
{
    PyObject *base = import_from("pickle", "Unpickler");
    if (base != NULL) {
        st->find_class = PyObject_GetAttrString(base, "find_class");
        st->Unpickler = PyType_FromModuleAndSpec(module, &fp_unpickler_spec, base);
        Py_DECREF(base);
    }
    return st->find_class != NULL && st->Unpickler != NULL ? 0 : -1;
}

static int
module_exec(PyObject *module)
{
    fp_state *st = fp_state_of(module);
    fp_fork_watch();
    if (borrow(st) < 0 || intern(st) < 0 ||
        add_type(module, &fp_pages_spec, &st->Pages) < 0 ||
        add_type(module, &fp_array_memory_spec, &st->ArrayMemory) < 0 ||
        add_type(module, &fp_writer_spec, &st->Writer) < 0 ||
        add_type(module, &fp_reader_spec, &st->Reader) < 0 ||
        add_unpickler(module, st) < 0 ||
        add_type(module, &fp_reducers_spec, &st->Reducers) < 0 ||
        add_type(module, &fp_future_spec, &st->Future) < 0 ||
        add_type(module, &fp_pool_object_spec, &st->Pool) < 0 ||
        add_type(module, &fp_executor_spec, &st->Executor) < 0 ||
        add_type(module, &fp_waitset_spec, &st->WaitSet) < 0 ||
        add_type(module, &fp_completion_queue_spec, &st->CompletionQueue) < 0) {
        return -1;
    }
    return 0;
}

#define EACH_OBJECT(X)                                                                              \
    X(Pages) X(Shared) X(open_shared) X(kept) X(kept_before) X(s_reduce_shared) X(s_reduce_array) X(s_reduce_block) X(s_reduce_ex) X(s_nbytes) X(s_shape) X(protocol) X(s_pages) X(ArrayMemory) X(Writer) X(Reader) X(Reducers) X(Future) X(Pool) X(Executor) X(WaitSet) X(CompletionQueue) X(loads) X(Unpickler) X(find_class) X(ForkingPickler) X(BaseFuture)     \
    X(CancelledError) X(TimeoutError) X(Condition) X(modules) X(s_dump) X(s_clear_memo) X(s_dispatch_table) X(forking_reducers) X(copyreg_reducers)          \
    X(s_prepare) X(s_reinforce) X(s_module) X(s_qualname) X(s_load) X(s_take_buffer) X(buffers_keyword)                                                          \
    X(state_names[0]) X(state_names[1]) X(state_names[2]) X(state_names[3]) X(state_names[4])

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fp_state *st = fp_state_of(module);
#define X(name) Py_VISIT(st->name);
    EACH_OBJECT(X)
#undef X
    return 0;
}

static int
module_clear(PyObject *module)
{
    fp_state *st = fp_state_of(module);
    fp_picklers_clear(st);
#define X(name) Py_CLEAR(st->name);
    EACH_OBJECT(X)
#undef X
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    /* several interpreters would share one fork generation and one courier's rules: not tried, so refused */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

PyModuleDef fp_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastpool._core",
    .m_doc = PyDoc_STR("The C core of fastpool: use it through the package."),
    .m_size = sizeof(fp_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&fp_module_def);
}
