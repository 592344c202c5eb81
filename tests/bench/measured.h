/* measured.h - shared by the programs that measure a backend's operations: one device, memory that
 * is released with it, and the seconds of a call. Failures end the program. */
#ifndef LONGQLORA_MEASURED_H
#define LONGQLORA_MEASURED_H

#include "tests/lib/small_shape.h"

extern const struct kernels *measured;
extern struct device *measured_device;

/* Opens the DEVICE of the command line `NAME DEVICE [SCALE]` and prints its name. Returns SCALE, by
 * default 1.
 */
int64_t measured_open(const char *name, int argc, char **argv);
/* Opens that backend's device. */
void measured_begin(const char *name, const struct kernels *backend);
void measured_reserve(struct shape shape);

/* Returns zeroed memory of the device. */
void *measured_bytes(size_t bytes);
/* Returns activations of small random values, in rows of `stride` elements. */
struct mat measured_mat(int64_t rows, int64_t cols, int64_t stride);
/* Both return f32 values: small random ones, or one value repeated. */
float *measured_floats(size_t count);
float *measured_constants(size_t count, float value);
/* Returns NF4 weights whose codes are zeros, which take as long as others. */
struct linear measured_nf4(int64_t in, int64_t out);

/* Returns the seconds of one call. After a warm-up it calls until `least` seconds have passed. With
 * ONCE in the environment, for a profiler, it makes a single call. */
double measured_seconds(void (*call)(void *), void *arg, double least);

#endif
