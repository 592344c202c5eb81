/* gguf_export.h - writes a model's tokenizer as the keys tokenizer.* of a GGUF file.
 * gguf_tokenizer.h does the inverse.
 *
 * The keys are those of llama.cpp's converter. Some values on which the tokens depend are always
 * written here, although the converter drops or guesses them: whether BOS and EOS are added, and
 * the scores of a SentencePiece model that is stored as a tokenizer.json. A tokenizer is refused if
 * llama.cpp would make other tokens of the same text.
 *
 * Source: conversion/base.py and gguf-py/gguf/vocab.py of llama.cpp.
 */
#ifndef LONGQLORA_TOKENIZER_GGUF_EXPORT_H
#define LONGQLORA_TOKENIZER_GGUF_EXPORT_H

#include "lib/tensorfile/gguf_writer.h"

#include <jansson.h>

/* What the caller should know about the keys that were written. */
struct gguf_export_notes {
    bool strips; /* added tokens take the white space that follows them; for gguf_export_name */
    /* Remarks for the user, or "": an added token of which llama.cpp ignores an option, and tokens
     * at which the model ends an answer, but llama.cpp does not. */
    char added[300], ends[400];
};

/* Adds the keys of the tokenizer and of the chat template at `place`. `place` is a directory, or a
 * GGUF file, whose keys are copied unchanged. `vocab` is the number of rows of the embedding; ids
 * without a token get names such as [PAD32001]. `config` is the model's config.json; its ids of
 * special tokens are used where the tokenizer's files name none, and those in eos_token_id end an
 * answer. */
int gguf_export_tokenizer(struct gguf_keys *k, const char *place, int64_t vocab,
                          const json_t *config, struct gguf_export_notes *notes,
                          struct fail *why) MUST_USE;

struct tokenizer;
/* In a model called phi-3, llama.cpp assumes that certain added tokens take the white space that
 * follows them (gguf_name.c). Do exactly these tokens take it in this tokenizer (rstrip)? */
bool gguf_export_strips(const struct tokenizer *t);
/* Writes the key general.name into to[size]: `name`, changed so that llama.cpp finds "phi-3" in it
 * if and only if `strips` is set. */
void gguf_export_name(const char *name, bool strips, char *to, size_t size);

#endif
