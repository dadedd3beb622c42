/* Pickling of the simplest values, which most calls and results consist of, without a pickler and its memo.
 *
 * What     None, bool, int of 32 bits, float, short bytes, short ASCII str; up to three of them in a tuple. Exactly of these
 *          types: pickle lets nobody replace how it treats them.
 * Format   a pickle as any other, of protocol 5 (the opcodes are those of CPython's pickletools). Without frames and
 *          MEMOIZE, so only what was written here is read here; anything else is left to pickle.
 */
#ifndef FP_ATOMS_H
#define FP_ATOMS_H

#include "pickling.h"

/* 1: written; 0: pickle's business, nothing is written; -1 with an exception. */
int fp_atoms_write(fp_writer *w, PyObject *object);

/* NULL with an exception (no memory), or without one: pickle's business. */
PyObject *fp_atoms_read(const u8 *data, u64 size);

#endif
