/* result.h - the tensors of a merged model: the base's in their order, then the biases.
 */
#ifndef LONGQLORA_MERGE_RESULT_H
#define LONGQLORA_MERGE_RESULT_H

#include "tools/merge/biases.h"
#include "tools/merge/parts.h"

struct result {
    struct tensor *table; /* [count] the tensors of the model with its adapters (tensors_list) */
    enum dtype *dtypes;   /* [count] the type of each of them */
    struct bias *biases;
    struct tensor_header *headers; /* [count + bias_count] the tensors' headers, then the biases' */
    int64_t count, bias_count;
};

/* dtype is f32, f16 or bf16. Any other value keeps each tensor's type; an NF4 tensor, or a
 * quantized one of a GGUF, gets the type that the model had before it was quantized. Enters the
 * biases in the model's config. result_release frees the result, also after a failure. */
int result_list(struct result *r, const struct loaded *l, const struct parts *parts,
                const char *dtype, struct fail *why) MUST_USE;
void result_release(struct result *r);

#endif
