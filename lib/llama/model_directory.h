/* model_directory.h - writes a Hugging Face model directory, which other programs can load. */
#ifndef LONGQLORA_LLAMA_MODEL_DIRECTORY_H
#define LONGQLORA_LLAMA_MODEL_DIRECTORY_H

#include "lib/common/output_dir.h"
#include "lib/llama/companions.h"
#include "lib/llama/config.h"
#include "lib/llama/tensors.h"
#include "lib/tensorfile/safetensors.h"

/* A function that writes the data of tensor `index` with safetensors_put. It is called once for
 * each tensor, in order. */
typedef int model_directory_produce(void *arg, int64_t index, struct safetensors_writer *w,
                                    struct fail *why);

struct model_directory_job {
    const struct config *config;
    const struct tensor_header *headers;
    int64_t count;
    model_directory_produce *produce;
    void *arg;
    enum dtype dtype;                    /* torch_dtype in config.json */
    const struct companions *companions; /* the files of the tokenizer and licence; may be NULL */
    /* Bytes of the tensors in a shard; a larger tensor gets a shard of its own. */
    uint64_t max_shard_bytes;
    bool new_style_rope;  /* see config_to_json */
    bool whole_positions; /* max_position_embeddings becomes the context after position scaling */
    /* "merge" or "quantize": the program that makes the directory and may replace it later
     * (provenance.h). NULL if no program may replace it. */
    const char *made_by;
    /* quantization_config for config.json, used after the last tensor was written; may be NULL */
    const json_t *quantization;
};

/* Returns the header of a tensor. Its name points to t->name. */
struct tensor_header model_directory_header(const struct tensor *t, enum dtype dtype);
/* Returns the headers of a model's tensors, which the caller frees; NULL if memory runs out.
 * dtypes[count] are their types; NULL means all f32. The names point into the table. */
struct tensor_header *model_directory_headers(const struct tensor *table, int64_t count,
                                              const enum dtype *dtypes);

/* Writes into an existing directory: model.safetensors, or numbered shards and their index; the
 * other files; and, as the last, config.json. So a directory with a config.json is complete. */
int model_directory_write(const char *path, const struct model_directory_job *job,
                          struct fail *why) MUST_USE;
/* Makes a new directory with only these files. It gets its name only when it is complete. Replaces
 * an existing directory only if merge or quantize made it and nobody has changed it. Fails before
 * it writes anything if the disk has too little space. */
int model_directory_make(const char *path, const struct model_directory_job *job,
                         struct fail *why) MUST_USE;

/* Is this the name of a file that model_directory_write writes? */
bool model_directory_holds(const char *name);
/* The kind of directories that model_directory_make replaces; see provenance_check. */
extern const struct folder_kind model_directory_kind;

/* Declares, before any work, a path at which a directory will be made. `option` is the option with
 * the path, such as "-o ". Fails if model_directory_make would fail, or if the path is an input. */
int model_directory_declare(const char *option, const char *path, struct fail *why) MUST_USE;
const char *model_directory_torch_dtype(enum dtype dtype); /* "float32" and so on */

#endif
