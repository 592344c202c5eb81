/* best_fit.h - best-fit decreasing: which pieces share a sample (Ding et al. 2024,
 * arXiv 2404.10830, section 3).
 */
#ifndef LONGQLORA_BEST_FIT_H
#define LONGQLORA_BEST_FIT_H

#include "lib/common/fail.h"

#include <stdint.h>

/* Longest pieces first, of equals the first one, each goes into the bin with the least room
 * that it fits in, or opens a new one. lengths [n], each 1 to room; bin [n] gets the number
 * of each one's bin, counted in the order of opening. Time n log(room). Returns the number
 * of bins, or -1. */
int64_t best_fit(const uint32_t *lengths, size_t n, uint32_t room, uint32_t *bin,
                 struct fail *why) MUST_USE;

#endif
