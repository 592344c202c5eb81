#include "lib/common/buffer.h"

#include <stdint.h>

/* A first allocation has at least this many bytes, so that short texts need no second one. */
enum { BYTES_MIN = 64 };

/* Changes the capacity of the array; the new capacity is not 0. The pointer is copied by memcpy,
 * because C does not allow access to a pointer of another type through a void **. */
static int resize(void *array, size_t capacity, size_t each, struct fail *why)
{
    size_t bytes;
    void *at, *grown = NULL;
    memcpy(&at, array, sizeof at);
    if (!__builtin_mul_overflow(capacity, each, &bytes) && bytes <= PTRDIFF_MAX)
        grown = realloc(at, bytes);
    if (!grown) return fail(why, "out of memory");
    memcpy(array, &grown, sizeof grown);
    return 0;
}

int buffer_grow(void *array, size_t *capacity, size_t used, size_t more, size_t each,
                struct fail *why)
{
    size_t wanted, twice, min = BYTES_MIN / each + 1;
    if (__builtin_add_overflow(used, more, &wanted)) return fail(why, "out of memory");
    if (*capacity && wanted <= *capacity) return 0;
    if (!__builtin_mul_overflow(*capacity, 2, &twice) && wanted < twice) wanted = twice;
    if (wanted < min) wanted = min;
    if (resize(array, wanted, each, why)) return -1;
    *capacity = wanted;
    return 0;
}

int buffer_fit_sized(void *array, size_t *capacity, size_t wanted, size_t each, struct fail *why)
{
    if (*capacity && wanted <= *capacity) return 0;
    if (resize(array, wanted ? wanted : 1, each, why)) return -1;
    *capacity = wanted ? wanted : 1;
    return 0;
}

int buffer_extend_sized(void *array, size_t count, size_t each, struct fail *why)
{
    size_t capacity;
    if (count && (count < BUFFER_FIRST || count & (count - 1))) return 0;
    if (!count) return resize(array, BUFFER_FIRST, each, why);
    if (__builtin_mul_overflow(count, 2, &capacity)) return fail(why, "out of memory");
    return resize(array, capacity, each, why);
}
