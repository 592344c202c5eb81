#include "lib/tensorfile/tensor_file.h"

#include "lib/common/bf16.h"
#include "lib/common/file.h"
#include "lib/common/mapped.h"

#include <unistd.h>

int tensor_file_map(struct tensor_file *file, const char *path, struct fail *why)
{
    *file = (struct tensor_file){ 0 };
    uint64_t bytes;
    int fd = file_open(path, &bytes, why);
    if (fd < 0) return -1;
    if (bytes)
        file->map = mapped_open(fd, bytes, path, why);
    else
        fail_input(why, "%s: empty", path);
    close(fd);
    if (!file->map) return -1;
    file->map_bytes = bytes;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct stored_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int tensor_file_sort(struct tensor_file *file, struct fail *why)
{
    if (file->count) qsort(file->at, file->count, sizeof *file->at, by_name);
    for (size_t i = 1; i < file->count; i++)
        if (!strcmp(file->at[i - 1].name, file->at[i].name))
            return fail_input(why, "%s occurs twice", file->at[i].name);
    return 0;
}

const struct stored_tensor *tensor_file_find(const struct tensor_file *file, const char *name)
{
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->at[middle].name);
        if (!order) return &file->at[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

void tensor_file_close(struct tensor_file *file)
{
    for (size_t i = 0; i < file->count; i++)
        free(file->at[i].name);
    free(file->at);
    mapped_close(file->map, file->map_bytes);
    *file = (struct tensor_file){ 0 };
}

void stored_tensor_describe(const struct stored_tensor *t, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s [", dtype_name(t->dtype));
    for (int i = 0; i < t->dims && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ", %lld" : "%lld",
                                 (long long)t->shape[i]);
    if (used < size) snprintf(text + used, size - used, "]");
}

static float value_at(const struct stored_tensor *s, size_t i)
{
    const char *at = (const char *)s->data + i * dtype_size(s->dtype);
    uint16_t half;
    float whole;
    if (s->dtype == DTYPE_F32) {
        memcpy(&whole, at, sizeof whole);
        return whole;
    }
    memcpy(&half, at, sizeof half);
    return s->dtype == DTYPE_F16 ? f16_to_float(half) : bf16_to_float(half);
}

bool stored_tensor_equal(const struct stored_tensor *a, const struct stored_tensor *b)
{
    if (a->dims != b->dims || memcmp(a->shape, b->shape, sizeof a->shape) != 0) return false;
    if (a->dtype == b->dtype) return a->data == b->data || !memcmp(a->data, b->data, a->bytes);
    if (!dtype_is_float(a->dtype) || !dtype_is_float(b->dtype)) return false;
    for (size_t i = 0; i < a->bytes / dtype_size(a->dtype); i++)
        if (value_at(a, i) != value_at(b, i)) return false;
    return true;
}
