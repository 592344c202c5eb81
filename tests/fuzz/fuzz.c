#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_file(int number, const void *data, size_t size)
{
    static int fd[2] = { -1, -1 };
    static char path[2][40];
    if (fd[number] < 0) {
        fd[number] = memfd_create("fuzz", 0);
        must(fd[number] >= 0);
        snprintf(path[number], sizeof path[number], "/proc/self/fd/%d", fd[number]);
    }
    must(!ftruncate(fd[number], 0));
    must(pwrite(fd[number], data, size, 0) == (ssize_t)size);
    return path[number];
}

void fuzz_check_failure(const struct fail *why)
{
    must(why->text[0] && strlen(why->text) < sizeof why->text);
    must(why->status == STATUS_INPUT || why->status == STATUS_USAGE ||
         why->status == STATUS_FAILED);
}

void fuzz_check_tensors(const struct tensor_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        const struct stored_tensor *t = &file->at[i];
        const char *begin = file->map, *at = t->data;
        size_t bytes = dtype_size(t->dtype);
        for (int d = 0; d < t->dims; d++)
            bytes *= (size_t)t->shape[d];
        must(at >= begin && t->bytes <= (size_t)(begin + file->map_bytes - at));
        must(bytes == t->bytes && tensor_file_find(file, t->name) == t);
    }
}
