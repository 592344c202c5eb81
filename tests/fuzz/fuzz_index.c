/* Reads a model.safetensors.index.json beside two valid shards. */
#include "lib/common/output.h"
#include "lib/llama/model_files.h"
#include "lib/tensorfile/safetensors.h"
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

static char directory[] = "/tmp/longqlora-fuzz-XXXXXX";

static void remove_directory(void)
{
    static const char *const names[] = { "a.safetensors", "b", "model.safetensors.index.json" };
    char path[120];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    if (rmdir(directory)) perror(directory);
}

static void make_shard(const char *name, const char *tensor)
{
    struct fail why;
    struct safetensors_writer *w;
    char path[120];
    const struct tensor_header header = { tensor, DTYPE_U8, 1, { 3 } };
    snprintf(path, sizeof path, "%s/%s", directory, name);
    must(!safetensors_create(&w, path, &header, 1, &why));
    must(!safetensors_put(w, "abc", 3, &why) && !safetensors_finish(w, &why));
}

static void make_directory(void)
{
    struct fail why;
    char path[120];
    must(mkdtemp(directory));
    atexit(remove_directory);
    make_shard("a.safetensors", "x");
    make_shard("b", "y");
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
    must(!output_text(path, "{}", &why));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *index;
    struct fail why;
    struct model_files files;
    if (!index) {
        char path[120];
        make_directory();
        snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
        index = fopen(path, "w");
        must(index);
    }
    rewind(index);
    must(!ftruncate(fileno(index), 0));
    must(fwrite(data, 1, size, index) == size && !fflush(index));
    if (model_files_open(&files, directory, &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    for (size_t i = 0; i < files.count; i++)
        for (size_t j = 0; j < files.at[i].count; j++)
            must(model_files_find(&files, files.at[i].at[j].name));
    model_files_close(&files);
    return 0;
}
