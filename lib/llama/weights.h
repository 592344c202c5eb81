/* weights.h - one loader for every source of a model's weights.
 *
 * A Hugging Face directory (safetensors or pytorch_model.bin, bitsandbytes' 4-bit
 * linears too) is mapped; a weights stream (our NF4) is read into memory. Either is
 * checked against the table of tensors before anything is computed.
 */
#ifndef LONGQLORA_WEIGHTS_H
#define LONGQLORA_WEIGHTS_H

#include "lib/llama/bnb.h"
#include "lib/llama/model_files.h"
#include "lib/stream/weights_record.h"

struct weights {
    struct config config;
    struct tensor *table;
    struct weight *at; /* at[i] is table[i] */
    int64_t count;
    int64_t source_count; /* of those the source has: all, but for a head that was untied */
    bool is_quantized;
    char base[STREAM_DIGEST_TEXT];      /* over names, dtypes, shapes, data of the source */
    char tokenizer[STREAM_DIGEST_TEXT]; /* of its file; empty if there is none */
    char stream[STREAM_DIGEST_TEXT];    /* of the weights stream; empty for a directory */
    uint64_t bytes;                     /* of the files or the stream */
    double seconds;                     /* that opening them took */
    bool was_read;                      /* all of it */
    bool is_mapped;                     /* its files, but for what was copied */
    struct model_files files;
    void **copies; /* memory: of a stream's tensors, and of what lies unaligned in its file */
    size_t copy_count;
    uint64_t copied; /* bytes of it */
};

/* path: a directory, a stream's file, or "-". with_base: compute the digest of a
 * directory, which reads all of it. */
int weights_open(struct weights *w, const char *path, bool with_base, struct fail *why) MUST_USE;
/* The same; of a stream, once its header was read and before anything else is: calls `check` with
 * the shapes and types that are to come, which it may change (weights_untie). */
typedef int weights_check(void *arg, struct weights *outline, struct fail *why);
int weights_open_checked(struct weights *w, const char *path, bool with_base, weights_check *check,
                         void *arg, struct fail *why) MUST_USE;
/* Is it a directory, not a stream? */
bool weights_are_directory(const char *path);
/* By its config.json: 1 bitsandbytes' NF4, 0 not quantized, -1 see why. */
int weights_directory_is_nf4(const char *path, struct fail *why) MUST_USE;
/* Shapes and types only, for model_plan: the same, or a config.json, or its directory without
 * weights. as_nf4: linears as quantize would store them. Data are not there. */
int weights_outline(struct weights *w, const char *path, bool as_nf4, struct fail *why) MUST_USE;
/* A tied model's head becomes a tensor of its own, which has the embedding's data: for an adapter
 * that replaces or changes only one of the two. */
int weights_untie(struct weights *w, struct fail *why) MUST_USE;
/* Gives the memory back of data that lie on a device now, where nothing reads these any more. */
void weights_forget(struct weights *w);
void weights_close(struct weights *w);

/* "3.87 GB in 2.1 s, 1.84 GB/s", or "3.87 GB mapped" where it will be read in use. */
void weights_describe(const struct weights *w, char *text, size_t size);

/* What 16- or 32-bit type the model is meant to be in, as config.json says. */
enum dtype weights_config_type(const struct config *c);

/* Of its data alone, without NF4's scales. */
size_t weight_bytes(const struct weight *w, const struct tensor *t);
/* Of NF4's: codes of absmax, none without double quantization; scales. 0 for other types. */
size_t weight_absmax_bytes(const struct weight *w, const struct tensor *t);
size_t weight_absmax_scale_bytes(const struct weight *w, const struct tensor *t);
#endif
