/* adapter.h - reads PEFT adapter directories and matches them with a base model.
 *
 * adapter_config.json and adapter_model.safetensors are PEFT's files (PEFT 0.21). longqlora.json
 * beside them has what PEFT's files cannot say, such as the base's digest and the position scaling
 * of the training (docs/formats/adapter.md). In LongLoRA's directories the embedding and norms are
 * in trainable_params.bin; they are read as if modules_to_save named them.
 *
 *     struct adapter a;
 *     struct fit fit;
 *     if (adapter_open(&a, directory, why)) return -1;        what the files say
 *     status = adapter_fit(&a, &config, &fit, why);           what the adapter does to that base
 *     ... fit.each[i] is for tensor i of tensors_list(&config) ...
 *     fit_release(&fit);
 *     adapter_close(&a);
 *
 * adapter_load.h opens a model with an adapter; adapter_save.h writes an adapter.
 */
#ifndef LONGQLORA_ADAPTER_H
#define LONGQLORA_ADAPTER_H

#include "lib/common/digest.h"
#include "lib/llama/adapted.h"
#include "lib/llama/weights.h"
#include "lib/stream/template_record.h"
#include "lib/tensorfile/tensor_file.h"

/* What happens to a tied head if the adapter changes the embedding. */
enum head_tie {
    HEAD_BY_PEFT,  /* as in PEFT: the head is untied, unless ensure_weight_tying is set */
    HEAD_TIED,     /* the head stays tied, because our program made the adapter */
    HEAD_TIED_OLD, /* the same; an older version made the adapter and stored only the embedding */
};

struct adapter {
    char *base_name; /* the base's name when the adapter was trained; NULL if unknown */
    json_t *config;  /* adapter_config.json; all of its keys are supported */
    int64_t rank;    /* the rank of modules that rank_pattern does not name */
    /* The alpha of modules that alpha_pattern does not name. With is_rank_stabilized it is
     * multiplied by √rank, so that the scale is alpha / rank in any case. */
    double alpha;
    double dropout;
    double plain_alpha; /* lora_alpha as the file has it */
    bool is_rank_stabilized, is_dora, has_bias, ties_head;
    uint32_t targets; /* bits of enum part: parts that have LoRA matrices in at least one layer */
    /* Bits of enum part: parts that are stored as whole tensors. An embedding or a head counts only
     * if modules_to_save names it, because PEFT does not train it otherwise. */
    uint32_t modules_to_save;
    enum head_tie head;
    bool knows_base, has_rope; /* longqlora.json exists; it has a position scaling */
    char base[DIGEST_TEXT], tokenizer[DIGEST_TEXT];
    char base_quantization[8]; /* "nf4", "none", or "" if unknown */
    json_t *base_config; /* what the base's config was in training (base_config.h); NULL: unknown */
    enum rope_type rope;
    double factor; /* the factor of the position scaling */
    /* low_freq_factor and high_freq_factor of llama3 scaling that training chose; 0 if the base's
     * own scaling was used */
    double low, high;
    int64_t original_position;
    struct template_record template; /* the template of the conversations in the training data */
    char digest[DIGEST_TEXT];        /* of adapter_model and, if it exists, trainable_params.bin */
    struct tensor_file file;
    bool has_trainable_params;
    struct tensor_file trainable_params; /* LongLoRA's file trainable_params.bin, if it exists */
};

/* adapter_check_place fails if the directory holds no adapter, and says what it holds.
 * adapter_open reads the files; the caller calls adapter_close. Damaged or unsupported files
 * fail with status 3. */
int adapter_check_place(const char *directory, struct fail *why) MUST_USE;
int adapter_open(struct adapter *a, const char *directory, struct fail *why) MUST_USE;
void adapter_close(struct adapter *a);
/* Closes the files of tensors, of which nothing is read any more. Somebody may change them then. */
void adapter_forget_tensors(struct adapter *a);

/* What an adapter does to a base. */
struct fit {
    /* [count], for each tensor of tensors_list for the changed config: how it is adapted */
    struct adapted *each;
    int64_t count;
    bool unties; /* the head is separated from the embedding: see weights_untie */
    bool grows;  /* the vocabulary is larger than the base's */
    /* Bits of enum part: embedding and head that are stored as whole tensors although
     * modules_to_save does not name them. PEFT applies them, but does not train them. */
    uint32_t unlisted;
    /* The ids whose rows of the embedding are replaced; NULL if no row is replaced, or if all rows
     * are. The list belongs to the adapter. */
    const json_t *tokens;
    /* A description of the part of this adapter that only the tool `merge` can compute; NULL if
     * there is nothing. */
    const char *merge_only;
    /* In words, why further training would differ from PEFT's; NULL if it would not. */
    const char *not_trainable;
};

/* Matches the adapter with a base. Fails unless every tensor of the adapter's files is used, and
 * every tensor that its config requires exists with the right shape. *c becomes the config of the
 * model with the adapter: the vocabulary may grow and the head may be untied. The caller calls
 * fit_release, also on failure. */
int adapter_fit(const struct adapter *a, struct config *c, struct fit *fit,
                struct fail *why) MUST_USE;
void fit_release(struct fit *fit);
/* Fails if only merge can apply the adapter. directory: the adapter's directory, for the
 * message. */
int fit_check_applied(const struct fit *fit, const char *directory, struct fail *why) MUST_USE;

/* PEFT may store a copy of the base's embedding or head beside their LoRA matrices, and takes this
 * copy when it loads the adapter. Fails if the copy differs from the base: only merge computes that
 * model. `w` is the base, with its data, already untied if the adapter unties it. advice: ends the
 * message "its tensor NAME differs from the base's, …". */
#define ADAPTER_COPY_ADVICE                                                                        \
    "which PEFT replaces by it: merge the adapter first, and name the merged model"
int adapter_check_copies(const struct adapter *a, const struct fit *fit, const struct weights *w,
                         const char *advice, struct fail *why) MUST_USE;

/* Prepares further training: the tensors in fit->unlisted are not trained, as in PEFT, and the
 * model takes the base's instead. Fails if a stored one differs from the base's. `w` is the base,
 * already untied if the adapter unties it. has_data: w has values, which are compared. */
int adapter_freeze_unlisted(const struct adapter *a, struct fit *fit, const struct weights *w,
                            bool has_data, struct fail *why) MUST_USE;

/* Puts the adapter's position scaling into the config. Fails if the original contexts differ.
 * Messages of this function and the next two do not name the adapter's directory; the caller adds
 * it with fail_in. */
int adapter_set_rope(const struct adapter *a, struct config *c, struct fail *why) MUST_USE;

/* Fail if the adapter was trained on a base with another digest than `base`, or with another
 * tokenizer. The message names both models, or both tokenizers. model: the user's name for this
 * base. */
int adapter_check_base(const struct adapter *a, const char *base, const char *model,
                       struct fail *why) MUST_USE;
int adapter_check_tokenizer(const struct adapter *a, const char *tokenizer, const char *model,
                            struct fail *why) MUST_USE;
/* Fails if the base's config decides another computation than in training (base_config.h). The
 * message names the value. c: the base's config after adapter_set_rope. */
int adapter_check_config(const struct adapter *a, const struct config *c, const char *model,
                         struct fail *why) MUST_USE;

/* More kinds of stored tensors, in addition to those of enum trained. The LoRA matrices of an
 * embedding are transposed: A is [r, rows], B is [cols, r]. */
enum {
    STORED_MAGNITUDE = TRAINED_LORA_B + 1, /* DoRA's magnitude vector */
    STORED_BASE,                           /* a copy of the base's embedding or head */
    STORED_EMBEDDING_A,
    STORED_EMBEDDING_B,
    STORED_BIAS,   /* the bias of B, with lora_bias */
    STORED_TOKENS, /* the embedding's rows of trainable_token_indices */
    STORED_KINDS
};

/* Returns the kind under which a trained matrix of the tensor is stored: the LoRA matrices of an
 * embedding have kinds of their own. */
int adapter_stored_kind(const struct tensor *t, enum trained kind);
/* Writes PEFT's name of a tensor: base_model.model.<module>.lora_A.weight. */
void adapter_tensor_name(const struct tensor *t, int kind, char *name, size_t size);
/* Writes PEFT's name of a trained bias. is_inside: its linear layer has LoRA matrices. */
void adapter_bias_name(const struct tensor *t, bool is_inside, char *name, size_t size);
/* Finds the tensor in the adapter's files, under the name that adapter_tensor_name gives, or under
 * another name that PEFT uses. Returns NULL if the files lack it. The result belongs to the
 * adapter. */
const struct stored_tensor *adapter_find(const struct adapter *a, const struct tensor *t, int kind);
/* Returns the matrix [rows, cols] as f32, which the caller frees; NULL on failure. */
float *adapter_values(const struct adapter *a, const struct tensor *t, int kind, int64_t rows,
                      int64_t cols, struct fail *why);
/* Writes `count` rows of a matrix with `cols` columns as f32, from row `first` on. The caller has
 * checked the matrix's shape. */
void adapter_rows(const struct adapter *a, const struct tensor *t, int kind, int64_t cols,
                  int64_t first, int64_t count, float *to);
/* Transposes `from` [rows, cols] to a new matrix [cols, rows], which the caller frees; NULL on
 * failure. */
float *adapter_transposed(const float *from, int64_t rows, int64_t cols, struct fail *why);
/* Fails unless the stored tensor has the shape [rows, cols] and a floating-point type. */
int adapter_check_shape(const struct adapter *a, const struct tensor *t, int kind, int64_t rows,
                        int64_t cols, struct fail *why) MUST_USE;

#endif
