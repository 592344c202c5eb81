/* vocabulary_resize.h - adds rows to embedding and head for tokens that were added to a tokenizer,
 * as transformers' resize_token_embeddings does.
 *
 * Each new row of the embedding, and of the head unless it is tied, is the mean of the rows that
 * the model has (Hewitt 2021). Each column is summed in f64; its mean is rounded to f32 and then to
 * the tensor's own type. transformers 5.24 (_init_added_embeddings_weights_with_mean) draws the
 * rows from a normal distribution around that mean, with 1e-9 of the rows' covariance, or takes the
 * mean where the covariance is not positive definite. In these programs every new row is the mean,
 * so that the same files give the same bits.
 */
#ifndef LONGQLORA_LLAMA_VOCABULARY_RESIZE_H
#define LONGQLORA_LLAMA_VOCABULARY_RESIZE_H

#include "lib/llama/weights.h"

/* The values of the options. If all are zero, nothing is resized. */
struct vocabulary_resize {
    const char *tokenizer; /* the directory of the tokenizer; NULL: nothing is resized */
    int64_t multiple;      /* the number of rows becomes a multiple of this; 0: any number */
};

/* The rows of these options in a tool's table (lib/cli/opt.h). `o` is a struct
 * vocabulary_resize. */
/* clang-format off */
#define VOCABULARY_RESIZE_OPTIONS(o)                                                               \
    { "resize-vocab", 0, OPT_TEXT, &(o).tokenizer, "DIR",                                          \
      "add rows to embedding and head for the tokens of this tokenizer, which becomes the "        \
      "result's", 0 },                                                                             \
    { "pad-to-multiple-of", 0, OPT_COUNT, &(o).multiple, "N",                                      \
      "with --resize-vocab, add rows until their number is a multiple of N", "65536" }
/* clang-format on */

/* Fails if the options do not fit together, or if the tokenizer is missing. Reads no weights. */
int vocabulary_resize_check(const struct vocabulary_resize *o, struct fail *why) MUST_USE;

/* Adds the rows. No row is ever removed. Afterwards the weights have the config, the shapes and the
 * tokenizer of the larger model. base_digest then computes the digest that a directory with these
 * tensors would have. If rows were added, w->base is cleared. Fails if rows would be added to NF4
 * weights or to a weights stream. Fails too if the tokenizer beside the model, whose path is
 * `model`, has pieces that the new tokenizer lacks or gives other ids. */
int vocabulary_resize(struct weights *w, const struct vocabulary_resize *o, const char *model,
                      struct fail *why) MUST_USE;
/* Writes a line into text[size] that says what was added. */
void vocabulary_resize_describe(const struct weights *w, char *text, size_t size);

#endif
