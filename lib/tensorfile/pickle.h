/* pickle.h - the tensors of a state dict that torch.save pickled.
 *
 * Reads Python's pickle format (PEP 307, PEP 3154) and executes nothing: it knows the
 * opcodes that tensors need, and of names only those that stand for tensors, storages
 * and ordered dicts. Everything else is refused by name.
 */
#ifndef LONGQLORA_TENSORFILE_PICKLE_H
#define LONGQLORA_TENSORFILE_PICKLE_H

#include "lib/tensorfile/tensor_file.h"

enum { PICKLE_BYTES_MAX = 64 << 20, PICKLE_VALUES_MAX = 1 << 22 };

/* Elements [offset + Σ index · stride] of a storage, which is an entry of the archive. */
struct pickled_tensor {
    char *name;          /* given to the caller */
    const char *storage; /* the entry's key, in the pickle; not ended by NUL */
    size_t storage_bytes;
    enum dtype dtype;
    int64_t storage_count, offset; /* in elements */
    int dims;
    int64_t shape[TENSOR_DIMS_MAX], stride[TENSOR_DIMS_MAX];
};

/* *list is given to the caller, to be released whole. */
int pickle_tensors(const void *bytes, size_t size, struct pickled_tensor **list, size_t *count,
                   struct fail *why) MUST_USE;
void pickle_release(struct pickled_tensor *list, size_t count);

#endif
