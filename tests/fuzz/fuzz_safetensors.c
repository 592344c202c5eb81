/* safetensors files: what is accepted lies in the file. */
#include "../../lib/common/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct tensor_file file;
    if (safetensors_open(&file, fuzz_file(0, data, size), &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    for (size_t i = 0; i < file.count; i++) {
        const struct stored_tensor *t = &file.at[i];
        const char *begin = file.map, *at = t->data;
        size_t bytes = dtype_size(t->dtype);
        for (int d = 0; d < t->dims; d++)
            bytes *= (size_t)t->shape[d];
        must(at >= begin && t->bytes <= (size_t)(begin + file.map_bytes - at));
        must(bytes == t->bytes && tensor_file_find(&file, t->name) == t);
    }
    tensor_file_close(&file);
    return 0;
}
