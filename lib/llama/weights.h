/* weights.h - one loader for every source of a model's weights.
 *
 * A Hugging Face directory (safetensors, one file or shards with an index) is
 * mapped; a weights stream (our NF4) is read into memory. Either is checked against
 * the table of tensors before anything is computed.
 */
#ifndef LONGQLORA_WEIGHTS_H
#define LONGQLORA_WEIGHTS_H

#include "../../kernels/kernels.h"
#include "../common/record_weights.h"
#include "../common/safetensors.h"
#include "tensors.h"

struct weight {
    enum weight_type type;
    const void *data;
    const uint8_t *absmax; /* NF4 */
    const float *nested;
    float offset;
};

struct weights {
    struct config config;
    struct tensor *table;
    struct weight *at; /* at[i] is table[i] */
    int64_t count;
    bool is_quantized;
    char base[STREAM_DIGEST_TEXT];      /* over names, dtypes, shapes, data of the source */
    char tokenizer[STREAM_DIGEST_TEXT]; /* of tokenizer.model; empty if there is none */
    char stream[STREAM_DIGEST_TEXT];    /* of the weights stream; empty for a directory */
    struct safetensors *files;
    size_t file_count;
    void **copies; /* of tensors that lie unaligned in their file */
    size_t copy_count;
    char *memory; /* of a stream's tensors */
    size_t memory_bytes;
};

/* path: a directory, a stream's file, or "-". with_base: compute the digest of a
 * directory, which reads all of it. */
int weights_open(struct weights *w, const char *path, bool with_base, struct fail *why) MUST_USE;
/* Is it a directory, not a stream? */
bool weights_are_directory(const char *path);
/* Shapes and types only, for model_plan: the same, or a config.json, or its directory without
 * weights. as_nf4: linears as quantize would store them. Data are not there. */
int weights_outline(struct weights *w, const char *path, bool as_nf4, struct fail *why) MUST_USE;
void weights_close(struct weights *w);

size_t weight_type_bits(enum weight_type type);      /* an element; 4 for NF4's codes */
const char *weight_type_name(enum weight_type type); /* as streams spell it */

/* XXH3-128 of a file's bytes, in hex. */
int digest_file(const char *path, char digest[STREAM_DIGEST_TEXT], struct fail *why) MUST_USE;

#endif
