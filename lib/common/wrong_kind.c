#include "lib/common/wrong_kind.h"

#define UNPACK "unpack it, and name what was in it"
#define FETCH_AGAIN "a download that failed may have left it: fetch the file again"
#define ORIGINAL                                                                                   \
    "llama.cpp's old weights: fetch the model from which they were made, with its config.json"

static const struct {
    enum file_kind kind;
    const char *way;
} ways[] = {
    { FILE_KIND_LFS_POINTER, "run git lfs pull in the folder that was cloned" },
    { FILE_KIND_HTML, FETCH_AGAIN },
    { FILE_KIND_XML, FETCH_AGAIN },
    { FILE_KIND_GGUF, "llama.cpp's weights: name that file instead of the folder" },
    { FILE_KIND_GGML, ORIGINAL },
    { FILE_KIND_HDF5, "TensorFlow's weights, perhaps: transformers 4 reads them with from_tf=True "
                      "and stores them with save_pretrained" },
    { FILE_KIND_SAFETENSORS, "call it model.safetensors" },
    { FILE_KIND_TORCH, "call it pytorch_model.bin; one of a PyTorch before 1.6 must be loaded and "
                       "saved again" },
    { FILE_KIND_PICKLE, "load it in Python and store its tensors with safetensors" },
    { FILE_KIND_NUMPY, "load it in Python and store its tensors with safetensors" },
    { FILE_KIND_ZIP, UNPACK },
    { FILE_KIND_TAR, UNPACK },
    { FILE_KIND_7Z, UNPACK },
    { FILE_KIND_RAR, UNPACK },
    { FILE_KIND_GZIP, UNPACK },
    { FILE_KIND_XZ, UNPACK },
    { FILE_KIND_BZIP2, UNPACK },
    { FILE_KIND_LZ4, UNPACK },
    { FILE_KIND_LZIP, UNPACK },
    { FILE_KIND_ZSTD, "unpack it; if it is a stream of LongQLoRA, name the file itself" },
};

const char *wrong_kind_way_to_weights(enum file_kind kind)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (ways[i].kind == kind) return ways[i].way;
    return NULL;
}

int wrong_kind_of_weights(const void *head, size_t bytes, enum file_kind expected,
                          const char *wanted, struct fail *why)
{
    enum file_kind kind = file_kind_of(head, bytes < FILE_KIND_HEAD ? bytes : FILE_KIND_HEAD);
    const char *way = wrong_kind_way_to_weights(kind);
    /* Kinds without advice are ignored, because their magic numbers are so short that damaged
     * weights may begin with them. */
    if (!way || kind == expected || (expected == FILE_KIND_TORCH && kind == FILE_KIND_ZIP))
        return -1;
    return fail_input(why, "%s, where %s is needed: %s", file_kind_words(kind), wanted, way);
}

int wrong_kind_of_json(const void *head, size_t bytes, struct fail *why)
{
    enum file_kind kind = file_kind_of(head, bytes < FILE_KIND_HEAD ? bytes : FILE_KIND_HEAD);
    if (kind == FILE_KIND_OTHER) return -1;
    return fail_input(why, "%s, where JSON is needed: %s", file_kind_words(kind),
                      file_kind_way_to_text(kind));
}
