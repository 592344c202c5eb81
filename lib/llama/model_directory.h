/* model_directory.h - writing a Hugging Face model directory that loads unedited elsewhere. */
#ifndef LONGQLORA_LLAMA_MODEL_DIRECTORY_H
#define LONGQLORA_LLAMA_MODEL_DIRECTORY_H

#include "lib/common/output_dir.h"
#include "lib/llama/companions.h"
#include "lib/llama/config.h"
#include "lib/llama/tensors.h"
#include "lib/tensorfile/safetensors.h"

/* Writes the data of one tensor with safetensors_put; called in order. */
typedef int model_directory_produce(void *arg, int64_t index, struct safetensors_writer *w,
                                    struct fail *why);

struct model_directory_job {
    const struct config *config;
    const struct tensor_header *headers;
    int64_t count;
    model_directory_produce *produce;
    void *arg;
    enum dtype dtype;                    /* config.json's torch_dtype */
    const struct companions *companions; /* tokenizer and licence files; may be NULL */
    uint64_t max_shard_bytes;            /* of tensors; a larger one is alone in its shard */
    bool new_style_rope;                 /* see config_to_json */
    bool whole_positions; /* max_position_embeddings is the context after stretching */
    const char *made_by;  /* "merge" or "quantize", which replace what they made (made.h); NULL:
                           * nothing replaces it */
    const json_t *quantization; /* config.json's quantization_config, read after the last tensor
                                 * was produced; may be NULL */
};

/* The header of a model's tensor, whose name it is. */
struct tensor_header model_directory_header(const struct tensor *t, enum dtype dtype);
/* Headers of a model's tensors; dtypes NULL: all f32. The caller frees; NULL out of memory.
 * Names are the table's. */
struct tensor_header *model_directory_headers(const struct tensor *table, int64_t count,
                                              const enum dtype *dtypes);
/* Bytes of all tensors. */
uint64_t model_directory_bytes(const struct model_directory_job *job);

/* Writes into a directory that is there: shards (model.safetensors alone, or numbered
 * ones and their index), the other files, and config.json last: where it stands, all is
 * there. */
int model_directory_write(const char *path, const struct model_directory_job *job,
                          struct fail *why) MUST_USE;
/* Makes a directory of nothing else, whole or not at all; replaces one that merge or quantize made
 * and nobody changed since, and nothing else. Fails before anything is written if the disk has not
 * the room. */
int model_directory_make(const char *path, const struct model_directory_job *job,
                         struct fail *why) MUST_USE;

/* Names that model_directory_write writes. */
bool model_directory_holds(const char *name);
/* Directories that model_directory_make replaces: see made_check. */
extern const struct folder_kind model_directory_kind;

/* Before any work: the path that the user gave with that option ("-o ") is to become a directory.
 * Fails where model_directory_make would, and where the path is an input. */
int model_directory_declare(const char *option, const char *path, struct fail *why) MUST_USE;
const char *model_directory_torch_dtype(enum dtype dtype); /* float32 and so on */

#endif
