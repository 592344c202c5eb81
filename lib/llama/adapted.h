/* adapted.h - how an adapter changes each of a model's tensors, and which of its matrices are
 * trained. */
#ifndef LONGQLORA_ADAPTED_H
#define LONGQLORA_ADAPTED_H

#include <stdbool.h>
#include <stdint.h>

/* How an adapter changes one tensor. */
struct adapted {
    /* The rank of the LoRA matrices A [rank, cols] and B [rows, rank]; 0 if the tensor has none. */
    int64_t rank;
    double scale;        /* factor of the product B·A */
    bool is_saved_whole; /* the adapter stores the whole tensor (PEFT's modules_to_save) */
};

enum trained { TRAINED_WEIGHT, TRAINED_LORA_A, TRAINED_LORA_B };

#endif
