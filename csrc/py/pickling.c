#include "pickling.h"

#define PROTOCOL 5
#define KEEP (1u << 20)        /* a larger buffer is not kept for the next call */
#define COPY_BELOW (16u << 10) /* small pickles are read from a bytes object: cheaper than a memoryview */

static PyObject *
writer_write(PyObject *self, PyObject *data)
{
    fp_writer *w = (fp_writer *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    size_t size = w->size + (size_t)view.len;
    if (size > w->capacity) {
        size_t capacity = size < 512 ? 1024 : size + size / 2;
        u8 *bigger = PyMem_RawRealloc(w->data, capacity);
        if (bigger == NULL) {
            PyBuffer_Release(&view);
            return PyErr_NoMemory();
        }
        w->data = bigger;
        w->capacity = capacity;
    }
    memcpy(w->data + w->size, view.buf, (size_t)view.len);
    w->size = size;
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static void
writer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_RawFree(((fp_writer *)self)->data);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef writer_methods[] = {
    {"write", writer_write, METH_O, PyDoc_STR("write($self, data, /)\n--\n\nAppend bytes.")},
    {NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods},
    {Py_tp_doc, PyDoc_STR("Where a pickler writes.")},
    {0, NULL},
};

PyType_Spec fp_writer_spec = {
    .name = "fastpool._core._Writer",
    .basicsize = sizeof(fp_writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = writer_slots,
};

/* ------------------------------------------------------------------ reducers */

/* What ForkingPickler.dispatch_table would be if it were made now. */
static PyObject *
reducers_get(PyObject *self, PyObject *type)
{
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    PyObject *found = PyDict_GetItemWithError(st->forking_reducers, type);
    if (found == NULL && !PyErr_Occurred()) {
        found = PyDict_GetItemWithError(st->copyreg_reducers, type);
    }
    if (found == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_KeyError, type);
    }
    return Py_XNewRef(found);
}

static void
reducers_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot reducers_slots[] = {
    {Py_tp_dealloc, reducers_dealloc},
    {Py_mp_subscript, reducers_get},
    {Py_tp_doc, PyDoc_STR("The registered reducers, as they are at each look.")},
    {0, NULL},
};

PyType_Spec fp_reducers_spec = {
    .name = "fastpool._core._Reducers",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reducers_slots,
};

/* ------------------------------------------------------------------ picklers */

static void
pickler_free(fp_pickler *p)
{
    Py_XDECREF(p->writer);
    Py_XDECREF(p->dump);
    Py_XDECREF(p->clear_memo);
    PyMem_Free(p);
}

static fp_pickler *
pickler_new(fp_state *st)
{
    PyObject *pickler = NULL, *reducers = NULL;
    fp_pickler *p = PyMem_Calloc(1, sizeof *p);
    if (p == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    p->writer = (fp_writer *)st->Writer->tp_alloc(st->Writer, 0);
    if (p->writer == NULL) {
        goto fail;
    }
    pickler = PyObject_CallFunction(st->ForkingPickler, "Oi", p->writer, PROTOCOL);
    if (pickler == NULL) {
        goto fail;
    }
    reducers = st->Reducers->tp_alloc(st->Reducers, 0);
    if (reducers == NULL || PyObject_SetAttr(pickler, st->s_dispatch_table, reducers) < 0) {
        goto fail;
    }
    p->dump = PyObject_GetAttr(pickler, st->s_dump);
    p->clear_memo = PyObject_GetAttr(pickler, st->s_clear_memo);
    if (p->dump == NULL || p->clear_memo == NULL) {
        goto fail;
    }
    Py_DECREF(reducers);
    Py_DECREF(pickler);
    return p;
fail:
    Py_XDECREF(reducers);
    Py_XDECREF(pickler);
    pickler_free(p);
    return NULL;
}

static bool
call_for_none(PyObject *result)
{
    Py_XDECREF(result);
    return result != NULL;
}

fp_pickler *
fp_pickle(fp_state *st, PyObject *object)
{
    fp_pickler *p = st->picklers;
    if (p != NULL) {
        st->picklers = p->next;
    }
    else if ((p = pickler_new(st)) == NULL) {
        return NULL;
    }
    if (!call_for_none(PyObject_CallOneArg(p->dump, object)) ||
        !call_for_none(PyObject_CallNoArgs(p->clear_memo))) {
        /* its memo may hold anything, and dropping it may run anything */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        pickler_free(p);
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    return p;
}

void
fp_pickler_give_back(fp_state *st, fp_pickler *p)
{
    fp_writer *w = p->writer;
    w->size = 0;
    if (w->capacity > KEEP) {
        PyMem_RawFree(w->data);
        w->data = NULL;
        w->capacity = 0;
    }
    p->next = st->picklers;
    st->picklers = p;
}

void
fp_picklers_clear(fp_state *st)
{
    while (st->picklers != NULL) {
        fp_pickler *p = st->picklers;
        st->picklers = p->next;
        pickler_free(p);
    }
}

PyObject *
fp_unpickle(fp_state *st, const u8 *data, size_t size)
{
    PyObject *source = size < COPY_BELOW
        ? PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size)
        : PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    if (source == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_CallOneArg(st->loads, source);
    if (size >= COPY_BELOW && Py_REFCNT(source) > 1) {
        /* somebody kept the view (a traceback's frame): it must not outlive the memory */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *released = PyObject_CallMethod(source, "release", NULL);
        Py_XDECREF(released);
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(source);
    return object;
}
