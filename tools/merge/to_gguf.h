/* to_gguf.h - writes the merged model as one GGUF file. The tensors have llama.cpp's names, the
 * rows of q and k have llama.cpp's order, and keys store the tokenizer and the position scaling.
 *
 * Matrices get the type of --dtype. A matrix whose rows are not a whole number of blocks becomes
 * f16, as in llama.cpp. Vectors are f32, because llama.cpp requires it.
 */
#ifndef LONGQLORA_MERGE_TO_GGUF_H
#define LONGQLORA_MERGE_TO_GGUF_H

#include "tools/merge/options.h"

/* Dies if something fails. */
void to_gguf_run(const struct options *o, const struct loaded *l, const struct parts *parts);

/* Returns the type that --dtype names, or -1 for the word "base". */
int to_gguf_type(const char *word);
/* Returns the GGUF type of f32, f16 or bf16. */
enum ggml_type to_gguf_plain(enum dtype dtype);
/* Writes general.name into text[size]: the name of the file without ".gguf". */
void to_gguf_name(const char *output, char *text, size_t size);

#endif
