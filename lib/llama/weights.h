/* weights.h - opens a model's weights in any supported format.
 *
 * A Hugging Face directory is mapped: safetensors or pytorch_model.bin, also with bitsandbytes'
 * 4-bit linear layers. A GGUF file is mapped too. A weights stream (our NF4) is read into memory.
 * The tensors of each source are compared with the table of tensors before anything is computed.
 */
#ifndef LONGQLORA_WEIGHTS_H
#define LONGQLORA_WEIGHTS_H

#include "lib/llama/bnb.h"
#include "lib/llama/model_files.h"
#include "lib/stream/weights_record.h"
#include "lib/tensorfile/gguf.h"

struct weights {
    struct config config;
    struct tensor *table;
    struct weight *at; /* at[i] has the data of table[i] */
    int64_t count;
    int64_t source_count; /* how many tensors the source has, without a head that was untied */
    int64_t added_rows;   /* rows of the embedding that vocabulary_resize added */
    bool is_quantized;
    char base[STREAM_DIGEST_TEXT];      /* digest of the source's names, types, shapes and data */
    char tokenizer[STREAM_DIGEST_TEXT]; /* digest of the tokenizer's file; "" if there is none */
    char stream[STREAM_DIGEST_TEXT];    /* digest of the weights stream; "" for other sources */
    uint64_t bytes;                     /* size of the files or of the stream */
    double seconds;                     /* how long opening took */
    bool was_read;                      /* opening has read all data */
    bool is_mapped;                     /* files are mapped, although some data may be copied */
    struct model_files files;
    struct gguf gguf;           /* the GGUF file, if the source is one */
    struct packed_rows *packed; /* [count], to which at[].packed points */
    void **copies; /* allocated memory for a stream's tensors, and for unaligned data of a file */
    size_t copy_count;
    uint64_t copied; /* bytes of these copies */
};

/* Opens weights. path: a directory, a GGUF file, a stream's file, or "-". with_base: also compute
 * the digest of a directory or a GGUF, which reads all of it, unless its config.json has the digest
 * (BNB_BASE_KEY). A GGUF's quantized tensors stay packed: weights_rows gives their values. The
 * caller calls weights_close. */
int weights_open(struct weights *w, const char *path, bool with_base, struct fail *why) MUST_USE;
/* weights_open_checked opens weights so that all of them have data: a GGUF's packed tensors are
 * converted into memory. For a stream or a GGUF, check(arg, outline) is called before the data take
 * memory; check may be NULL. The outline has only shapes and types; check may change it with
 * weights_untie. */
typedef int weights_check(void *arg, struct weights *outline, struct fail *why);
int weights_open_checked(struct weights *w, const char *path, bool with_base, weights_check *check,
                         void *arg, struct fail *why) MUST_USE;
/* Returns `count` rows of tensor i, from `first` on, in the type of w->at[i]: in w's memory, or
 * converted in `buffer`, which must have space for them in f32. */
const void *weights_rows(const struct weights *w, int64_t i, int64_t first, int64_t count,
                         void *buffer);
/* Writes the advice to use quantize into text[size], for the end of a message about too little
 * memory. Writes "" unless linear layers of a GGUF are held in f32. */
void weights_advise_memory(const struct weights *w, char *text, size_t size);
/* Does this weight have quantized values of a GGUF, which are widened to f32? */
bool weight_is_widened(const struct weight *w);

/* Is the path a directory or a GGUF file, so that it may have a tokenizer and other files? */
bool weights_have_companions(const char *path);
/* Reads the directory's config.json. Returns 1 for bitsandbytes' NF4, 0 for an unquantized model,
 * and -1 with *why on failure. */
int weights_directory_is_nf4(const char *path, struct fail *why) MUST_USE;
/* Opens shapes and types only, for model_plan. path may also be a config.json, or its directory
 * without weights. as_nf4: the linear layers get the type that the tool quantize would give them.
 * The result has no data. */
int weights_outline(struct weights *w, const char *path, bool as_nf4, struct fail *why) MUST_USE;
/* Makes the tied head a tensor of its own, which shares the embedding's data, for an adapter that
 * changes only one of the two. */
int weights_untie(struct weights *w, struct fail *why) MUST_USE;
/* Frees the memory of data that were copied to a device, so that the CPU no longer reads them. */
void weights_forget(struct weights *w);
void weights_close(struct weights *w);

/* Writes "3.87 GB in 2.1 s, 1.84 GB/s" into text[size], or "3.87 GB mapped" if the data are read
 * when they are used. */
void weights_describe(const struct weights *w, char *text, size_t size);

/* Returns the 16-bit or 32-bit type that config.json gives for the model. */
enum dtype weights_config_type(const struct config *c);

/* The bytes of a weight's data, without the scales of NF4. */
size_t weight_bytes(const struct weight *w, const struct tensor *t);
/* The bytes of NF4's absmax codes (0 without double quantization) and of its f32 scales. 0 for
 * other types. */
size_t weight_absmax_bytes(const struct weight *w, const struct tensor *t);
size_t weight_absmax_scale_bytes(const struct weight *w, const struct tensor *t);
#endif
