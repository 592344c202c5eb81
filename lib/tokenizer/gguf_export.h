/* gguf_export.h - a model's tokenizer as the keys tokenizer.* of a GGUF file: the inverse of
 * gguf_tokenizer.h.
 *
 * The keys are those of llama.cpp's converter, but it drops or guesses some values on which the
 * tokens depend. Here those are always written: whether BOS and EOS are added, and the scores of a
 * SentencePiece model that is stored as a tokenizer.json. A tokenizer with which llama.cpp would
 * make other tokens of the same text is refused.
 *
 * Source: conversion/base.py and gguf-py/gguf/vocab.py of llama.cpp.
 */
#ifndef LONGQLORA_TOKENIZER_GGUF_EXPORT_H
#define LONGQLORA_TOKENIZER_GGUF_EXPORT_H

#include "lib/tensorfile/gguf_writer.h"

#include <jansson.h>

/* Adds the keys of the tokenizer and of the chat template at `place`, a directory or a GGUF file,
 * whose keys are copied as they are. vocab: the rows of the embedding; ids without a token get
 * names, as [PAD32001]. config: the model's config.json, whose ids are used where the tokenizer's
 * files say none. remark[size] gets what the user should know; "" if there is nothing. */
int gguf_export_tokenizer(struct gguf_keys *k, const char *place, int64_t vocab,
                          const json_t *config, char *remark, size_t size,
                          struct fail *why) MUST_USE;

#endif
