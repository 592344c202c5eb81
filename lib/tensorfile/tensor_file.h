/* tensor_file.h - named tensors in a mapped file: what safetensors.h and torch_file.h
 * make of theirs.
 *
 * Nothing in such a file is trusted: every range lies in the file and matches dtype
 * and shape. Data are not copied, and may lie at any address.
 */
#ifndef LONGQLORA_TENSORFILE_TENSOR_FILE_H
#define LONGQLORA_TENSORFILE_TENSOR_FILE_H

#include "lib/common/dtype.h"
#include "lib/common/json.h"

enum { TENSOR_DIMS_MAX = 8, TENSOR_NAME_MAX = 255, TENSOR_COUNT_MAX = 1 << 20 };

struct stored_tensor {
    char *name;
    enum dtype dtype;
    int dims;
    int64_t shape[TENSOR_DIMS_MAX];
    const void *data; /* in the mapping */
    size_t bytes;
};

struct tensor_file {
    struct stored_tensor *at; /* in the order of names */
    size_t count;
    const void *map; /* mapped.h */
    size_t map_bytes;
};

/* Maps a file that is not empty. */
int tensor_file_map(struct tensor_file *file, const char *path, struct fail *why) MUST_USE;
/* Sorts at by name; fails if two are the same. */
int tensor_file_sort(struct tensor_file *file, struct fail *why) MUST_USE;
const struct stored_tensor *tensor_file_find(const struct tensor_file *file, const char *name);
void tensor_file_close(struct tensor_file *file);

/* The same shape and the same numbers, whichever of f32, f16 and bf16 they are stored in. */
bool stored_tensor_equal(const struct stored_tensor *a, const struct stored_tensor *b);

/* "F32 [2, 3]", for messages. */
void stored_tensor_describe(const struct stored_tensor *t, char *text, size_t size);

#endif
