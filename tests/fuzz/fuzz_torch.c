/* Reads zip files of torch.save. All tensors of an accepted file must lie in it. */
#include "lib/tensorfile/torch_file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct tensor_file file;
    if (torch_open(&file, fuzz_file(0, data, size), &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    fuzz_check_tensors(&file);
    tensor_file_close(&file);
    return 0;
}
