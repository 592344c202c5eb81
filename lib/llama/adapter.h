/* adapter.h - PEFT adapter directories, in and out.
 *
 * adapter_config.json and adapter_model.safetensors are as PEFT has them;
 * longqlora.json beside them says what PEFT's files cannot: the base's digest, the
 * rope it was trained with, the recipe. LongLoRA's directories have embedding and norms in
 * trainable_params.bin, which is read as if modules_to_save named them.
 */
#ifndef LONGQLORA_ADAPTER_H
#define LONGQLORA_ADAPTER_H

#include "model.h"

struct adapter {
    char *base_name; /* as adapter_config.json has it; NULL: it has none */
    int64_t rank;
    double alpha, dropout;
    uint32_t targets;          /* bits of enum part */
    uint32_t whole;            /* the same: modules_to_save */
    bool knows_base, has_rope; /* longqlora.json was there, and what it had */
    char base[STREAM_DIGEST_TEXT], tokenizer[STREAM_DIGEST_TEXT];
    enum rope_type rope;
    double factor; /* of the rope */
    int64_t original_position;
    char digest[STREAM_DIGEST_TEXT]; /* of adapter_model, and of what stands beside it */
    struct tensor_file file;
    bool has_beside;
    struct tensor_file beside; /* LongLoRA's trainable_params.bin */
};

/* Fails if no adapter lies there, saying what does. */
int adapter_check_place(const char *directory, struct fail *why) MUST_USE;
int adapter_open(struct adapter *a, const char *directory, struct fail *why) MUST_USE;
void adapter_close(struct adapter *a);

/* Sets what of a model's setup the adapter decides. */
void adapter_set_up(const struct adapter *a, struct model_setup *setup);

/* Puts the adapter's rope into the config; fails if the original contexts differ. The messages of
 * these and the next do not name the adapter's directory: fail_in does. */
int adapter_set_rope(const struct adapter *a, struct config *c, struct fail *why) MUST_USE;

/* Fail if the adapter was trained on another base than that of the digest `base`, or with another
 * tokenizer, naming both; model: how the user calls this base. */
int adapter_check_base(const struct adapter *a, const char *base, const char *model,
                       struct fail *why) MUST_USE;
int adapter_check_tokenizer(const struct adapter *a, const char *tokenizer, const char *model,
                            struct fail *why) MUST_USE;

/* Fails unless the file has exactly the tensors that config and adapter need. */
int adapter_check_tensors(const struct adapter *a, const struct config *c,
                          struct fail *why) MUST_USE;

/* Fills the model's parameters. Every tensor of the file must be used, and every one
 * that the model needs be there. */
int adapter_load(const struct adapter *a, struct model *m, struct fail *why) MUST_USE;

/* The file's name of a trained matrix: base_model.model.<module>.lora_A.weight. */
void adapter_tensor_name(const struct tensor *t, enum trained kind, char *name, size_t size);
/* The matrix as f32; the caller frees. NULL on failure. */
float *adapter_values(const struct adapter *a, const struct tensor *t, enum trained kind,
                      int64_t rows, int64_t cols, struct fail *why);

/* What adapter_save writes beside the parameters. */
struct adapter_origin {
    const char *base_name, *base, *tokenizer; /* a name for PEFT; digests */
    const char *quantization;                 /* of the base in training */
    const json_t *attention, *recipe;         /* borrowed */
};

int adapter_save(const struct model *m, const struct adapter_origin *origin, const char *directory,
                 struct fail *why) MUST_USE;

#endif
