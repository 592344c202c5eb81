/* tensor_file.h - the named tensors of a mapped file, which safetensors.h and torch_file.h open.
 *
 * The file was checked when it was opened: every range lies in it and matches dtype and shape. The
 * data are not copied, so they may be unaligned and are valid until tensor_file_close.
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
    const void *data; /* points into the mapping; row-major, little-endian */
    size_t bytes;
};

struct tensor_file {
    struct stored_tensor *at; /* sorted by name */
    size_t count;
    const void *map; /* the mapping (mapped.h); freed by tensor_file_close */
    size_t map_bytes;
};

/* Maps a file, which must not be empty. */
int tensor_file_map(struct tensor_file *file, const char *path, struct fail *why) MUST_USE;
/* Sorts the tensors by name. Fails if two have the same name. */
int tensor_file_sort(struct tensor_file *file, struct fail *why) MUST_USE;
/* Finds a tensor by name; NULL if there is none. */
const struct stored_tensor *tensor_file_find(const struct tensor_file *file, const char *name);
void tensor_file_close(struct tensor_file *file);

/* Do both have the same shape and the same values? Each may be stored in f32, f16 or bf16. */
bool stored_tensor_equal(const struct stored_tensor *a, const struct stored_tensor *b);

/* Writes "F32 [2, 3]" into text[size], for messages. */
void stored_tensor_describe(const struct stored_tensor *t, char *text, size_t size);

#endif
