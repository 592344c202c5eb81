/* measured.h - what programs that measure a backend's operations share: one device, memory that is
 * given back with it, seconds of a call. Failures end the program. */
#ifndef LONGQLORA_MEASURED_H
#define LONGQLORA_MEASURED_H

#include "tests/lib/small_shape.h"

extern const struct kernels *measured;
extern struct device *measured_device;

/* Opens DEVICE of `NAME DEVICE [SCALE]` and says which it is; returns SCALE, 1 where there is none.
 */
int64_t measured_open(const char *name, int argc, char **argv);
/* Opens that backend's device. */
void measured_begin(const char *name, const struct kernels *backend);
void measured_reserve(struct shape shape);

/* Zeroed memory of the device. */
void *measured_bytes(size_t bytes);
/* Activations of small random values, rows of `stride` elements. */
struct mat measured_mat(int64_t rows, int64_t cols, int64_t stride);
/* f32: small random values; one value. */
float *measured_floats(size_t count);
float *measured_constants(size_t count, float value);
/* NF4 with codes of zeros, which take as long as others. */
struct linear measured_nf4(int64_t in, int64_t out);

/* Seconds of one call: warmed up, then as many as take `least` seconds. ONCE in the environment,
 * for a profiler: one call and no other. */
double measured_seconds(void (*call)(void *), void *arg, double least);

#endif
