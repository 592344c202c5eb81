/* biases.h - merges the biases that lora_bias has trained. The model's bias grows by Σ w·s·b over
 * the adapters, where b is the bias of an adapter's B, s is the adapter's scale, and w is its
 * weight on the command line. A linear layer that has no bias in the base gets one.
 *
 * In a model's config, attention_bias applies to all linear layers of attention, and mlp_bias to
 * all of the MLP. So if one of these layers gets a bias, the others get a bias of zeros.
 */
#ifndef LONGQLORA_BIASES_H
#define LONGQLORA_BIASES_H

#include "tools/merge/merger.h"

struct bias {
    const struct tensor *of; /* the weight of the linear layer that the bias belongs to */
    int64_t index;           /* index of that weight in the merger's table */
    char name[64];
};

/* Lists the biases that the result has and the base lacks. If no adapter has lora_bias, there are
 * none. Returns the number of biases, or -1 if memory runs out. The caller frees *list. */
int64_t biases_list(const struct merge_adapter *parts, int part_count, const struct tensor *table,
                    int64_t count, const struct config *base, struct bias **list,
                    struct fail *why) MUST_USE;
struct tensor_header bias_header(const struct bias *b, enum dtype dtype);
/* Sets attention_bias and mlp_bias of config.json. */
int biases_to_config(const struct bias *list, int64_t count, json_t *config,
                     struct fail *why) MUST_USE;
/* Adds the adapter's part of a bias, from lora_bias, to `values`. The bias belongs to the linear
 * layer whose weight is tensor `index`. */
int bias_add(const struct merge_adapter *p, const struct tensor *linear, int64_t index,
             float *values, struct fail *why) MUST_USE;
bool bias_is_changed(const struct merge_adapter *p, int64_t index);
/* Computes the bias into m->narrow, in the type that the layer's weight has in the result. */
int bias_compute(struct merger *m, const struct bias *b, struct fail *why) MUST_USE;

#endif
