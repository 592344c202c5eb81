/* rng.h - random numbers that depend on a key and an index, not on the order in which they are
 * drawn. */
#ifndef LONGQLORA_RNG_H
#define LONGQLORA_RNG_H

#include <stddef.h>
#include <stdint.h>

/* 64 uniform bits. A pure function of its three arguments. */
uint64_t rng_bits(uint64_t key, uint64_t high, uint64_t low);

/* The random number of element i of the tensor numbered `stream`: rng_uniform is uniform in [0, 1)
 * with 24 bits, rng_normal is standard normal (Box-Muller). */
float rng_uniform(uint64_t key, uint64_t stream, uint64_t i);
float rng_normal(uint64_t key, uint64_t stream, uint64_t i);

/* A key for one purpose, derived from a seed and the purpose's name. */
uint64_t rng_key(uint64_t seed, const char *purpose);

/* Fills order[0..n) with a permutation of 0..n-1 that depends only on key: the numbers 0..n-1 in
 * ascending order of rng_bits(key, 0, number). Returns -1 if memory runs out. */
int rng_permutation(uint64_t key, uint64_t *order, size_t n) __attribute__((warn_unused_result));

#endif
