/* rng.h - random draws keyed by what they are for, not by when they are made. */
#ifndef LONGQLORA_RNG_H
#define LONGQLORA_RNG_H

#include <stddef.h>
#include <stdint.h>

/* 64 uniform bits, a pure function of the three arguments. */
uint64_t rng_bits(uint64_t key, uint64_t high, uint64_t low);

/* Uniform in [0, 1) with 24 bits; standard normal (Box-Muller), for element i of
 * the tensor that `stream` names. */
float rng_uniform(uint64_t key, uint64_t stream, uint64_t i);
float rng_normal(uint64_t key, uint64_t stream, uint64_t i);

/* A key for one purpose, derived from a seed and the purpose's name. */
uint64_t rng_key(uint64_t seed, const char *purpose);

/* order[0..n) becomes a permutation of 0..n-1 fixed by key: the numbers sorted by
 * rng_bits(key, 0, number). Fails without memory. */
int rng_permutation(uint64_t key, uint64_t *order, size_t n) __attribute__((warn_unused_result));

#endif
