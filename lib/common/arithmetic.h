/* arithmetic.h - operations on whole numbers that C lacks. */
#ifndef LONGQLORA_ARITHMETIC_H
#define LONGQLORA_ARITHMETIC_H

#include <stdint.h>

static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
/* Returns n / size, rounded up. n is not negative, size is positive. */
static inline int64_t ceil_div(int64_t n, int64_t size) { return (n + size - 1) / size; }

#endif
