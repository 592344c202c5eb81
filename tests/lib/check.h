/* check.h - what the tests share: seeded random numbers, guarded buffers, and when two
 * results agree.
 */
#ifndef LONGQLORA_CHECK_H
#define LONGQLORA_CHECK_H

/* Before cmocka, whose fail() takes the place of ours in a test. */
#include "lib/common/fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* BACKEND in the environment, else cpu. */
const char *check_device(void);
/* SEED=… in the environment, else a fixed one; printed once. */
uint64_t check_seed(void);
/* Uniform in [-1, 1). */
double check_random(void);
/* Uniform in [0, n). */
int64_t check_below(int64_t n);

/* Floats with guard values before and after; check_guards fails if one was written to. */
/* Memory of buffers comes from here and goes back there; NULL: the heap. */
extern void *(*check_memory)(size_t bytes);
extern void (*check_release)(void *mem, size_t bytes);
float *check_buffer(size_t count);
float *check_random_buffer(size_t count);
void check_guards(const float *buffer);
void check_free_all(void); /* checks the guards of every buffer first */

/* Fails unless every value is within `bound` times the largest exact magnitude (at least
 * 1e-30) of the exact one. NaN and infinity never agree. */
void check_close(const char *what, const float *got, const double *exact, size_t count,
                 double bound);

/* Central differences of a scalar function of x[count] in double. */
void check_gradient(double (*loss)(void *arg, const double *x), void *arg, const double *x,
                    size_t count, double *gradient);

double *check_doubles(const float *from, size_t count);

#endif
