/* backend.h - opens the backend under test: $BACKEND, by default cpu, with $THREADS threads, by
 * default two. With BACKEND=cuda and LONGQLORA_CUDA naming the emulation, buffers lie in the
 * emulation's memory.
 */
#ifndef LONGQLORA_BACKEND_H
#define LONGQLORA_BACKEND_H

#include "kernels/kernels.h"
#include "tests/lib/check.h"
#include "tests/lib/small_shape.h"

extern const struct kernels *k;
extern struct device *dev;

int backend_open(void **state);
int backend_close(void **state);
int buffers_close(void **state); /* a tear-down function of cmocka */
/* Reserves scratch for these sizes. */
void backend_reserve(struct shape shape);

static inline struct mat mat_of(float *at, int64_t stride)
{
    return (struct mat){ (struct act *)at, stride };
}

#endif
