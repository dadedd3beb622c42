#include "atoms.h"

#include <string.h>

#define SHORT_BELOW (64u << 10)   /* longer ones pickle does not copy either; nor are longer pickles ours */
#define ITEMS 3                   /* of a tuple that has an opcode of its own */

enum {
    PROTO = 0x80, STOP = '.', NONE = 'N', TRUE = 0x88, FALSE = 0x89, INT1 = 'K', INT2 = 'M', INT4 = 'J', FLOAT = 'G',
    BYTES1 = 'C', BYTES4 = 'B', STR1 = 0x8c, STR4 = 'X', TUPLE1 = 0x85, TUPLE3 = 0x87,
};

/* ------------------------------------------------------------------- writing */

static bool
is_short_int(PyObject *o)
{
    int overflow;
    long value = PyLong_AsLongAndOverflow(o, &overflow);
    return !overflow && value >= INT32_MIN && value <= INT32_MAX;
}

static bool
is_text(PyObject *o)
{
    return PyBytes_CheckExact(o) || PyUnicode_CheckExact(o);
}

static bool
is_atom(PyObject *o)
{
    if (PyLong_CheckExact(o)) {
        return is_short_int(o);
    }
    if (PyBytes_CheckExact(o)) {
        return PyBytes_GET_SIZE(o) < SHORT_BELOW;
    }
    if (PyUnicode_CheckExact(o)) {
        return PyUnicode_IS_COMPACT_ASCII(o) && PyUnicode_GET_LENGTH(o) < SHORT_BELOW;
    }
    return o == Py_None || PyBool_Check(o) || PyFloat_CheckExact(o);
}

/* Texts that are the same object must be the same object where they arrive: that takes a memo. */
static bool
are_atoms(PyObject *const *items, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!is_atom(items[i])) {
            return false;
        }
        for (Py_ssize_t k = 0; k < i; k++) {
            if (items[k] == items[i] && is_text(items[i])) {
                return false;
            }
        }
    }
    return true;
}

static bool
write_opcode(fp_writer *w, u8 opcode)
{
    return fp_writer_append(w, &opcode, 1);
}

/* The `n` low bytes of `value` behind the opcode, the lowest first. */
static bool
write_number(fp_writer *w, u8 opcode, u32 value, size_t n)
{
    const u8 bytes[] = {opcode, (u8)value, (u8)(value >> 8), (u8)(value >> 16), (u8)(value >> 24)};
    return fp_writer_append(w, bytes, 1 + n);
}

static bool
write_int(fp_writer *w, long value)
{
    if (value < 0 || value > UINT16_MAX) {
        return write_number(w, INT4, (u32)value, 4);
    }
    return value > UINT8_MAX ? write_number(w, INT2, (u32)value, 2) : write_number(w, INT1, (u32)value, 1);
}

static bool
write_float(fp_writer *w, double value)
{
    char bytes[8];
    return PyFloat_Pack8(value, bytes, 0) == 0 && write_opcode(w, FLOAT) && fp_writer_append(w, bytes, sizeof bytes);
}

static bool
write_size(fp_writer *w, u8 short_opcode, u8 opcode, Py_ssize_t size)
{
    return size <= UINT8_MAX ? write_number(w, short_opcode, (u32)size, 1) : write_number(w, opcode, (u32)size, 4);
}

static bool
write_bytes(fp_writer *w, PyObject *bytes)
{
    return write_size(w, BYTES1, BYTES4, PyBytes_GET_SIZE(bytes)) && fp_writer_take(w, bytes);
}

static bool
write_str(fp_writer *w, PyObject *str)
{
    Py_ssize_t size = PyUnicode_GET_LENGTH(str);
    return write_size(w, STR1, STR4, size) && fp_writer_append(w, PyUnicode_DATA(str), (size_t)size);
}

static bool
write_atom(fp_writer *w, PyObject *o)
{
    return PyLong_CheckExact(o)      ? write_int(w, PyLong_AsLong(o))
           : PyBytes_CheckExact(o)   ? write_bytes(w, o)
           : PyUnicode_CheckExact(o) ? write_str(w, o)
           : PyFloat_CheckExact(o)   ? write_float(w, PyFloat_AS_DOUBLE(o))
                                     : write_opcode(w, o == Py_None ? NONE : o == Py_True ? TRUE : FALSE);
}

int
fp_atoms_write(fp_writer *w, PyObject *object)
{
    bool in_tuple = PyTuple_CheckExact(object);
    Py_ssize_t n = in_tuple ? PyTuple_GET_SIZE(object) : 1;
    PyObject *items[ITEMS];
    if (n == 0 || n > ITEMS) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        items[i] = in_tuple ? PyTuple_GET_ITEM(object, i) : object;
    }
    if (!are_atoms(items, n)) {
        return 0;
    }
    const u8 head[] = {PROTO, 5};
    bool ok = fp_writer_append(w, head, sizeof head);
    for (Py_ssize_t i = 0; ok && i < n; i++) {
        ok = write_atom(w, items[i]);
    }
    ok = ok && (!in_tuple || write_opcode(w, (u8)(TUPLE1 + n - 1))) && write_opcode(w, STOP);
    return ok ? 1 : -1;
}

/* ------------------------------------------------------------------- reading */

typedef struct {
    const u8 *at;
    u64 left;
} fp_source;

/* The next n bytes, or NULL. */
static const u8 *
take(fp_source *s, u64 n)
{
    const u8 *at = s->at;
    if (n > s->left) {
        return NULL;
    }
    s->at += n;
    s->left -= n;
    return at;
}

/* A number of n bytes, the lowest first. */
static bool
take_number(fp_source *s, u64 n, u32 *number)
{
    const u8 *bytes = take(s, n);
    *number = 0;
    for (u64 i = 0; bytes != NULL && i < n; i++) {
        *number |= (u32)bytes[i] << (8 * i);
    }
    return bytes != NULL;
}

/* Bytes or a str of the size that stands next, in n bytes. */
static PyObject *
read_text(fp_source *s, u64 n, bool is_str)
{
    u32 size;
    const char *data = take_number(s, n, &size) ? (const char *)take(s, size) : NULL;
    return data == NULL ? NULL
           : is_str     ? PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, "surrogatepass")
                        : PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

static PyObject *
read_float(fp_source *s)
{
    const char *bytes = (const char *)take(s, 8);
    return bytes ? PyFloat_FromDouble(PyFloat_Unpack8(bytes, 0)) : NULL;
}

static PyObject *
read_int(fp_source *s, u64 n)
{
    u32 number;
    return take_number(s, n, &number) ? PyLong_FromLong(n == 4 ? (long)(int32_t)number : (long)number) : NULL;
}

static PyObject *
read_atom(fp_source *s, u8 opcode)
{
    switch (opcode) {
    case NONE:
        return Py_NewRef(Py_None);
    case TRUE:
        return Py_NewRef(Py_True);
    case FALSE:
        return Py_NewRef(Py_False);
    case INT1:
        return read_int(s, 1);
    case INT2:
        return read_int(s, 2);
    case INT4:
        return read_int(s, 4);
    case FLOAT:
        return read_float(s);
    case BYTES1:
        return read_text(s, 1, false);
    case BYTES4:
        return read_text(s, 4, false);
    case STR1:
        return read_text(s, 1, true);
    case STR4:
        return read_text(s, 4, true);
    default:
        return NULL;
    }
}

/* The tuple of them, or the only one; NULL: they do not end so. */
static PyObject *
finish(fp_source *s, u8 opcode, PyObject **items, Py_ssize_t n)
{
    const u8 *stop = opcode == STOP ? &opcode : take(s, 1);
    if (stop == NULL || *stop != STOP || s->left > 0) {
        return NULL;
    }
    if (opcode == STOP) {
        return n == 1 ? Py_NewRef(items[0]) : NULL;
    }
    PyObject *tuple = n == opcode - TUPLE1 + 1 ? PyTuple_New(n) : NULL;
    for (Py_ssize_t i = 0; tuple != NULL && i < n; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(items[i]));
    }
    return tuple;
}

PyObject *
fp_atoms_read(const u8 *data, u64 size)
{
    if (size < 4 || size >= SHORT_BELOW || data[0] != PROTO || data[1] != 5) {
        return NULL;
    }
    fp_source s = {data + 2, size - 2};
    PyObject *items[ITEMS] = {NULL}, *whole = NULL;
    Py_ssize_t n = 0;
    const u8 *opcode;
    while ((opcode = take(&s, 1)) != NULL) {
        if (*opcode == STOP || (*opcode >= TUPLE1 && *opcode <= TUPLE3)) {
            whole = finish(&s, *opcode, items, n);
            break;
        }
        if (n == ITEMS || (items[n] = read_atom(&s, *opcode)) == NULL) {
            break;
        }
        n++;
    }
    while (n > 0) {
        Py_DECREF(items[--n]);
    }
    return whole;
}
