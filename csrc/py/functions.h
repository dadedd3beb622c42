/* The function table: a function that pickle sends by name travels once, not with every call.
 *
 * Exact as pickle is: at every call the parent checks that sys.modules[module].<name> still is that
 * function, and the worker looks the name up again; rebinding behaves as in the standard library.
 * Only plain functions and builtins with an undotted name. What goes by value has its place by content: each
 * worker unpickles it once. Whatever else is called is pickled whole.
 * Locking   the GIL.
 */
#ifndef FP_FUNCTIONS_H
#define FP_FUNCTIONS_H

#include "state.h"
#include "../core/pool.h"

#define FP_FUNCTION_CACHE 64u   /* places, by address: a hint, checked at every use */

typedef struct {
    PyObject *function;   /* its address only: not a reference */
    PyObject *module, *name;
    int id;
} fp_known_function;

typedef struct {
    fp_known_function known[FP_FUNCTION_CACHE];
    PyObject *ids;        /* {(module, name): id, pickle of one that goes by value: id} */
} fp_functions;

void fp_functions_clear(fp_functions *f);
/* The id of `function`; 0: pickle it whole; -1: an exception is set. */
int fp_function_id(fp_state *st, fp_pool *pool, fp_functions *f, PyObject *function);
/* The same for one that goes by value: `data` is a bytes object, its pickle. By content, not by identity: it carries
 * globals and cells that change. */
int fp_function_id_by_value(fp_state *st, fp_pool *pool, fp_functions *f, PyObject *function, PyObject *data);
/* Was it defined at an interactive prompt? There is no module that a worker could import it from. */
bool fp_function_is_interactive(fp_state *st, PyObject *function);
/* A name for messages, malloc'd; NULL if there is none. Never sets an exception. */
char *fp_function_label(fp_state *st, PyObject *function);

/* The worker's side: what function `id` is. */
typedef struct {
    PyObject *function, *module, *name;
} fp_found_function;

/* A new reference, or NULL with an exception. */
PyObject *fp_function_find(fp_state *st, fp_found_function *found, const u8 *data, size_t size, bool by_value);

#endif
