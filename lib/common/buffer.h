/* buffer.h - arrays that grow. Nothing else in the programs calls realloc (tests/house).
 *
 * An array is a pointer and a capacity in elements, both 0 at first. The caller stores both in
 * variables of its own, and frees the array. The functions return 0, or -1 with "out of memory",
 * also if the size does not fit in a size_t. A call that fails leaves the array as it was. After a
 * call that succeeds the array is not NULL, even if it has no elements.
 *
 *     struct { uint32_t *at; size_t count, capacity; } ids = { 0 };
 *     if (buffer_reserve(&ids.at, &ids.capacity, ids.count, n, why)) return -1;
 *     memcpy(ids.at + ids.count, more, n * sizeof *more);
 *     ids.count += n;
 */
#ifndef LONGQLORA_BUFFER_H
#define LONGQLORA_BUFFER_H

#include "lib/common/fail.h"

#include <stddef.h>

/* Makes space for `more` elements after the first `used`. The capacity doubles at least, so that
 * appending n elements copies each of them a constant number of times. */
#define buffer_reserve(array, capacity, used, more, why)                                           \
    buffer_reserve_sized((array), (capacity), (used), (more), sizeof **(array), (why))

/* Makes space for exactly `wanted` elements. It is for content whose size is known beforehand. */
#define buffer_fit(array, capacity, wanted, why)                                                   \
    buffer_fit_sized((array), (capacity), (wanted), sizeof **(array), (why))

/* Makes space for one element after the first `count`, in an array that only this macro allocates.
 * No capacity is stored, because it follows from the count: the next power of two, but at least
 * BUFFER_FIRST. */
#define buffer_extend(array, count, why)                                                           \
    buffer_extend_sized((array), (size_t)(count), sizeof **(array), (why))

enum { BUFFER_FIRST = 8 }; /* elements in the first allocation of buffer_extend */

/* The functions behind the macros. `array` is the address of the pointer, `each` the size of an
 * element. Only buffer_reserve_sized calls buffer_grow. */
int buffer_grow(void *array, size_t *capacity, size_t used, size_t more, size_t each,
                struct fail *why) MUST_USE;
int buffer_fit_sized(void *array, size_t *capacity, size_t wanted, size_t each,
                     struct fail *why) MUST_USE;
int buffer_extend_sized(void *array, size_t count, size_t each, struct fail *why) MUST_USE;

/* This function is inline, because most calls need no more space. */
MUST_USE static inline int buffer_reserve_sized(void *array, size_t *capacity, size_t used,
                                                size_t more, size_t each, struct fail *why)
{
    if (used < *capacity && more <= *capacity - used) return 0;
    return buffer_grow(array, capacity, used, more, each, why);
}

#endif
