/* A pool whose workers may write anything into shared memory: the parent neither crashes nor hangs, no memory is lost,
 * every task ends.
 *
 * An input is a little program: what the parent does, what honest workers do, and what is scribbled in between. After it
 * the workers are reaped and honest ones go on: all tasks end, or the pool knows that it is damaged, and what has not ended
 * is failed and buried, as the manager does. It all happens in one thread, so an input does the same each time.
 */
#ifndef READER_H
#define READER_H

#include "core/pool.h"

void reader_run(const u8 *data, u64 size);
/* The pool of the input that is run; and what happens where each of the parent's calls begins and ends. */
extern fp_pool *reader_pool;
extern void (*reader_at_call)(bool begins);

#endif
