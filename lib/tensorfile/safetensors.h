/* safetensors.h - the safetensors format: u64 length, JSON header, tensors.
 *
 * Reading maps the file; nothing in it is trusted: every range must lie in the
 * file, match dtype and shape, and the ranges must cover the data without overlap
 * or gap. Writing is whole or absent, and needs all shapes beforehand.
 */
#ifndef LONGQLORA_TENSORFILE_SAFETENSORS_H
#define LONGQLORA_TENSORFILE_SAFETENSORS_H

#include "lib/common/digest.h"
#include "lib/tensorfile/tensor_file.h"

#include <stdbool.h>

enum { SAFETENSORS_HEADER_MAX = 100 << 20 };

/* Closed by tensor_file_close. */
int safetensors_open(struct tensor_file *file, const char *path, struct fail *why) MUST_USE;

struct tensor_header {
    const char *name;
    enum dtype dtype;
    int dims;
    int64_t shape[TENSOR_DIMS_MAX];
};

uint64_t tensor_header_bytes(const struct tensor_header *t); /* of its data */

struct safetensors_writer;

/* Tensors are then to be written in the order of the headers. The metadata are
 * "format": "pt", which transformers asks for, and "made_by": "longqlora". */
int safetensors_create(struct safetensors_writer **w, const char *path,
                       const struct tensor_header *tensors, size_t count,
                       struct fail *why) MUST_USE;
/* Appends bytes of tensor data; any number of calls. */
int safetensors_put(struct safetensors_writer *w, const void *data, size_t bytes,
                    struct fail *why) MUST_USE;
/* Completes the file; aborts if the sizes do not add up. */
int safetensors_finish(struct safetensors_writer *w, struct fail *why) MUST_USE;
/* The XXH3-128 of the file, once all of it was put. */
void safetensors_digest(const struct safetensors_writer *w, char digest[DIGEST_TEXT]);
void safetensors_abandon(struct safetensors_writer *w);

#endif
