/* safetensors.h - reads and writes the safetensors format: the length of the header as u64, a JSON
 * header, tensor data.
 *
 * Source: https://github.com/huggingface/safetensors. Reading maps the file and trusts nothing in
 * it: every range must lie in the file and match its dtype and shape, and the ranges must cover the
 * data without overlap or gap. A file that is written is complete or absent. Its shapes must be
 * known beforehand, because the header comes first.
 */
#ifndef LONGQLORA_TENSORFILE_SAFETENSORS_H
#define LONGQLORA_TENSORFILE_SAFETENSORS_H

#include "lib/common/digest.h"
#include "lib/tensorfile/tensor_file.h"

#include <stdbool.h>

enum { SAFETENSORS_HEADER_MAX = 100 << 20 };

/* Maps a file and reads its header. The caller closes it with tensor_file_close. */
int safetensors_open(struct tensor_file *file, const char *path, struct fail *why) MUST_USE;

struct tensor_header {
    const char *name;
    enum dtype dtype;
    int dims;
    int64_t shape[TENSOR_DIMS_MAX];
};

uint64_t tensor_header_bytes(const struct tensor_header *t); /* bytes of the tensor's data */

struct safetensors_writer;

/* Begins a file. The caller then puts the data of all tensors in the order of the headers. The
 * header's metadata are "format": "pt", which transformers requires, and "made_by": "longqlora".
 * Fails, without a file, if two tensors have one name or a name is not UTF-8. */
int safetensors_create(struct safetensors_writer **w, const char *path,
                       const struct tensor_header *tensors, size_t count,
                       struct fail *why) MUST_USE;
/* Appends bytes of tensor data. A tensor may take several calls. */
int safetensors_put(struct safetensors_writer *w, const void *data, size_t bytes,
                    struct fail *why) MUST_USE;
/* Completes the file and releases the writer. Aborts if fewer bytes were put than the headers
 * say. */
int safetensors_finish(struct safetensors_writer *w, struct fail *why) MUST_USE;
/* Writes the XXH3-128 hash of the file. Call it after all data were put, and before
 * safetensors_finish. */
void safetensors_digest(const struct safetensors_writer *w, char digest[DIGEST_TEXT]);
/* Removes the file and releases the writer. NULL is allowed. */
void safetensors_abandon(struct safetensors_writer *w);

#endif
