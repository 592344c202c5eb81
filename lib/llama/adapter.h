/* adapter.h - PEFT adapter directories, in and out.
 *
 * adapter_config.json and adapter_model.safetensors are as PEFT has them;
 * longqlora.json beside them says what PEFT's files cannot: the base's digest, the
 * rope it was trained with, the recipe. LongLoRA's directories have embedding and norms in
 * trainable_params.bin, which is read as if modules_to_save named them.
 *
 *     adapter_open(&a, directory, why)           what it is
 *     adapter_fit(&a, &config, &fit, why)        what it makes of that base
 *
 * adapter_load.h has how a model is opened with it, adapter_save.h how one becomes an adapter.
 */
#ifndef LONGQLORA_ADAPTER_H
#define LONGQLORA_ADAPTER_H

#include "lib/common/digest.h"
#include "lib/llama/adapted.h"
#include "lib/llama/tensors.h"
#include "lib/stream/wording.h"
#include "lib/tensorfile/tensor_file.h"

/* What its embedding means to the head of a base whose head is the embedding. */
enum head_tie {
    HEAD_BY_PEFT,  /* what PEFT does: they part unless ensure_weight_tying is said */
    HEAD_TIED,     /* they stay one: an adapter of ours */
    HEAD_TIED_OLD, /* likewise, of an older program, which stored the embedding alone */
};

struct adapter {
    char *base_name; /* as it was called in training; NULL: nobody says */
    json_t *config;  /* adapter_config.json, all of it understood */
    int64_t rank;    /* of modules that rank_pattern does not name */
    double
        alpha; /* likewise; times √rank if is_rank_stabilized, so that alpha / rank is the scale */
    double dropout;
    double plain_alpha; /* as lora_alpha says it */
    bool is_rank_stabilized, is_dora, has_bias, ties_head;
    uint32_t targets;         /* bits of enum part: what any layer has matrices for */
    uint32_t modules_to_save; /* the same: what stands in the file itself */
    enum head_tie head;
    bool knows_base, has_rope; /* longqlora.json was there, and what it had */
    char base[DIGEST_TEXT], tokenizer[DIGEST_TEXT];
    enum rope_type rope;
    double factor; /* of the rope */
    int64_t original_position;
    struct stream_wording wording; /* of the conversations that it was trained on */
    char digest[DIGEST_TEXT];      /* of adapter_model, and of what stands beside it */
    struct tensor_file file;
    bool has_beside;
    struct tensor_file beside; /* LongLoRA's trainable_params.bin */
};

/* Fails if no adapter lies there, saying what does. */
int adapter_check_place(const char *directory, struct fail *why) MUST_USE;
int adapter_open(struct adapter *a, const char *directory, struct fail *why) MUST_USE;
void adapter_close(struct adapter *a);

/* What an adapter makes of a base. */
struct fit {
    struct adapted *each; /* [count] in the order of tensors_list of the config that came of it */
    int64_t count;
    bool unties; /* the head is no longer the embedding: see weights_untie */
    bool grows;  /* there are more tokens than the base has */
    const json_t
        *tokens; /* which rows of the embedding are replaced, the adapter's; NULL: none, or all */
    /* What of it `merge` alone computes, in words; NULL: nothing. */
    const char *merge_only;
};

/* Matches the adapter with a base: every tensor of its files must be used, and every one that its
 * config asks for be there, in its shape. The config becomes that of the model with the adapter:
 * its vocabulary may grow, and its head be untied. The caller releases the fit, also on failure. */
int adapter_fit(const struct adapter *a, struct config *c, struct fit *fit,
                struct fail *why) MUST_USE;
void fit_release(struct fit *fit);
/* Fails where only merge can do it. directory: the adapter's, for the message. */
int fit_check_applied(const struct fit *fit, const char *directory, struct fail *why) MUST_USE;

/* Puts the adapter's rope into the config; fails if the original contexts differ. The messages of
 * these and the next do not name the adapter's directory: fail_in does. */
int adapter_set_rope(const struct adapter *a, struct config *c, struct fail *why) MUST_USE;

/* Fail if the adapter was trained on another base than that of the digest `base`, or with another
 * tokenizer, naming both; model: how the user calls this base. */
int adapter_check_base(const struct adapter *a, const char *base, const char *model,
                       struct fail *why) MUST_USE;
int adapter_check_tokenizer(const struct adapter *a, const char *tokenizer, const char *model,
                            struct fail *why) MUST_USE;

/* What files have of a tensor beside enum trained: taken by merge alone. Embeddings' matrices lie
 * the other way round: A is [r, rows], B [cols, r]. */
enum {
    STORED_MAGNITUDE = TRAINED_LORA_B + 1, /* DoRA's */
    STORED_BASE,                           /* the base's own, of an embedding or a head */
    STORED_EMBEDDING_A,
    STORED_EMBEDDING_B,
    STORED_BIAS,   /* of B, where lora_bias is set */
    STORED_TOKENS, /* rows of the embedding, those of trainable_token_indices */
    STORED_KINDS
};

/* PEFT's name of it: base_model.model.<module>.lora_A.weight. */
void adapter_tensor_name(const struct tensor *t, int kind, char *name, size_t size);
/* The tensor that the files have under that name or another one of PEFT's; NULL: none. */
const struct stored_tensor *adapter_find(const struct adapter *a, const struct tensor *t, int kind);
/* The matrix as f32; the caller frees. NULL on failure. */
float *adapter_values(const struct adapter *a, const struct tensor *t, int kind, int64_t rows,
                      int64_t cols, struct fail *why);
/* Fails unless it has that shape, and numbers. */
int adapter_check_shape(const struct adapter *a, const struct tensor *t, int kind, int64_t rows,
                        int64_t cols, struct fail *why) MUST_USE;

#endif
