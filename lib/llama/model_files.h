/* model_files.h - opens the files with the tensors of a Hugging Face model directory.
 *
 * These are model.safetensors, or the shards in its index; otherwise pytorch_model.bin, or the
 * shards in its index. All shards are opened and checked before any tensor is used.
 *
 * A model that was saved without its head (LlamaModel) has tensor names without the prefix
 * "model.". transformers adds the prefix, and so do these functions. So each tensor has only one
 * name.
 */
#ifndef LONGQLORA_MODEL_FILES_H
#define LONGQLORA_MODEL_FILES_H

#include "lib/tensorfile/tensor_file.h"

enum { MODEL_SHARDS_MAX = 4096 };

struct model_files {
    struct tensor_file *at;
    size_t count;
    bool is_headless; /* the stored names lack "model." */
};

/* Opens the files. The caller calls model_files_close. */
int model_files_open(struct model_files *m, const char *directory, struct fail *why) MUST_USE;
void model_files_close(struct model_files *m);
/* Returns the names of the files that model_files_open opens, with the index if there is one; an
 * empty array if there are none. NULL on failure. The caller calls json_decref. */
json_t *model_files_names(const char *directory, struct fail *why);
/* Does the directory contain such files? */
bool model_files_exist(const char *directory);
/* Finds a tensor by its full name. Returns NULL if it is missing. The result is valid until
 * model_files_close. */
const struct stored_tensor *model_files_find(const struct model_files *m, const char *name);
/* Returns the full name of a tensor that is stored as `stored`. If the two differ, the result is in
 * buffer. */
const char *model_files_name(const struct model_files *m, const char *stored,
                             char buffer[TENSOR_NAME_MAX + 8]);
/* The sum of the bytes of the files. */
uint64_t model_files_bytes(const struct model_files *m);

#endif
