/* adapted.h - what of a model's tensors is an adapter's, and which of its matrices are trained. */
#ifndef LONGQLORA_ADAPTED_H
#define LONGQLORA_ADAPTED_H

#include <stdbool.h>
#include <stdint.h>

/* What of a tensor is an adapter's. */
struct adapted {
    int64_t rank;        /* of the pair of matrices beside it; 0: none */
    double scale;        /* of their product */
    bool is_saved_whole; /* the tensor itself is trained, or replaced */
};

enum trained { TRAINED_WEIGHT, TRAINED_LORA_A, TRAINED_LORA_B };

#endif
