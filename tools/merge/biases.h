/* biases.h - the biases that lora_bias adds to linears which have none in the base: Σ s·b over the
 * adapters, where b is the bias of the adapter's B.
 *
 * The config of a LLaMA says of all linears of attention together, and of all of the MLP, whether
 * they have biases (attention_bias, mlp_bias). If one linear gets a bias, the others get zeros.
 */
#ifndef LONGQLORA_BIASES_H
#define LONGQLORA_BIASES_H

#include "tools/merge/merger.h"

struct bias {
    const struct tensor *of; /* the linear it belongs to */
    int64_t index;           /* index of the linear in the merger's table */
    char name[64];
};

/* Lists the biases of the result: none if no adapter has lora_bias. The caller frees *list. Returns
 * their number, or -1 if out of memory. */
int64_t biases_list(const struct merge_adapter *parts, int part_count, const struct tensor *table,
                    int64_t count, struct bias **list, struct fail *why) MUST_USE;
struct tensor_header bias_header(const struct bias *b, enum dtype dtype);
/* Sets attention_bias and mlp_bias of config.json. */
int biases_to_config(const struct bias *list, int64_t count, json_t *config,
                     struct fail *why) MUST_USE;
/* Computes the values in m->narrow, in the type of the linear's result. */
int bias_compute(struct merger *m, const struct bias *b, struct fail *why) MUST_USE;

#endif
