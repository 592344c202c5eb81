/* weights_gguf.h - opens a GGUF file as weights. weights.c calls this.
 *
 * The tensors are found by their names in GGUF and compared with the table of tensors. Unquantized
 * tensors in transformers' order are used as they are in the file. All others stay packed, and
 * weights_rows converts their rows: quantized tensors to f32, norms that are stored as 1 + weight
 * to the weight in f32, and q and k with interleaved rows to transformers' order, in their own
 * type.
 */
#ifndef LONGQLORA_LLAMA_WEIGHTS_GGUF_H
#define LONGQLORA_LLAMA_WEIGHTS_GGUF_H

#include "lib/llama/weights.h"

/* *w must be zeroed. After a failure the caller calls weights_close. */
int weights_open_gguf(struct weights *w, const char *path, struct fail *why) MUST_USE;
/* Converts every packed tensor to data in the type of its weight, which weights_close frees. */
int weights_widen(struct weights *w, struct fail *why) MUST_USE;

/* weights.c has these two functions. The first makes the table of tensors from w's config. The
 * second allocates memory that is freed with the weights. */
int weights_list_tensors(struct weights *w, struct fail *why) MUST_USE;
char *weights_alloc(struct weights *w, size_t bytes, struct fail *why);

#endif
