/* weight_type.h - the types that weights, and activations, are stored in. */
#ifndef LONGQLORA_WEIGHT_TYPE_H
#define LONGQLORA_WEIGHT_TYPE_H

enum weight_type { WEIGHT_F32, WEIGHT_BF16, WEIGHT_F16, WEIGHT_NF4 };

#endif
