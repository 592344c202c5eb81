/* check.h - shared by the tests: seeded random numbers, guarded buffers, and comparison of results
 * with a bound.
 */
#ifndef LONGQLORA_CHECK_H
#define LONGQLORA_CHECK_H

/* Included before cmocka, because cmocka defines a fail() that replaces ours in the tests. */
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

/* Returns $BACKEND, by default "cpu". */
const char *check_device(void);
/* Returns $SEED, or a fixed seed. It is printed once. */
uint64_t check_seed(void);
/* Returns a random number, uniform in [-1, 1). */
double check_random(void);
/* Returns a random integer, uniform in [0, n). */
int64_t check_below(int64_t n);

/* The functions that allocate and release buffers. NULL means the heap. */
extern void *(*check_memory)(size_t bytes);
extern void (*check_release)(void *mem, size_t bytes);
/* Both return floats between guard values. check_guards fails if a guard was overwritten. */
float *check_buffer(size_t count);
float *check_random_buffer(size_t count);
void check_guards(const float *buffer);
void check_free_all(void); /* checks the guards of every buffer first */

/* Fails unless |got − exact| is within `bound` times the largest |exact| (at least 1e-30) for every
 * value. With BACKEND=cpu-bf16 the bound is wider. NaN and infinity always fail. */
void check_close(const char *what, const float *got, const double *exact, size_t count,
                 double bound);

/* A slow reference is compiled for several instruction sets, and the best one for this CPU is used.
 */
#if defined __x86_64__ && defined __OPTIMIZE__ && !defined __clang__ && !defined __SANITIZE_THREAD__
#define REFERENCE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define REFERENCE
#endif

/* Computes the gradient by central differences of a scalar function of x[count], in double. */
void check_gradient(double (*loss)(void *arg, const double *x), void *arg, const double *x,
                    size_t count, double *gradient);
/* The same for a function that is linear in each single value of x. Then one step gives the exact
 * gradient. */
void check_linear_gradient(double (*loss)(void *arg, const double *x), void *arg, const double *x,
                           size_t count, double *gradient);

double *check_doubles(const float *from, size_t count);

#endif
