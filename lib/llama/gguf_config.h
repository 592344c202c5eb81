/* gguf_config.h - a model's config as the keys of a GGUF file: the inverse of gguf_model.h.
 *
 * {arch}.context_length is the context after scaling the positions, because it is llama.cpp's
 * default for the length of its context. For a model that llama.cpp cannot compute, the functions
 * fail with an error that names the reason.
 *
 * Source: conversion/base.py and conversion/llama.py of llama.cpp, which also say how positions are
 * written; llama-context.cpp, which says how they are read.
 */
#ifndef LONGQLORA_LLAMA_GGUF_CONFIG_H
#define LONGQLORA_LLAMA_GGUF_CONFIG_H

#include "lib/llama/config.h"
#include "lib/llama/gguf_names.h"
#include "lib/tensorfile/gguf_writer.h"

/* The architecture that llama.cpp has for the model. Fails if there is none, or if it would compute
 * the positions in another way. */
const struct gguf_architecture *gguf_config_architecture(const struct config *c, struct fail *why);

/* The values of the keys general.*, which describe the file. */
struct gguf_general {
    const char *name;    /* general.name */
    const char *type;    /* general.type: "model" or "adapter" */
    enum ggml_type file; /* the type of most tensors, for general.file_type */
    int64_t parameters;  /* for general.size_label; 0: none */
};
void gguf_config_put_general(struct gguf_keys *k, const struct gguf_architecture *a,
                             const struct gguf_general *general);
/* Adds the keys of the model, which begin with "{arch}.": sizes and position scaling. */
void gguf_config_put(struct gguf_keys *k, const struct gguf_architecture *a,
                     const struct config *c);

/* Writes the factors [head_dim / 2] of rope_freqs.weight. Returns false if the model needs no such
 * tensor, because its RoPE scaling is not of type llama3. */
bool gguf_config_frequencies(const struct config *c, float *factors);
/* Writes the options with which llama.cpp serves a base with these positions into text[size]:
 * "--rope-scaling linear --rope-scale 2 -c 8192". */
void gguf_config_serve_options(const struct config *c, char *text, size_t size);

#endif
