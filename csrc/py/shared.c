#include "shared.h"
#include "errors.h"
#include "pickling.h"
#include "unpickling.h"
#include "../core/error.h"

#include <unistd.h>

typedef struct {
    PyObject_HEAD
    fp_share *share;
} fp_pages;

/* The exception for a code of core/share.h. NULL. */
static PyObject *
refuse(int rc, u64 size)
{
    switch (rc) {
    case FP_NOMEM:
        return PyErr_Format(PyExc_MemoryError, "%llu bytes of shared memory are more than there is left", (unsigned long long)size);
    case FP_CORRUPT:
        PyErr_SetString(PyExc_FileNotFoundError, "the shared object is gone: nothing holds it any more");
        return NULL;
    default:
        return PyErr_SetFromErrno(PyExc_OSError);
    }
}

/* Takes the reference over. */
static PyObject *
new_pages(fp_state *st, int rc, fp_share *share, u64 size)
{
    if (rc != FP_OK) {
        return refuse(rc, size);
    }
    fp_pages *pages = (fp_pages *)st->Pages->tp_alloc(st->Pages, 0);
    if (pages == NULL) {
        fp_share_decref(share);
        return NULL;
    }
    pages->share = share;
    return (PyObject *)pages;
}

/* ---------------------------------------------------------------- the functions */

PyObject *
fp_share_object(PyObject *module, PyObject *object)
{
    fp_state *st = fp_state_of(module);
    fp_pickler *p = fp_pickle_share(st, object);
    if (p == NULL) {
        return NULL;
    }
    fp_share *share = NULL;
    int rc;
    Py_BEGIN_ALLOW_THREADS
    rc = fp_share_create(&p->payload, &share);
    Py_END_ALLOW_THREADS
    PyObject *pages = new_pages(st, rc, share, p->payload.size);
    fp_pickler_give_back(st, p);
    return pages;
}

PyObject *
fp_open_pages(PyObject *module, PyObject *args)
{
    int owner, fd;
    Py_buffer token;
    if (!PyArg_ParseTuple(args, "iiy*:open_pages", &owner, &fd, &token)) {
        return NULL;
    }
    fp_share *share = NULL;
    int rc = token.len == FP_TOKEN ? fp_share_open(owner, fd, token.buf, &share) : FP_CORRUPT;
    PyBuffer_Release(&token);
    return new_pages(fp_state_of(module), rc, share, 0);
}

PyObject *
fp_adopt_pages(PyObject *module, PyObject *descriptor)
{
    int fd = PyObject_AsFileDescriptor(descriptor);
    if (fd < 0) {
        return NULL;
    }
    fp_share *share = NULL;
    int rc = fp_share_adopt(fd, &share);
    return new_pages(fp_state_of(module), rc, share, 0);
}

PyObject *
fp_copy_pages(PyObject *module, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    fp_share *share = NULL;
    u64 size = (u64)view.len;
    int rc;
    Py_BEGIN_ALLOW_THREADS
    rc = fp_share_copy(view.buf, size, &share);
    Py_END_ALLOW_THREADS
    PyObject *pages = new_pages(fp_state_of(module), rc, share, size);
    PyBuffer_Release(&view);
    return pages;
}

PyObject *
fp_let_go_of_pages(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    fp_shares_let_go();
    Py_RETURN_NONE;
}

PyObject *
fp_set_shared_type(PyObject *module, PyObject *args)
{
    fp_state *st = fp_state_of(module);
    PyObject *type, *open;
    if (!PyArg_ParseTuple(args, "OO:set_shared_type", &type, &open)) {
        return NULL;
    }
    Py_XSETREF(st->Shared, Py_NewRef(type));
    Py_XSETREF(st->open_shared, Py_NewRef(open));
    Py_RETURN_NONE;
}

PyObject *
fp_keep_for_next_task(PyObject *module, PyObject *object)
{
    fp_state *st = fp_state_of(module);
    if (!st->is_worker) {
        Py_RETURN_NONE;
    }
    if (st->kept == NULL && (st->kept = PyList_New(0)) == NULL) {
        return NULL;
    }
    return PyList_Append(st->kept, object) < 0 ? NULL : Py_NewRef(Py_None);
}

void
fp_shared_next_task(fp_state *st)
{
    PyObject *old = st->kept_before;
    st->kept_before = st->kept;
    st->kept = NULL;
    Py_XDECREF(old);
}

void
fp_shared_rest(fp_state *st)
{
    Py_CLEAR(st->kept_before);
    Py_CLEAR(st->kept);
}

/* -------------------------------------------------------------------- the type */

fp_share *
fp_share_of(fp_state *st, PyObject *pages)
{
    if (!Py_IS_TYPE(pages, st->Pages)) {
        PyErr_SetString(PyExc_TypeError, "not the pages of a shared object");
        return NULL;
    }
    fp_share *share = ((fp_pages *)pages)->share;
    int rc = fp_share_use(share);   /* opens it, if need be */
    if (rc != FP_OK) {
        refuse(rc, share->size);
        return NULL;
    }
    fp_share_unuse(share);
    return share;
}

PyObject *
fp_share_reference(fp_state *st, const fp_share *share)
{
    return Py_BuildValue("O(y#ii)", st->open_shared, share->token, (Py_ssize_t)FP_TOKEN, (int)getpid(), share->fd);
}

static int
pages_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    fp_share *share = ((fp_pages *)self)->share;
    int rc = fp_share_use(share);
    if (rc != FP_OK) {
        view->obj = NULL;
        refuse(rc, share->size);
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, (void *)share->memory, (Py_ssize_t)share->mapped, 1, flags) < 0) {
        fp_share_unuse(share);
        return -1;
    }
    return 0;
}

static void
pages_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(view))
{
    fp_share_unuse(((fp_pages *)self)->share);
}

/* Views of the buffers, in a list; each holds this object. NULL with an exception. */
static PyObject *
views_of_buffers(PyObject *all, const fp_share *share)
{
    const u8 *data = fp_share_payload(share);
    u64 count, before = share->mapped - share->size;
    if (fp_payload_count(data, share->size, share->stream, &count) != FP_OK) {
        return fp_raise_code(FP_CORRUPT);
    }
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (u64 i = 0; list != NULL && i < count; i++) {
        fp_out_of_band b;
        PyObject *view;
        if (fp_payload_buffer(data, share->size, share->stream, i, &b) != FP_OK) {
            view = fp_raise_code(FP_CORRUPT);
        }
        else {
            Py_ssize_t from = (Py_ssize_t)(before + (u64)(b.bytes.data - data));
            view = PySequence_GetSlice(all, from, from + (Py_ssize_t)b.bytes.size);
        }
        if (view == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, view);
    }
    return list;
}

static PyObject *
pages_load(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    const fp_share *share = ((fp_pages *)self)->share;
    PyObject *all = PyMemoryView_FromObject(self);   /* the memory stays while there is a view */
    PyObject *buffers = all ? views_of_buffers(all, share) : NULL, *object = NULL;
    if (buffers != NULL) {
        object = fp_unpickle_stream(st, fp_share_payload(share), share->stream, buffers);
    }
    Py_XDECREF(buffers);
    Py_XDECREF(all);
    return object;
}

static PyObject *
pages_where(PyObject *self, void *Py_UNUSED(closure))
{
    fp_share *share = fp_share_of(fp_state_by_type(Py_TYPE(self)), self);
    return share ? Py_BuildValue("ii", (int)getpid(), share->fd) : NULL;
}

static PyObject *
pages_token(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBytes_FromStringAndSize((const char *)((fp_pages *)self)->share->token, FP_TOKEN);
}

static PyObject *
pages_is_open(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((fp_pages *)self)->share->memory != NULL);
}

static PyObject *
pages_nbytes(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((fp_pages *)self)->share->size);
}

static void
pages_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (((fp_pages *)self)->share != NULL) {
        fp_share_decref(((fp_pages *)self)->share);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef pages_methods[] = {
    {"load", pages_load, METH_NOARGS, PyDoc_STR(
     "load($self)\n--\n\nThe object, with read-only views of the pages for its buffers.")},
    {NULL},
};

static PyGetSetDef pages_getset[] = {
    {"where", pages_where, NULL, PyDoc_STR("(pid, descriptor): where they can be opened."), NULL},
    {"token", pages_token, NULL, PyDoc_STR("What tells them from all others, 16 bytes."), NULL},
    {"is_open", pages_is_open, NULL, PyDoc_STR("Not let go of after a fork."), NULL},
    {"nbytes", pages_nbytes, NULL, PyDoc_STR("The size of the pickle and its buffers."), NULL},
    {NULL},
};

static PyType_Slot pages_slots[] = {
    {Py_tp_dealloc, pages_dealloc},
    {Py_tp_methods, pages_methods},
    {Py_tp_getset, pages_getset},
    {Py_bf_getbuffer, pages_getbuffer},
    {Py_bf_releasebuffer, pages_releasebuffer},
    {Py_tp_doc, PyDoc_STR("An object in shared memory of its own, read-only; as a buffer, all of its bytes.")},
    {0, NULL},
};

PyType_Spec fp_pages_spec = {
    .name = "fastpool._core.Pages",
    .basicsize = sizeof(fp_pages),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pages_slots,
};
