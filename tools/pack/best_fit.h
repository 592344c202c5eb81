/* best_fit.h - best-fit decreasing bin packing: chooses which pieces share a sample (Ding et al.
 * 2024, arXiv 2404.10830, section 3).
 */
#ifndef LONGQLORA_BEST_FIT_H
#define LONGQLORA_BEST_FIT_H

#include "lib/common/fail.h"

#include <stdint.h>

/* Takes the pieces from the longest to the shortest; pieces of equal length keep their order. Each
 * piece goes into the bin with the smallest sufficient free space, or opens a new bin. lengths [n]
 * are from 1 to `space`. bin [n] gets the number of each piece's bin; bins are numbered in the
 * order in which they are opened. Takes time n log(space). Returns the number of bins, or -1. */
int64_t best_fit(const uint32_t *lengths, size_t n, uint32_t space, uint32_t *bin,
                 struct fail *why) MUST_USE;

#endif
