/* Reads pickles of state dicts, without the zip file around them. */
#include "lib/tensorfile/pickle.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct pickled_tensor *list;
    size_t count;
    if (pickle_tensors(data, size, &list, &count, &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        must(list[i].name && list[i].storage && list[i].dims <= TENSOR_DIMS_MAX);
    pickle_release(list, count);
    return 0;
}
