#include "arrays.h"
#include "../core/warm.h"

#include <string.h>

#define ROWS_FROM (64 << 10)   /* bytes of an array: for less it does not pay to find out */
#define ROW_FROM 1024u         /* bytes: each is copied, or written into a file, on its own */

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

fp_rows
fp_rows_of(const Py_buffer *view)
{
    fp_rows rows = {(u64)view->ndim, view->shape, view->strides, (u64)view->itemsize};
    while (rows.ndim > 0 && (rows.strides[rows.ndim - 1] == (Py_ssize_t)rows.size || rows.shape[rows.ndim - 1] == 1)) {
        rows.size *= (u64)rows.shape[--rows.ndim];
    }
    return rows;
}

/* NumPy sends the memory of an array that is in one piece, in whatever order of its dimensions. */
static bool
is_in_one_piece(const Py_buffer *view)
{
    Py_ssize_t last = 0;
    for (int i = 0; i < view->ndim; i++) {
        Py_ssize_t stride = view->strides[i];
        last += (view->shape[i] - 1) * (stride < 0 ? -stride : stride);
    }
    return last + view->itemsize == view->len;
}

/* Items that NumPy does not change on their way: numbers in the order of bytes of this machine. */
static bool
has_plain_items(const Py_buffer *view)
{
    const char *format = view->format;
    size_t length = strlen(format);
    return (length == 1 && strchr("?bBhHiIlLqQefdg", format[0])) || (length == 2 && format[0] == 'Z' && strchr("fdg", format[1]));
}

/* Are its rows to be sent one by one? Then `*view` is of the array. */
static bool
view_rows(fp_state *st, PyObject *array, Py_buffer *view)
{
    PyObject *nbytes = PyObject_GetAttr(array, st->s_nbytes);
    bool is_large = nbytes && PyLong_Check(nbytes) && PyLong_AsSsize_t(nbytes) >= ROWS_FROM;
    Py_XDECREF(nbytes);
    if (!is_large || PyObject_GetBuffer(array, view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear();   /* NumPy says what is wrong, or sends it in another way */
        return false;
    }
    bool by_rows = has_plain_items(view) && !is_in_one_piece(view) && fp_rows_of(view).size >= ROW_FROM;
    if (!by_rows) {
        PyBuffer_Release(view);
    }
    return by_rows;
}

/* A PickleBuffer of nothing, and writable, which pickle says in the stream. */
static PyObject *
stand_in(void)
{
    PyObject *memory = PyByteArray_FromStringAndSize(NULL, 0);
    PyObject *buffer = memory ? PyPickleBuffer_FromObject(memory) : NULL;
    Py_XDECREF(memory);
    return buffer;
}

/* What NumPy makes of array[:0], which is in one piece, but with the stand-in and the array's own shape: so it is always NumPy
 * that says how an array is made. NULL, perhaps with an exception. */
static PyObject *
reduce_by_rows(fp_state *st, PyObject *array)
{
    PyObject *none = PySequence_GetSlice(array, 0, 0), *shape = PyObject_GetAttr(array, st->s_shape);
    PyObject *model = none && shape ? PyObject_CallMethodOneArg(none, st->s_reduce_ex, st->protocol) : NULL, *reduced = NULL;
    if (model != NULL && buffer_of(model) != NULL && PyTuple_GET_SIZE(PyTuple_GET_ITEM(model, 1)) == 4) {
        PyObject *args = PyTuple_GET_ITEM(model, 1), *buffer = stand_in();
        reduced = buffer == NULL ? NULL
                                 : Py_BuildValue("(O(NOOO))", PyTuple_GET_ITEM(model, 0), buffer, PyTuple_GET_ITEM(args, 1), shape,
                                                 PyTuple_GET_ITEM(args, 3));
    }
    Py_XDECREF(none);
    Py_XDECREF(shape);
    Py_XDECREF(model);
    return reduced;
}

PyObject *
fp_reduce_array(fp_state *st, PyObject *array, fp_sent_array *sent)
{
    PyObject *reduced = NULL;
    if (view_rows(st, array, &sent->rows) && (reduced = reduce_by_rows(st, array)) == NULL) {
        PyBuffer_Release(&sent->rows);
    }
    if (reduced == NULL && !PyErr_Occurred()) {
        reduced = PyObject_CallMethodOneArg(array, st->s_reduce_ex, st->protocol);
    }
    sent->buffer = reduced ? Py_XNewRef(buffer_of(reduced)) : NULL;
    return reduced;
}

PyObject *
fp_reduce_shared_array(fp_state *st, PyObject *array, fp_sent_array *sent)
{
    PyObject *reduced = fp_reduce_array(st, array, sent);
    if (reduced == NULL || sent->buffer != NULL) {
        return reduced;
    }
    PyObject *copy = PyObject_CallMethod(array, "copy", NULL);
    PyObject *of_copy = copy ? fp_reduce_array(st, copy, sent) : NULL;
    Py_XDECREF(copy);
    if (of_copy != NULL && sent->buffer == NULL) {   /* it holds objects */
        Py_DECREF(of_copy);
        return reduced;
    }
    Py_DECREF(reduced);
    return of_copy;
}

void
fp_forget_array(fp_sent_array *sent)
{
    Py_CLEAR(sent->buffer);
    if (sent->rows.obj != NULL) {
        PyBuffer_Release(&sent->rows);
    }
}

/* -------------------------------------------------------------------- blocks */

bool
fp_is_block_type(fp_state *st, PyObject *type)
{
    if (!PyType_Check(type) || strcmp(((PyTypeObject *)type)->tp_name, "NumpyBlock") != 0) {
        return false;
    }
    PyObject *module = PyObject_GetAttr(type, st->s_module), *reduce = module ? PyObject_GetAttr(type, st->s_reduce_ex) : NULL;
    PyObject *usual = reduce ? PyObject_GetAttr((PyObject *)&PyBaseObject_Type, st->s_reduce_ex) : NULL;
    bool is = usual && PyUnicode_Check(module) && reduce != usual &&
              PyUnicode_CompareWithASCIIString(module, "pandas.core.internals.blocks") == 0;
    Py_XDECREF(module);
    Py_XDECREF(reduce);
    Py_XDECREF(usual);
    PyErr_Clear();
    return is;
}

static bool
has_rows(fp_state *st, PyObject *values)
{
    Py_buffer view;
    bool has = fp_is_array_type((PyObject *)Py_TYPE(values)) && view_rows(st, values, &view);
    if (has) {
        PyBuffer_Release(&view);
    }
    return has;
}

/* What pandas makes of it for protocol 4, which does not copy, but with another array of the same memory: one that arrives
 * with memory of its own, as a copy would. NULL, perhaps with an exception. */
static PyObject *
reduce_without_copy(PyObject *block, PyObject *values)
{
    PyObject *model = PyObject_CallMethod(block, "__reduce_ex__", "i", 4), *make, *place, *ndim, *its, *reduced = NULL;
    if (model != NULL && PyTuple_Check(model) && PyArg_ParseTuple(model, "O(OOO)", &make, &its, &place, &ndim) && its == values) {
        PyObject *view = PyObject_CallMethod(values, "view", NULL);
        reduced = view ? Py_BuildValue("(O(NOO))", make, view, place, ndim) : NULL;
    }
    Py_XDECREF(model);
    return reduced;
}

PyObject *
fp_reduce_block(fp_state *st, PyObject *block)
{
    PyObject *values = PyObject_GetAttrString(block, "values");
    PyObject *reduced = values && has_rows(st, values) ? reduce_without_copy(block, values) : NULL;
    Py_XDECREF(values);
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();   /* pandas says what is wrong, or does it in another way */
    }
    return reduced || PyErr_Occurred() ? reduced : PyObject_CallMethodOneArg(block, st->s_reduce_ex, st->protocol);
}
