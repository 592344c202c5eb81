/* biases.h - the biases that lora_bias gives to linears that have none: s · b of B·A's b, summed
 * over the adapters.
 *
 * A LLaMA's config says of all of attention's linears that they have biases, and of all of the
 * MLP's (attention_bias, mlp_bias); those without one get zeros.
 */
#ifndef LONGQLORA_BIASES_H
#define LONGQLORA_BIASES_H

#include "tools/merge/merger.h"

struct bias {
    const struct tensor *of; /* the linear */
    int64_t index;           /* in the merger's table */
    char name[64];
};

/* Those that the result has; none where no adapter has lora_bias. The caller frees *list. Returns
 * their number, -1 out of memory. */
int64_t biases_list(const struct merge_adapter *parts, int part_count, const struct tensor *table,
                    int64_t count, struct bias **list, struct fail *why) MUST_USE;
struct tensor_header bias_header(const struct bias *b, enum dtype dtype);
/* Says in config.json which there are. */
int biases_to_config(const struct bias *list, int64_t count, json_t *config,
                     struct fail *why) MUST_USE;
int bias_produce(struct merger *m, const struct bias *b, struct safetensors_writer *w,
                 struct fail *why) MUST_USE;

#endif
