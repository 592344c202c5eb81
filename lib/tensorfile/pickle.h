/* pickle.h - reads the list of tensors from a state dict that torch.save has pickled.
 *
 * Source: Python's pickle format (PEP 307, PEP 3154). Nothing is executed. The reader knows the
 * opcodes that tensors need, and only the names that stand for tensors, storages and ordered dicts.
 * It refuses anything else, and the message names it.
 */
#ifndef LONGQLORA_TENSORFILE_PICKLE_H
#define LONGQLORA_TENSORFILE_PICKLE_H

#include "lib/tensorfile/tensor_file.h"

enum { PICKLE_BYTES_MAX = 64 << 20, PICKLE_VALUES_MAX = 1 << 22 };

/* A tensor is a view of a storage: element `index` is storage[offset + Σ index · stride]. The
 * storage is an entry of the zip archive. */
struct pickled_tensor {
    char *name; /* freed by pickle_release */
    /* The key of the storage's entry; points into the pickle, no terminating zero. */
    const char *storage;
    size_t storage_bytes;
    enum dtype dtype;
    int64_t storage_count, offset; /* counted in elements */
    int dims;
    int64_t shape[TENSOR_DIMS_MAX], stride[TENSOR_DIMS_MAX];
};

/* Reads the tensors of the pickle bytes[size]. The pickle must outlive *list, which the caller
 * releases with pickle_release. Fails with status 3 on a damaged or unknown pickle. */
int pickle_tensors(const void *bytes, size_t size, struct pickled_tensor **list, size_t *count,
                   struct fail *why) MUST_USE;
void pickle_release(struct pickled_tensor *list, size_t count);

#endif
