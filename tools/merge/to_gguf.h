/* to_gguf.h - writes the merged model as one GGUF file: the tensors of the merger under llama.cpp's
 * names, the rows of q and k in its order, the tokenizer and the positions as keys.
 *
 * Matrices get the type of --dtype. Rows that are no whole number of blocks stay f16, as llama.cpp
 * falls back. Vectors are f32, which llama.cpp needs.
 */
#ifndef LONGQLORA_MERGE_TO_GGUF_H
#define LONGQLORA_MERGE_TO_GGUF_H

#include "tools/merge/options.h"

/* Dies if something fails. */
void to_gguf_run(const struct options *o, const struct loaded *l, const struct parts *parts);

/* The type that --dtype names; its number is -1 for the word base. */
int to_gguf_type(const char *word);
/* The type of plain numbers. */
enum ggml_type to_gguf_plain(enum dtype dtype);
/* Writes general.name into text[size]: the name of the file without its ending. */
void to_gguf_name(const char *output, char *text, size_t size);

#endif
