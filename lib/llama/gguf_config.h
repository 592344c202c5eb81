/* gguf_config.h - turns a model's config into the keys of a GGUF file: the inverse of gguf_model.h.
 *
 * {arch}.context_length becomes the context after position scaling, because llama.cpp uses this
 * number as the default length of its context. For a model that llama.cpp cannot compute, the
 * functions fail with an error that names the reason.
 *
 * Source: conversion/base.py and conversion/llama.py of llama.cpp, which also write the position
 * scaling; llama-context.cpp, which reads it.
 */
#ifndef LONGQLORA_LLAMA_GGUF_CONFIG_H
#define LONGQLORA_LLAMA_GGUF_CONFIG_H

#include "lib/llama/config.h"
#include "lib/llama/gguf_names.h"
#include "lib/tensorfile/gguf_writer.h"

/* Returns llama.cpp's architecture for the model; NULL with *why if there is none, or if llama.cpp
 * would compute another result. */
const struct gguf_architecture *gguf_config_architecture(const struct config *c, struct fail *why);

/* The values of the keys general.*, which describe the file. */
struct gguf_general {
    const char *name;    /* general.name; NULL: the caller adds it */
    const char *type;    /* general.type: "model" or "adapter" */
    enum ggml_type file; /* for general.file_type: the type of most tensors */
    int64_t parameters;  /* for general.size_label; 0: none */
};
void gguf_config_put_general(struct gguf_keys *k, const struct gguf_architecture *a,
                             const struct gguf_general *general);
/* Adds the keys of the model, which begin with "{arch}.": sizes and position scaling. */
void gguf_config_put(struct gguf_keys *k, const struct gguf_architecture *a,
                     const struct config *c);

/* Adds the keys of the sliding window (gguf_windows.c). */
void gguf_windows_put(struct gguf_keys *k, const struct gguf_architecture *a,
                      const struct config *c);

/* A tensor of position scaling, f32 [count]: the factors by which llama.cpp divides the frequencies
 * of RoPE. */
struct gguf_factors {
    const char *name;
    float *values;
    int64_t count;
};
enum { GGUF_FACTORS_MAX = 2 };
/* Lists the tensors of the model's position scaling: rope_freqs.weight for llama3, two tensors for
 * longrope. Returns how many there are, or -1 if memory runs out. The caller frees the values. */
int gguf_config_factors(const struct config *c, struct gguf_factors to[GGUF_FACTORS_MAX],
                        struct fail *why) MUST_USE;
/* Writes the options with which llama.cpp serves a base with this position scaling into text[size]:
 * "--rope-scaling linear --rope-scale 2 -c 8192". */
void gguf_config_serve_options(const struct config *c, char *text, size_t size);

#endif
