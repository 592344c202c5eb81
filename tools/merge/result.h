/* result.h - lists the tensors of a merged model: those of the base, in their order, then the
 * biases.
 */
#ifndef LONGQLORA_MERGE_RESULT_H
#define LONGQLORA_MERGE_RESULT_H

#include "tools/merge/biases.h"
#include "tools/merge/parts.h"

struct result {
    struct tensor *table; /* [count] the tensors of the model with its adapters (tensors_list) */
    enum dtype *dtypes;   /* [count] the type of each tensor */
    struct bias *biases;
    /* [count + bias_count] the headers of the tensors, then of the biases. */
    struct tensor_header *headers;
    int64_t count, bias_count;
};

/* Lists the tensors of the result in the type `dtype`: f32, f16 or bf16. With any other value each
 * tensor keeps its type, but a quantized tensor (NF4 or GGUF) gets the type that the config names
 * (weights_config_type). Enters the biases in the model's config. result_release frees the result,
 * also after a failure. */
int result_list(struct result *r, const struct loaded *l, const struct parts *parts,
                const char *dtype, struct fail *why) MUST_USE;
void result_release(struct result *r);

#endif
