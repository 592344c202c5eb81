/* to_lora.h - writes an adapter as the GGUF that llama.cpp adds to its base (--lora).
 *
 * The file has only the LoRA matrices of linear layers. Parts of an adapter that llama.cpp would
 * ignore are refused by name: trained norms, embeddings, heads, tokens and biases, and DoRA.
 *
 * Source: convert_lora_to_gguf.py and llama-adapter.cpp of llama.cpp.
 */
#ifndef LONGQLORA_MERGE_TO_LORA_H
#define LONGQLORA_MERGE_TO_LORA_H

#include "tools/merge/options.h"

/* Dies if something fails. */
void to_lora_run(const struct options *o, const struct loaded *l, const struct parts *parts);

#endif
