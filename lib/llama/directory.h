/* directory.h - writing a Hugging Face model directory that loads unedited elsewhere. */
#ifndef LONGQLORA_DIRECTORY_H
#define LONGQLORA_DIRECTORY_H

#include "../common/safetensors.h"
#include "config.h"
#include "tensors.h"

/* Writes the data of one tensor with safetensors_put; called in order. */
typedef int directory_produce(void *arg, int64_t index, struct safetensors_writer *w,
                              struct fail *why);

struct directory_job {
    const struct config *config;
    const struct tensor *table;
    int64_t count;
    const enum dtype *dtypes; /* [count] */
    directory_produce *produce;
    void *arg;
    const char *copy_from; /* tokenizer and licence files come from here; may be NULL */
    uint64_t max_shard_bytes;
    bool new_style_rope;
};

/* Creates the directory, writes shards (model.safetensors alone, or numbered ones and
 * their index), the other files, and config.json last: where it stands, all is there. */
int directory_write(const char *path, const struct directory_job *job, struct fail *why) MUST_USE;

/* Copies tokenizer.model and the like. */
int directory_copy_files(const char *from, const char *to, struct fail *why) MUST_USE;

#endif
