#include "unpickling.h"
#include "arrays.h"
#include "atoms.h"
#include "errors.h"
#include "../core/copy.h"
#include "../core/error.h"
#include "../core/os.h"
#include "../core/warm.h"

#include <string.h>

#define COPY_BELOW (16u << 10)     /* small streams are read from a bytes object: cheaper than a memoryview */
#define READ_FROM (1u << 20)       /* streams of this size may hold big bytes: a reader puts them into huge pages */
#define WITHOUT_GIL (256u << 10)
#if PY_VERSION_HEX < 0x030F0000
#define VIEW_FROM (256u << 10)     /* what a reader hands out without copying */
#else
#define VIEW_FROM UINT64_MAX       /* read() must return bytes */
#endif

/* ------------------------------------------------------------ the collector */

/* So many objects at once wake the garbage collector again and again, and none is garbage: half of the time for a dict of
 * 100,000 records. It is off only while nobody can notice: the GIL is held, and no Python code has run yet. That can come
 * from a class or function in the stream alone, and each of them is looked up by find_class. */
static void
pause_gc(fp_state *st)
{
    st->gc_is_paused = PyGC_Disable();
}

static void
resume_gc(fp_state *st)
{
    if (st->gc_is_paused) {
        st->gc_is_paused = false;
        PyGC_Enable();
    }
}

static PyObject *
unpickler_find_class(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    resume_gc(st);
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "find_class() takes a module and a name");
        return NULL;
    }
    PyObject *all[] = {self, args[0], args[1]};
    return PyObject_Vectorcall(st->find_class, all, 3, NULL);
}

static PyMethodDef unpickler_methods[] = {
    {"find_class", (PyCFunction)(void (*)(void))unpickler_find_class, METH_FASTCALL, PyDoc_STR(
     "find_class($self, module, name, /)\n--\n\nThe class or function of that name.")},
    {NULL},
};

static PyType_Slot unpickler_slots[] = {
    {Py_tp_methods, unpickler_methods},
    {Py_tp_doc, PyDoc_STR("pickle.Unpickler, which begins without the garbage collector.")},
    {0, NULL},
};

PyType_Spec fp_unpickler_spec = {
    .name = "fastpool._core._Unpickler",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = unpickler_slots,
};

/* ------------------------------------------------------------------ copying */

/* `to` is memory of this process; new, it has no pages yet. */
static void
fill(fp_state *st, u8 *to, bool has_pages, const u8 *from, u64 size)
{
    if (size < WITHOUT_GIL) {
        memcpy(to, from, size);
        return;
    }
    resume_gc(st);
    Py_BEGIN_ALLOW_THREADS
    if (!has_pages) {
        fp_prepare_memory(to, size, size < FP_SHARED_COPY);   /* the threads of a larger copy clear it together */
    }
    fp_copy(to, from, size);
    Py_END_ALLOW_THREADS
}

/* ------------------------------------------------------------------- reader */

typedef struct {
    PyObject_HEAD
    const u8 *data;
    u64 left;
    PyObject *views;   /* list: memoryviews that were handed out */
} fp_reader;

static u64
at_most(fp_reader *r, Py_ssize_t n)
{
    return n < 0 || (u64)n > r->left ? r->left : (u64)n;
}

static const u8 *
advance(fp_reader *r, u64 n)
{
    const u8 *at = r->data;
    r->data += n;
    r->left -= n;
    return at;
}

/* Somebody may have kept a view (a traceback's frame): it must not outlive the memory. An exception stays set. */
static void
release(PyObject *view)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *released = PyObject_CallMethod(view, "release", NULL);
    if (released == NULL) {
        PyErr_WriteUnraisable(view);
    }
    Py_XDECREF(released);
    PyErr_Restore(type, value, traceback);
}

static PyObject *
new_view(PyObject *views, const u8 *data, u64 size)
{
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    if (view != NULL && PyList_Append(views, view) < 0) {
        Py_CLEAR(view);
    }
    return view;
}

static PyObject *
reader_read(PyObject *self, PyObject *count)
{
    fp_reader *r = (fp_reader *)self;
    Py_ssize_t wanted = PyLong_AsSsize_t(count);
    if (wanted == -1 && PyErr_Occurred()) {
        return NULL;
    }
    u64 n = at_most(r, wanted);
    if (n < VIEW_FROM) {
        return PyBytes_FromStringAndSize((const char *)advance(r, n), (Py_ssize_t)n);
    }
    return new_view(r->views, advance(r, n), n);
}

static PyObject *
reader_readline(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_reader *r = (fp_reader *)self;
    const u8 *end = r->left ? memchr(r->data, '\n', r->left) : NULL;
    u64 n = end ? (u64)(end - r->data) + 1 : r->left;
    return PyBytes_FromStringAndSize((const char *)advance(r, n), (Py_ssize_t)n);
}

static PyObject *
reader_readinto(PyObject *self, PyObject *target)
{
    fp_reader *r = (fp_reader *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    u64 n = at_most(r, view.len);
    fill(fp_state_by_type(Py_TYPE(self)), view.buf, false, advance(r, n), n);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLongLong(n);
}

static void
reader_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((fp_reader *)self)->views);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"read", reader_read, METH_O, PyDoc_STR("read($self, size, /)\n--\n\nThe next bytes.")},
    {"readline", reader_readline, METH_NOARGS, PyDoc_STR("readline($self, /)\n--\n\nThe next line.")},
    {"readinto", reader_readinto, METH_O, PyDoc_STR("readinto($self, buffer, /)\n--\n\nFill a buffer.")},
    {NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, PyDoc_STR("What an unpickler reads from.")},
    {0, NULL},
};

PyType_Spec fp_reader_spec = {
    .name = "fastpool._core._Reader",
    .basicsize = sizeof(fp_reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

/* ---------------------------------------------------------------- unpickling */

/* Where a buffer arrives: `*data`. NULL with an exception. */
static PyObject *
new_buffer(fp_state *st, fp_buffer_kind kind, u64 size, u8 **data, bool *has_pages)
{
    if (kind == FP_BUFFER_ARRAY && fp_warm_is_for(size)) {
        PyObject *memory = fp_array_memory(st, size, data, has_pages);
        if (memory != NULL) {
            return memory;
        }
        PyErr_Clear();   /* malloc may have some: there is a limit to the number of mappings */
    }
    PyObject *to = kind == FP_BUFFER_BYTES ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)
                                           : PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (to != NULL) {
        *data = (u8 *)(kind == FP_BUFFER_BYTES ? PyBytes_AS_STRING(to) : PyByteArray_AS_STRING(to));
    }
    *has_pages = false;
    return to;
}

static PyObject *
receive_buffer(fp_state *st, const fp_out_of_band *from)
{
    u8 *data;
    bool has_pages;
    PyObject *to = new_buffer(st, from->kind, from->bytes.size, &data, &has_pages);
    if (to != NULL) {
        fill(st, data, has_pages, from->bytes.data, from->bytes.size);
    }
    return to;
}

/* A list; NULL with an exception. */
static PyObject *
receive_buffers(fp_state *st, const u8 *data, u64 size, u64 stream)
{
    u64 count;
    if (fp_payload_count(data, size, stream, &count) != FP_OK) {
        return fp_raise_code(FP_CORRUPT);
    }
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (u64 i = 0; list != NULL && i < count; i++) {
        fp_out_of_band from;
        PyObject *buffer = fp_payload_buffer(data, size, stream, i, &from) == FP_OK ? receive_buffer(st, &from)
                                                                                    : fp_raise_code(FP_CORRUPT);
        if (buffer == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, buffer);
    }
    return list;
}

/* callable(source, buffers=...), without the buffers if there are none */
static PyObject *
call_with_buffers(fp_state *st, PyObject *callable, PyObject *source, PyObject *buffers)
{
    PyObject *args[] = {source, buffers};
    return PyObject_Vectorcall(callable, args, 1, buffers ? st->buffers_keyword : NULL);
}

static PyObject *
load_small(fp_state *st, const u8 *data, u64 stream, PyObject *buffers)
{
    PyObject *source = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)stream);
    PyObject *object = source ? call_with_buffers(st, st->loads, source, buffers) : NULL;
    Py_XDECREF(source);
    return object;
}

static PyObject *
load_by_reader(fp_state *st, const u8 *data, u64 stream, PyObject *buffers)
{
    fp_reader *reader = (fp_reader *)st->Reader->tp_alloc(st->Reader, 0);
    if (reader == NULL || (reader->views = PyList_New(0)) == NULL) {
        Py_XDECREF(reader);
        return NULL;
    }
    reader->data = data;
    reader->left = stream;
    PyObject *unpickler = call_with_buffers(st, st->Unpickler, (PyObject *)reader, buffers);
    PyObject *load = unpickler ? PyObject_GetAttr(unpickler, st->s_load) : NULL, *object = NULL;
    if (load != NULL) {
        pause_gc(st);
        object = PyObject_CallNoArgs(load);
        resume_gc(st);
    }
    Py_XDECREF(load);
    Py_XDECREF(unpickler);   /* it holds on to what it was reading */
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(reader->views); i++) {
        release(PyList_GET_ITEM(reader->views, i));
    }
    reader->left = 0;
    Py_DECREF(reader);
    return object;
}

static PyObject *
load_view(fp_state *st, const u8 *data, u64 stream, PyObject *buffers)
{
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)stream, PyBUF_READ);
    PyObject *object = view ? call_with_buffers(st, st->loads, view, buffers) : NULL;
    if (view != NULL) {
        release(view);
        Py_DECREF(view);
    }
    return object;
}

PyObject *
fp_unpickle_stream(fp_state *st, const u8 *data, u64 stream, PyObject *buffers)
{
    PyObject *object = fp_atoms_read(data, stream);
    if (object != NULL || PyErr_Occurred()) {
        return object;
    }
    return stream < COPY_BELOW  ? load_small(st, data, stream, buffers)
           : stream < READ_FROM ? load_view(st, data, stream, buffers)
                                : load_by_reader(st, data, stream, buffers);
}

PyObject *
fp_unpickle(fp_state *st, const u8 *data, u64 size, u64 stream)
{
    PyObject *buffers = NULL;
    if (stream != size && (buffers = receive_buffers(st, data, size, stream)) == NULL) {
        return NULL;
    }
    PyObject *object = fp_unpickle_stream(st, data, stream, buffers);
    Py_XDECREF(buffers);
    return object;
}
