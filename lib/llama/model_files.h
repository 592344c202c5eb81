/* model_files.h - the files of a Hugging Face model directory that hold its tensors.
 *
 * model.safetensors, or the shards of its index; else pytorch_model.bin, or the shards
 * of its index. All shards are opened and checked before anything is read of them.
 *
 * A model without its head (LlamaModel) is stored with names that lack "model."; transformers puts
 * it before them, and so do the functions here: a tensor has one name.
 */
#ifndef LONGQLORA_MODEL_FILES_H
#define LONGQLORA_MODEL_FILES_H

#include "lib/tensorfile/tensor_file.h"

enum { MODEL_SHARDS_MAX = 4096 };

struct model_files {
    struct tensor_file *at;
    size_t count;
    bool is_headless; /* "model." is not in the stored names */
};

int model_files_open(struct model_files *m, const char *directory, struct fail *why) MUST_USE;
void model_files_close(struct model_files *m);
/* Does the directory hold such files? */
bool model_files_exist(const char *directory);
const struct stored_tensor *model_files_find(const struct model_files *m, const char *name);
/* The name, with "model.", of one that is stored as `stored`. */
const char *model_files_name(const struct model_files *m, const char *stored,
                             char buffer[TENSOR_NAME_MAX + 8]);
uint64_t model_files_bytes(const struct model_files *m);

#endif
