/* sinks.h - the two outputs of quantize.
 */
#ifndef LONGQLORA_SINKS_H
#define LONGQLORA_SINKS_H

#include "lib/llama/companions.h"
#include "tools/quantize/quantizer.h"

/* Writes a stream of kind weights (docs/formats/weights.md). path "-" is standard output. */
int quantize_to_stream(struct quantizer *q, const char *path, struct fail *why) MUST_USE;
/* Writes a directory that transformers loads with bitsandbytes (lib/llama/bnb.h). The companions
 * are the model's tokenizer and licence files. */
int quantize_to_bnb(struct quantizer *q, const char *path, const struct companions *companions,
                    uint64_t max_shard_bytes, struct fail *why) MUST_USE;

#endif
