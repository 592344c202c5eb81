/* LLaMA 1 to 3.3, and models of the same architecture: Vicuna, TinyLlama, SmolLM 1 and 2,
 * R1-Distill-Llama. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    FAMILY_BIASES_NO_WINDOW,
    { 0 },
};

const struct family_features family_llama = { keys, family_read_biases_no_window };
