/* quantizer.h - a model's tensors, one after the other, into a weights stream. */
#ifndef LONGQLORA_QUANTIZER_H
#define LONGQLORA_QUANTIZER_H

#include "../../lib/llama/weights.h"

/* Linears of layers in NF4, everything else as it is; says the error of each. Dies of a
 * value that is not finite, naming tensor and place; path stands in messages. */
void quantize_all(const struct weights *w, struct writer *out, const char *path);

#endif
