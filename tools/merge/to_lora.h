/* to_lora.h - writes an adapter as the GGUF that llama.cpp adds to its base (--lora).
 *
 * It has the LoRA matrices of linears alone. What llama.cpp would leave out, or not compute, is
 * refused by name: trained norms, embeddings, heads and tokens, biases, DoRA.
 *
 * Source: convert_lora_to_gguf.py and llama-adapter.cpp of llama.cpp.
 */
#ifndef LONGQLORA_MERGE_TO_LORA_H
#define LONGQLORA_MERGE_TO_LORA_H

#include "tools/merge/options.h"

/* Dies if something fails. */
void to_lora_run(const struct options *o, const struct loaded *l, const struct parts *parts);

#endif
