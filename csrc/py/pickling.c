#include "pickling.h"
#include "arrays.h"
#include "atoms.h"
#include "errors.h"
#include "../core/error.h"
#include "../core/os.h"

#define SMALL_STREAM (1u << 10)    /* a longer one may have made the memo large, and clearing it stays slow */
#define LONG_WRITE (80u << 10)     /* pickle keeps a buffer as large as the longest frame, and makes a new one each time */
#define SLOW_CLEAR 1000u           /* ns: to make another pickler costs about twice as much */
#define WITHOUT_GIL (256u << 10)

/* ------------------------------------------------------------------ payload */

static bool
lay_out_pieces(fp_pickler *p)
{
    fp_writer *w = p->writer;
    p->one = (fp_piece){w->data, w->size};
    p->payload = (fp_payload){.pieces = &p->one, .npieces = 1};
    if (w->nwrites == 0) {
        return true;
    }
    p->pieces = PyMem_RawMalloc((2 * w->nwrites + 1) * sizeof *p->pieces);
    if (p->pieces == NULL) {
        return false;
    }
    u64 n = 0;
    size_t at = 0;
    for (size_t i = 0; i < w->nwrites; i++) {
        const fp_kept_write *k = &w->writes[i];
        p->pieces[n++] = (fp_piece){w->data + at, k->at - at};
        p->pieces[n++] = (fp_piece){k->view.buf, (u64)k->view.len};
        at = k->at;
    }
    p->pieces[n++] = (fp_piece){w->data + at, w->size - at};
    p->payload.pieces = p->pieces;
    p->payload.npieces = n;
    return true;
}

static bool
lay_out_buffers(fp_pickler *p)
{
    fp_writer *w = p->writer;
    if (w->nbuffers == 0) {
        return true;
    }
    p->out_of_band = PyMem_RawMalloc(w->nbuffers * sizeof *p->out_of_band);
    for (size_t i = 0; p->out_of_band != NULL && i < w->nbuffers; i++) {
        const fp_kept_buffer *b = &w->buffers[i];
        p->out_of_band[i] = (fp_out_of_band){{b->view.buf, (u64)b->view.len}, b->kind, {0}};
        if (b->by_rows) {
            p->out_of_band[i].rows = fp_rows_of(&b->view);
        }
    }
    p->payload.buffers = p->out_of_band;
    p->payload.nbuffers = w->nbuffers;
    return p->out_of_band != NULL;
}

/* -1 with an exception. */
static int
lay_out_payload(fp_pickler *p)
{
    if (!lay_out_pieces(p) || !lay_out_buffers(p)) {
        PyErr_NoMemory();
        return -1;
    }
    if (!fp_payload_measure(&p->payload)) {
        PyErr_SetString(PyExc_MemoryError, "what is pickled has more bytes than any memory");
        return -1;
    }
    return 0;
}

static void
drop_payload(fp_pickler *p)
{
    PyMem_RawFree(p->pieces);
    PyMem_RawFree(p->out_of_band);
    p->pieces = NULL;
    p->out_of_band = NULL;
    p->payload = (fp_payload){0};
}

void
fp_payload_copy(const fp_payload *payload, u8 *to)
{
    if (payload->size < WITHOUT_GIL) {
        fp_payload_write(payload, to);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    fp_payload_write(payload, to);
    Py_END_ALLOW_THREADS
}

/* ------------------------------------------------------------------ reducers */

typedef struct {
    PyObject_HEAD
    fp_writer *writer;
} fp_reducers;

/* What the standard library itself has registered with ForkingPickler and sends by value. All else there may be something like a
 * Connection, of which the pickle names a descriptor that the receiver fetches from the sender. */
static bool
goes_by_value(const PyTypeObject *type)
{
    static const char *const names[] = {"functools.partial", "array.array", "dict_keys", "dict_values", "dict_items"};
    if (type == &PyMethod_Type || type == &PyMethodDescr_Type || type == &PyWrapperDescr_Type) {
        return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(type->tp_name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What multiprocessing itself hands over, or makes in order to do so. */
static bool
is_handle(fp_state *st, PyObject *type)
{
    static const struct {
        const char *name, *module;
    } handles[] = {
        {"DupFd", "multiprocessing.resource_sharer"},
        {"DupSocket", "multiprocessing.resource_sharer"},
        {"Connection", "multiprocessing.connection"},
        {"socket", "socket"},
    };
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
        if (strcmp(((PyTypeObject *)type)->tp_name, handles[i].name) == 0) {
            PyObject *module = PyObject_GetAttr(type, st->s_module);
            bool is = module && PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, handles[i].module) == 0;
            Py_XDECREF(module);
            PyErr_Clear();
            return is;
        }
    }
    return false;
}

/* Has the class said itself how it is pickled? -1 with an exception. */
static int
has_own_reducer(PyObject *type)
{
    static const char *const names[] = {"__reduce_ex__", "__reduce__"};
    int has = 0;
    for (size_t i = 0; i < 2 && has == 0; i++) {
        PyObject *own = PyObject_GetAttrString(type, names[i]);
        PyObject *usual = own ? PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, names[i]) : NULL;
        has = usual == NULL ? -1 : own != usual;
        Py_XDECREF(own);
        Py_XDECREF(usual);
    }
    return has;
}

/* How a class that may hand something over is pickled for nobody in particular: by itself, if it can; else by its registered
 * reducer, `found` (borrowed), which makes handles if it does hand over. A new reference, or NULL with an exception. */
static PyObject *
reducer_for_share(fp_state *st, PyObject *type, PyObject *found)
{
    if (is_handle(st, type)) {
        return PyErr_Format(PyExc_TypeError, "cannot share %R objects: one process hands such an object over to one other. Pass it as an "
                            "argument of each call", type);
    }
    int has_own = has_own_reducer(type);
    if (has_own > 0 && (found = PyDict_GetItemWithError(st->copyreg_reducers, type)) == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_KeyError, type);
    }
    return has_own < 0 ? NULL : Py_XNewRef(found);
}

/* What ForkingPickler.dispatch_table would be if it were made now; in a call, how a shared object travels; and how an array does,
 * or a block of pandas, of which nobody has said how. */
static PyObject *
reducers_get(PyObject *self, PyObject *type)
{
    fp_state *st = fp_state_by_type(Py_TYPE(self));
    fp_writer *writer = ((fp_reducers *)self)->writer;
    if (type == st->Shared && writer->of_call) {
        return PyObject_GetAttr((PyObject *)writer, st->s_reduce_shared);
    }
    PyObject *found = PyDict_GetItemWithError(st->forking_reducers, type);
    if (found == NULL && PyErr_Occurred()) {
        return NULL;
    }
    bool may_hand_over = found != NULL ? !goes_by_value((PyTypeObject *)type) : is_handle(st, type);
    if (may_hand_over && writer->of_share) {
        return reducer_for_share(st, type, found);
    }
    writer->hands_over |= may_hand_over;
    if (found == NULL) {
        found = PyDict_GetItemWithError(st->copyreg_reducers, type);
    }
    if (found == NULL && !PyErr_Occurred() && fp_is_array_type(type)) {
        return PyObject_GetAttr((PyObject *)writer, st->s_reduce_array);
    }
    writer->by_reducer = true;
    if (found == NULL && !PyErr_Occurred() && fp_is_block_type(st, type)) {
        return PyObject_GetAttr((PyObject *)writer, st->s_reduce_block);
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
    Py_XDECREF(((fp_reducers *)self)->writer);
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
    .basicsize = sizeof(fp_reducers),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reducers_slots,
};

/* ------------------------------------------------------------------ picklers */

static void
pickler_free(fp_pickler *p)
{
    drop_payload(p);
    if (p->writer != NULL) {
        fp_writer_reset(p->writer);   /* a traceback may hold the writer for longer */
    }
    Py_XDECREF(p->writer);
    Py_XDECREF(p->dump);
    Py_XDECREF(p->clear_memo);
    PyMem_Free(p);
}

/* With a writer, without anything that writes. */
static fp_pickler *
pickler_alloc(fp_state *st)
{
    fp_pickler *p = PyMem_Calloc(1, sizeof *p);
    if (p == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    p->writer = (fp_writer *)st->Writer->tp_alloc(st->Writer, 0);
    if (p->writer == NULL) {
        pickler_free(p);
        return NULL;
    }
    return p;
}

static PyObject *
forking_pickler(fp_state *st, fp_writer *writer)
{
    PyObject *take = PyObject_GetAttr((PyObject *)writer, st->s_take_buffer), *pickler = NULL;
    PyObject *reducers = take ? st->Reducers->tp_alloc(st->Reducers, 0) : NULL;
    if (reducers != NULL) {
        ((fp_reducers *)reducers)->writer = (fp_writer *)Py_NewRef(writer);
        pickler = PyObject_CallFunction(st->ForkingPickler, "OOOO", writer, st->protocol, Py_True, take);
    }
    if (pickler != NULL && PyObject_SetAttr(pickler, st->s_dispatch_table, reducers) < 0) {
        Py_CLEAR(pickler);
    }
    Py_XDECREF(take);
    Py_XDECREF(reducers);
    return pickler;
}

static fp_pickler *
pickler_new(fp_state *st)
{
    fp_pickler *p = pickler_alloc(st);
    PyObject *pickler = p ? forking_pickler(st, p->writer) : NULL;
    if (pickler != NULL) {
        p->dump = PyObject_GetAttr(pickler, st->s_dump);
        p->clear_memo = p->dump ? PyObject_GetAttr(pickler, st->s_clear_memo) : NULL;
        p->is_reusable = true;
        Py_DECREF(pickler);
    }
    if (p != NULL && p->clear_memo == NULL) {
        pickler_free(p);
        return NULL;
    }
    return p;
}

static bool
call_for_none(PyObject *result)
{
    Py_XDECREF(result);
    return result != NULL;
}

/* Its memo may hold anything, and dropping it may run anything: an exception stays set. */
static void
pickler_drop(fp_pickler *p)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    pickler_free(p);
    PyErr_Restore(type, value, traceback);
}

/* For the next object; a pickler whose memo or buffer has grown is not used again. False with an exception. */
static bool
clear_memo(fp_pickler *p)
{
    const fp_writer *w = p->writer;
    u64 stream = w->size, longest = 0;
    for (size_t i = 0; i < w->nwrites; i++) {
        u64 size = (u64)w->writes[i].view.len;
        stream += size;
        longest = size > longest ? size : longest;
    }
    u64 before = stream > SMALL_STREAM ? fp_now() : 0;
    if (!call_for_none(PyObject_CallNoArgs(p->clear_memo))) {
        return false;
    }
    p->is_reusable = longest < LONG_WRITE && (before == 0 || fp_now() - before < SLOW_CLEAR);
    return true;
}

/* -1 with an exception. */
static int
write_object(fp_pickler *p, PyObject *object)
{
    int rc = fp_atoms_write(p->writer, object);
    if (rc != 0) {
        return rc;
    }
    return call_for_none(PyObject_CallOneArg(p->dump, object)) && clear_memo(p) ? 0 : -1;
}

typedef enum { FOR_NOBODY, FOR_CALL, FOR_SHARE } fp_purpose;

static fp_pickler *
pickle(fp_state *st, PyObject *object, fp_purpose purpose)
{
    fp_pickler *p = st->picklers;
    if (p != NULL) {
        st->picklers = p->next;
    }
    else if ((p = pickler_new(st)) == NULL) {
        return NULL;
    }
    p->writer->of_call = purpose == FOR_CALL;
    p->writer->of_share = purpose == FOR_SHARE;
    if (write_object(p, object) < 0 || lay_out_payload(p) < 0) {
        pickler_drop(p);
        return NULL;
    }
    return p;
}

fp_pickler *
fp_pickle(fp_state *st, PyObject *object)
{
    return pickle(st, object, FOR_NOBODY);
}

fp_pickler *
fp_pickle_call(fp_state *st, PyObject *object)
{
    return pickle(st, object, FOR_CALL);
}

fp_pickler *
fp_pickle_share(fp_state *st, PyObject *object)
{
    return pickle(st, object, FOR_SHARE);
}

fp_pickler *
fp_pickle_by_value(fp_state *st, PyObject *object)
{
    fp_pickler *p = pickler_alloc(st);
    if (p != NULL && (!call_for_none(fp_call_helper("fastpool.by_value", "dump", "(OO)", object, p->writer)) ||
                      lay_out_payload(p) < 0)) {
        pickler_drop(p);
        return NULL;
    }
    if (p != NULL) {
        p->writer->by_reducer = true;   /* who knows */
    }
    return p;
}

fp_holds *
fp_pickler_take_holds(fp_pickler *p)
{
    fp_holds *holds = p->writer->holds;
    p->writer->holds = NULL;
    return holds;
}

/* What is released may run anything: an exception stays set. */
void
fp_pickler_give_back(fp_state *st, fp_pickler *p)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    drop_payload(p);
    if (p->is_reusable) {
        fp_writer_reset(p->writer);
        p->next = st->picklers;
        st->picklers = p;
    }
    else {
        pickler_free(p);
    }
    PyErr_Restore(type, value, traceback);
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
