/* compare_model.h - steps of tests that compare a model with a reference program. A failure fails
 * the test. */
#ifndef LONGQLORA_COMPARE_MODEL_H
#define LONGQLORA_COMPARE_MODEL_H

#include "lib/llama/weights.h"
#include "tests/lib/check.h"
#include "tools/merge/merger.h"

#include <jansson.h>

/* The longest text that is compared. With sanitizers the longest texts would take most of the time,
 * and they run the same code. */
#if defined __SANITIZE_ADDRESS__
enum { COMPARE_TOKENS_MAX = 300 };
#else
enum { COMPARE_TOKENS_MAX = 4096 };
#endif

/* Computes the logits of synthetic tokens in one batch, and compares those of the wanted rows.
 * `item` has the name of the case, the number of tokens and the list of rows. exact [rows, vocab]
 * has the reference's logits. chunk: how many rows pass through a layer at once. bound: relative to
 * the largest logit. config: NULL for the config of the weights.
 */
void compare_logits(const struct weights *w, const struct config *config, const json_t *item,
                    int64_t chunk, const struct stored_tensor *exact, double bound);

struct compare_merge {
    const struct weights *base;
    const struct config *config; /* of the result; NULL: the base's */
    const struct tensor *table;  /* of the result; NULL: the base's */
    const struct merge_adapter *adapters;
    int adapter_count;
    enum dtype dtype; /* of all tensors of the result */
    int threads;
    uint64_t max_shard_bytes;
};

struct compare_merged {
    int64_t merged, replaced; /* how many tensors the merger has changed */
};

/* Merges the adapters into the base, and writes the result as a model directory. */
struct compare_merged compare_merge(const struct compare_merge *how, const char *directory);

#endif
