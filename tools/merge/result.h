/* result.h - what a merged model holds: the base's tensors in their order, and biases after them.
 */
#ifndef LONGQLORA_MERGE_RESULT_H
#define LONGQLORA_MERGE_RESULT_H

#include "tools/merge/biases.h"
#include "tools/merge/parts.h"

struct result {
    struct tensor *table; /* as many as the weights have */
    enum dtype *dtypes;   /* of the table's */
    struct bias *biases;
    struct tensor_header *headers; /* the table's, then the biases' */
    int64_t count, bias_count;
};

/* dtype: f32, f16 or bf16; anything else keeps each tensor's, and what was NF4 becomes what the
 * model was in before. Names the biases in the model's config. result_release frees, after a
 * failure too. */
int result_list(struct result *r, const struct loaded *l, const struct parts *parts,
                const char *dtype, struct fail *why) MUST_USE;
void result_release(struct result *r);

#endif
