/* weights_gguf.h - opens a GGUF file as weights. weights.c calls this.
 *
 * The tensors are found under the names of GGUF and checked against the table of tensors. Plain
 * numbers in transformers' order are used where they lie. Quantized tensors, and q and k whose rows
 * are interleaved, stay packed: weights_rows gives their rows in f32, or in their own type.
 */
#ifndef LONGQLORA_LLAMA_WEIGHTS_GGUF_H
#define LONGQLORA_LLAMA_WEIGHTS_GGUF_H

#include "lib/llama/weights.h"

/* *w must be zeroed. After a failure the caller calls weights_close. */
int weights_open_gguf(struct weights *w, const char *path, struct fail *why) MUST_USE;
/* Gives every packed tensor data: a copy in its type, which weights_close frees. */
int weights_widen(struct weights *w, struct fail *why) MUST_USE;

/* These are in weights.c: the table of tensors, from the config that is there; and memory that
 * lives as long as the weights. */
int weights_list_tensors(struct weights *w, struct fail *why) MUST_USE;
char *weights_alloc(struct weights *w, size_t bytes, struct fail *why);

#endif
