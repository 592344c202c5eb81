/* safetensors.h - the safetensors format: u64 length, JSON header, tensors.
 *
 * Reading maps the file; nothing in it is trusted: every range must lie in the
 * file, match dtype and shape, and the ranges must cover the data without overlap
 * or gap. Writing is whole or absent, and needs all shapes beforehand.
 */
#ifndef LONGQLORA_SAFETENSORS_H
#define LONGQLORA_SAFETENSORS_H

#include "fail.h"

#include <stdint.h>

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_U8 };

enum { SAFETENSORS_HEADER_MAX = 100 << 20, SAFETENSORS_DIMS_MAX = 8, SAFETENSORS_NAME_MAX = 255 };

size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype); /* as safetensors spells it */
int dtype_parse(const char *name, enum dtype *dtype);

struct stored_tensor {
    char *name;
    enum dtype dtype;
    int dims;
    int64_t shape[SAFETENSORS_DIMS_MAX];
    const void *data; /* in the mapping */
    size_t bytes;
};

struct safetensors {
    struct stored_tensor *at;
    size_t count;
    void *map;
    size_t map_bytes;
};

int safetensors_open(struct safetensors *file, const char *path, struct fail *why) MUST_USE;
void safetensors_close(struct safetensors *file);
const struct stored_tensor *safetensors_find(const struct safetensors *file, const char *name);

struct tensor_header {
    const char *name;
    enum dtype dtype;
    int dims;
    int64_t shape[SAFETENSORS_DIMS_MAX];
};

struct safetensors_writer;

/* Tensors are then to be written in the order of the headers. */
int safetensors_create(struct safetensors_writer **w, const char *path,
                       const struct tensor_header *tensors, size_t count,
                       struct fail *why) MUST_USE;
/* Appends bytes of tensor data; any number of calls. */
int safetensors_put(struct safetensors_writer *w, const void *data, size_t bytes,
                    struct fail *why) MUST_USE;
/* Completes the file; aborts if the sizes do not add up. */
int safetensors_finish(struct safetensors_writer *w, struct fail *why) MUST_USE;
void safetensors_abandon(struct safetensors_writer *w);

#endif
