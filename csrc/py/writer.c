#include "writer.h"
#include "errors.h"
#include "shared.h"
#include "../core/error.h"

#include <string.h>

#define KEEP_WRITE (8u << 10)    /* a larger write stays where it is until the payload is written */
#define OUT_OF_BAND (4u << 10)   /* a smaller buffer goes in band */
#define LARGE_ARRAY (256 << 10)  /* malloc keeps the memory of smaller ones by itself */

/* Room for one more in an array of `*room` items. */
static bool
grow(void *array, size_t *room, size_t used, size_t item)
{
    if (used < *room) {
        return true;
    }
    size_t more = used < 8 ? 8 : 2 * used;
    void *bigger = PyMem_RawRealloc(*(void **)array, more * item);
    if (bigger == NULL) {
        PyErr_NoMemory();
        return false;
    }
    *(void **)array = bigger;
    *room = more;
    return true;
}

static bool
keep_write(fp_writer *w, const Py_buffer *view)
{
    if (!grow(&w->writes, &w->writes_room, w->nwrites, sizeof *w->writes)) {
        return false;
    }
    w->writes[w->nwrites++] = (fp_kept_write){*view, w->size};
    return true;
}

bool
fp_writer_append(fp_writer *w, const void *data, size_t n)
{
    size_t size = w->size + n;
    if (size > w->capacity) {
        size_t capacity = size < 512 ? 1024 : size + size / 2;
        u8 *bigger = PyMem_RawRealloc(w->data, capacity);
        if (bigger == NULL) {
            PyErr_NoMemory();
            return false;
        }
        w->data = bigger;
        w->capacity = capacity;
    }
    memcpy(w->data + w->size, data, n);
    w->size = size;
    return true;
}

bool
fp_writer_take(fp_writer *w, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return false;
    }
    bool keep = view.len > KEEP_WRITE;
    bool ok = keep ? keep_write(w, &view) : fp_writer_append(w, view.buf, (size_t)view.len);
    if (!keep || !ok) {
        PyBuffer_Release(&view);
    }
    return ok;
}

static PyObject *
writer_write(PyObject *self, PyObject *data)
{
    return fp_writer_take((fp_writer *)self, data) ? Py_NewRef(Py_None) : NULL;
}

static fp_buffer_kind
kind_of(const Py_buffer *view, bool is_of_array, bool by_rows)
{
    return view->readonly && !by_rows                  ? FP_BUFFER_BYTES   /* NumPy would copy rows, and a copy is writable */
           : is_of_array && view->len >= LARGE_ARRAY   ? FP_BUFFER_ARRAY
                                                       : FP_BUFFER_BYTEARRAY;
}

/* False with an exception. The view is one of our own: whoever made the PickleBuffer may release it. */
static bool
view_buffer(fp_writer *w, PyObject *buffer, fp_kept_buffer *kept)
{
    bool is_of_array = buffer == w->array.buffer;
    kept->by_rows = is_of_array && w->array.rows.obj != NULL;
    if (kept->by_rows) {
        kept->view = w->array.rows;
        w->array.rows.obj = NULL;
    }
    fp_forget_array(&w->array);
    if (!kept->by_rows && PyObject_GetBuffer(buffer, &kept->view, PyBUF_FULL_RO) < 0) {
        return false;
    }
    kept->kind = kind_of(&kept->view, is_of_array, kept->by_rows);
    return true;
}

/* A pickler's buffer_callback: true if the buffer is to go in band. */
static PyObject *
writer_take_buffer(PyObject *self, PyObject *buffer)
{
    fp_writer *w = (fp_writer *)self;
    fp_kept_buffer kept;
    if (!view_buffer(w, buffer, &kept)) {
        return NULL;
    }
    if (kept.view.len < (w->of_share ? 1 : OUT_OF_BAND)) {   /* what is shared arrives read-only, whatever its size */
        PyBuffer_Release(&kept.view);
        Py_RETURN_TRUE;
    }
    if (!grow(&w->buffers, &w->buffers_room, w->nbuffers, sizeof *w->buffers)) {
        PyBuffer_Release(&kept.view);
        return NULL;
    }
    w->buffers[w->nbuffers++] = kept;
    Py_RETURN_FALSE;
}

/* Releasing a buffer may run anything: the lists are empty before. */
void
fp_writer_reset(fp_writer *w)
{
    w->size = 0;
    w->of_call = w->of_share = w->by_reducer = w->hands_over = false;
    fp_holds_free(w->holds);
    w->holds = NULL;
    fp_forget_array(&w->array);
    while (w->nwrites > 0) {
        Py_buffer view = w->writes[--w->nwrites].view;
        PyBuffer_Release(&view);
    }
    while (w->nbuffers > 0) {
        Py_buffer view = w->buffers[--w->nbuffers].view;
        PyBuffer_Release(&view);
    }
}

static void
writer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    fp_writer *w = (fp_writer *)self;
    fp_writer_reset(w);
    PyMem_RawFree(w->data);
    PyMem_RawFree(w->writes);
    PyMem_RawFree(w->buffers);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The reducer of a shared object, for a call. */
static PyObject *
writer_reduce_shared(PyObject *self, PyObject *shared)
{
    fp_writer *w = (fp_writer *)self;
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    PyObject *pages = PyObject_GetAttr(shared, st->s_pages), *reduced = NULL;
    fp_share *share = pages ? fp_share_of(st, pages) : NULL;
    if (share != NULL && fp_holds_add(&w->holds, share) != FP_OK) {
        PyErr_NoMemory();
    }
    else if (share != NULL) {
        reduced = fp_share_reference(st, share);
    }
    Py_XDECREF(pages);
    return reduced;
}

/* The reducer of numpy.ndarray. */
static PyObject *
writer_reduce_array(PyObject *self, PyObject *array)
{
    fp_writer *w = (fp_writer *)self;
    fp_forget_array(&w->array);
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    return w->of_share ? fp_reduce_shared_array(st, array, &w->array) : fp_reduce_array(st, array, &w->array);
}

/* The reducer of pandas' NumpyBlock. */
static PyObject *
writer_reduce_block(PyObject *self, PyObject *block)
{
    return fp_reduce_block(fp_state_by_type(Py_TYPE(self)), block);
}

static PyMethodDef writer_methods[] = {
    {"reduce_array", writer_reduce_array, METH_O, PyDoc_STR(
     "reduce_array($self, array, /)\n--\n\nAn array: where its buffer is to arrive is known then.")},
    {"reduce_block", writer_reduce_block, METH_O, PyDoc_STR(
     "reduce_block($self, block, /)\n--\n\nA block of a DataFrame, with its array as it is if that is sent by rows.")},
    {"reduce_shared", writer_reduce_shared, METH_O, PyDoc_STR(
     "reduce_shared($self, shared, /)\n--\n\nA shared object by reference: the call holds it.")},
    {"write", writer_write, METH_O, PyDoc_STR("write($self, data, /)\n--\n\nAppend bytes.")},
    {"take_buffer", writer_take_buffer, METH_O, PyDoc_STR(
     "take_buffer($self, buffer, /)\n--\n\nA PickleBuffer to go out of band; true if it is to go in band.")},
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
