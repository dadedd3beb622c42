#include "arrays.h"
#include "../core/warm.h"

#include <string.h>

/* -------------------------------------------------------------------- memory */

typedef struct {
    PyObject_HEAD
    fp_region *region;
    u64 size;
} fp_memory;

static int
memory_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    fp_memory *m = (fp_memory *)self;
    return PyBuffer_FillInfo(view, self, m->region->data, (Py_ssize_t)m->size, false, flags);
}

static void
memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    fp_region *region = ((fp_memory *)self)->region;
    if (region != NULL) {
        fp_warm_give(region);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot memory_slots[] = {
    {Py_tp_dealloc, memory_dealloc},
    {Py_bf_getbuffer, memory_getbuffer},
    {Py_tp_doc, PyDoc_STR("The memory of an array.")},
    {0, NULL},
};

PyType_Spec fp_array_memory_spec = {
    .name = "fastpool._core._ArrayMemory",
    .basicsize = sizeof(fp_memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};

PyObject *
fp_array_memory(fp_state *st, u64 size, u8 **data, bool *is_warm)
{
    fp_memory *m = (fp_memory *)st->ArrayMemory->tp_alloc(st->ArrayMemory, 0);
    if (m == NULL) {
        return NULL;
    }
    m->size = size;
    m->region = fp_warm_take(size);
    if (m->region == NULL) {
        Py_DECREF(m);
        return PyErr_NoMemory();
    }
    *data = m->region->data;
    *is_warm = m->region->is_warm;
    return (PyObject *)m;
}

/* ------------------------------------------------------------------ reducing */

bool
fp_is_array_type(PyObject *type)
{
    /* a class of Python's may have that name, too, but is on the heap */
    return PyType_Check(type) && !PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_HEAPTYPE) &&
           strcmp(((PyTypeObject *)type)->tp_name, "numpy.ndarray") == 0;
}

/* The PickleBuffer that it begins with, borrowed, or NULL. */
static PyObject *
buffer_of(PyObject *reduced)
{
    PyObject *args = PyTuple_Check(reduced) && PyTuple_GET_SIZE(reduced) == 2 ? PyTuple_GET_ITEM(reduced, 1) : NULL;
    PyObject *first = args && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : NULL;
    return first && PyPickleBuffer_Check(first) ? first : NULL;
}

PyObject *
fp_reduce_array(fp_state *st, PyObject *array, PyObject **buffer)
{
    PyObject *reduced = PyObject_CallMethodOneArg(array, st->s_reduce_ex, st->protocol);
    *buffer = reduced ? Py_XNewRef(buffer_of(reduced)) : NULL;
    return reduced;
}
