#include "lib/llama/config_keys.h"

#include "lib/llama/config.h"

#include <fnmatch.h>

#define USED CONFIG_KEY_UNDERSTOOD
#define SAFE CONFIG_KEY_HARMLESS
#define STOP CONFIG_KEY_REFUSED
#define UNIT CONFIG_KEY_FACTOR

/* Texts of several rows. They say why a key changes no result, or why it is refused. */
#define A_LABEL "names of classes, which a language model does not have"
#define A_TOKEN "a token id; the tokenizer's files decide which ids are used"
#define AN_OUTPUT "what transformers returns beside the logits"
#define DECODING "how transformers generates text; here the options of `generate` decide it"
#define TRAINING "used when transformers makes or trains a model"
#define A_NOTE "a note of the program that wrote the file"
#define SPEED "how transformers computes; the result is the same"
#define ENCODER "encoder-decoder models are not supported"
#define EXPERTS "mixtures of experts are not supported"
#define NORMS "norms other than RMSNorm before attention and MLP are not supported"
#define POSITIONS "position encodings other than those of rope_scaling are not supported"
#define NO_BIAS "its biases are not supported"
#define PARTS "models of several parts, such as text and images, are not supported"
#define SCALES "factors on embeddings, residuals, attention or logits are not supported"
#define WINDOWS "attention that differs from layer to layer is not supported"

const struct config_key config_keys[] = {
    /* Keys that describe the model. */
    { "model_type", USED,
      "a family of the table above; absent: llama, if `architectures` names no other; then no size "
      "may "
      "be missing" },
    { "architectures", USED, "a name that ends in `ForCausalLM` or `Model`; others are refused" },
    { "vocab_size", USED, "rows of the embedding" },
    { "hidden_size", USED, "width of the layers" },
    { "intermediate_size", USED, "width of the MLP" },
    { "num_hidden_layers", USED, "layers" },
    { "num_attention_heads", USED, "heads of queries" },
    { "num_key_value_heads", USED, "null: num_attention_heads" },
    { "head_dim", USED, "absent: hidden_size / num_attention_heads, or as the table above says" },
    { "max_position_embeddings", USED, "the context" },
    { "original_max_position_embeddings", USED, "the context before position scaling" },
    { "rms_norm_eps", USED, "absent: 1e-6; a whole number (1) is refused" },
    { "hidden_act", USED, "`silu`, its other name `swish`, or `gelu_pytorch_tanh`; absent: silu" },
    { "tie_word_embeddings", USED,
      "null: false; a stored head that differs from the embedding is used" },
    { "rope_theta", USED, "absent: as the table above says" },
    { "rope_scaling", USED, "transformers 4's name; null, {}, [], false: none" },
    { "rope_parameters", USED, "transformers 5's name, with rope_theta in it" },
    { "partial_rotary_factor", USED, "1 or null; others are refused" },
    { "is_causal", USED, "true; false is refused" },
    { "attention_dropout", USED,
      "must be 0 for `train`, which does not apply it; no effect on the other programs" },
    { "dtype", USED, "transformers 5's name, preferred to torch_dtype" },
    { "torch_dtype", USED,
      "intended type of the weights; everything is computed from them in f32" },
    { "quantization_config", USED, "bitsandbytes' NF4; others are refused" },
    { "ntk_rope", USED,
      "written by `merge`: the factor of NTK-aware scaling, and the rope_theta before it" },
    /* Keys that change no result. */
    { "pretraining_tp", SAFE, "computes the same products in slices" },
    { "use_cache", SAFE, SPEED },
    { "attn_implementation", SAFE, SPEED },
    { "_attn_implementation", SAFE, SPEED },
    { "_attn_implementation_internal", SAFE, SPEED },
    { "_attn_implementation_autoset", SAFE, SPEED },
    { "_experts_implementation_internal", SAFE, SPEED },
    { "_flash_attn_2_enabled", SAFE, SPEED },
    { "experts_implementation", SAFE, SPEED },
    { "chunk_size_feed_forward", SAFE, SPEED },
    { "gradient_checkpointing", SAFE, TRAINING },
    { "torchscript", SAFE, SPEED },
    { "use_bfloat16", SAFE, "used by TensorFlow only" },
    { "tf_legacy_loss", SAFE, "used by TensorFlow only" },
    { "initializer_range", SAFE, "read when `train` starts from scratch" },
    { "max_sequence_length", SAFE, "transformers does not read it; see max_position_embeddings" },
    { "model_max_length", SAFE, "transformers does not read it; see max_position_embeddings" },
    { "tokenizer_class", SAFE, "the tokenizer's files decide it" },
    { "auto_map", SAFE,
      "code that comes with a model is not run here; transformers runs it only on request" },
    { "bos_token_id", SAFE, A_TOKEN },
    { "eos_token_id", SAFE,
      "tokens that end an answer of `generate`, unless generation_config.json names others; for "
      "the "
      "rest, the tokenizer's files decide" },
    { "pad_token_id", SAFE, A_TOKEN },
    { "unk_token_id", SAFE, A_TOKEN },
    { "sep_token_id", SAFE, A_TOKEN },
    { "decoder_start_token_id", SAFE, A_TOKEN },
    { "is_decoder", SAFE, "a language model is a decoder" },
    { "prefix", SAFE, DECODING },
    { "task_specific_params", SAFE, DECODING },
    { "finetuning_task", SAFE, A_NOTE },
    { "id2label", SAFE, A_LABEL },
    { "label2id", SAFE, A_LABEL },
    { "num_labels", SAFE, A_LABEL },
    { "problem_type", SAFE, A_LABEL },
    { "*dropout*", SAFE, "in transformers it has no effect on these families" },
    { "output_attentions", SAFE, AN_OUTPUT },
    { "output_hidden_states", SAFE, AN_OUTPUT },
    { "output_scores", SAFE, AN_OUTPUT },
    { "return_dict", SAFE, AN_OUTPUT },
    { "return_dict_in_generate", SAFE, AN_OUTPUT },
    { "tie_last_hidden_states", SAFE, AN_OUTPUT },
    { "transformers_version", SAFE, A_NOTE },
    { "_name_or_path", SAFE, A_NOTE },
    { "name_or_path", SAFE, A_NOTE },
    { "_commit_hash", SAFE, A_NOTE },
    { "configuration_files", SAFE, A_NOTE },
    { "unsloth_version", SAFE, A_NOTE },
    { "unsloth_fixed", SAFE, A_NOTE },
    { "max_length", SAFE, DECODING },
    { "min_length", SAFE, DECODING },
    { "max_new_tokens", SAFE, DECODING },
    { "do_sample", SAFE, DECODING },
    { "early_stopping", SAFE, DECODING },
    { "num_beams", SAFE, DECODING },
    { "num_beam_groups", SAFE, DECODING },
    { "diversity_penalty", SAFE, DECODING },
    { "temperature", SAFE, DECODING },
    { "top_k", SAFE, DECODING },
    { "top_p", SAFE, DECODING },
    { "typical_p", SAFE, DECODING },
    { "repetition_penalty", SAFE, DECODING },
    { "encoder_repetition_penalty", SAFE, DECODING },
    { "length_penalty", SAFE, DECODING },
    { "no_repeat_ngram_size", SAFE, DECODING },
    { "encoder_no_repeat_ngram_size", SAFE, DECODING },
    { "bad_words_ids", SAFE, DECODING },
    { "num_return_sequences", SAFE, DECODING },
    { "forced_bos_token_id", SAFE, DECODING },
    { "forced_eos_token_id", SAFE, DECODING },
    { "remove_invalid_values", SAFE, DECODING },
    { "exponential_decay_length_penalty", SAFE, DECODING },
    { "suppress_tokens", SAFE, DECODING },
    { "begin_suppress_tokens", SAFE, DECODING },
    /* Keys that would change a result. */
    { "*bias*", STOP, NO_BIAS },
    { "is_encoder_decoder", STOP, ENCODER },
    { "add_cross_attention", STOP, ENCODER },
    { "cross_attention*", STOP, ENCODER },
    { "tie_encoder_decoder", STOP, ENCODER },
    { "pruned_heads", STOP, "pruned heads are not supported" },
    { "per_layer_config", STOP, "layers of several kinds are not supported" },
    { "transformers_weights", STOP, "weights in files with other names are not supported" },
    { "compression_config", STOP, "compressed weights are not supported: decompress them first" },
    { "quantiz*", STOP, "this quantization is not supported: use the unquantized model" },
    { "text_config", STOP, PARTS },
    { "vision_config", STOP, PARTS },
    { "audio_config", STOP, PARTS },
    { "mm_*", STOP, PARTS },
    { "*experts*", STOP, EXPERTS },
    { "*moe*", STOP, EXPERTS },
    { "router_*", STOP, EXPERTS },
    { "*multiplier*", UNIT, SCALES },
    { "*_scaling*", UNIT, SCALES },
    { "*_scale", UNIT, SCALES },
    { "scale_*", UNIT, SCALES },
    { "*softcap*", STOP, SCALES },
    { "clip_*", STOP, "limits on q, k and v are not supported" },
    { "query_pre_attn_scalar", STOP, SCALES },
    { "*norm*", STOP, NORMS },
    { "*rope*", STOP, POSITIONS },
    { "rotary_*", UNIT, POSITIONS },
    { "*alibi*", STOP, POSITIONS },
    { "position_embedding_type", STOP, POSITIONS },
    { "attention_*", STOP, "this kind of attention is not supported" },
    { "attn_*", STOP, "this kind of attention is not supported" },
    { "*sparse*", STOP, "this kind of attention is not supported" },
    { "*window*", STOP, WINDOWS },
    { "*layer*", STOP, "layers of several kinds are not supported" },
    { "parallel_*", STOP, "attention and MLP in parallel are not supported" },
    { "use_parallel_*", STOP, "attention and MLP in parallel are not supported" },
    { "*lora*", STOP, "adapters inside a model's own files are not supported: merge them first" },
    { 0 },
};

/* Keys in rope_scaling and rope_parameters. */
const struct config_key config_rope_keys[] = {
    { "rope_type", USED,
      "`default`, `linear`, `dynamic`, `yarn`, `llama3`; for phi3 `default`, `longrope`; absent: "
      "default, if no key but rope_theta exists" },
    { "type", USED, "rope_type's older name" },
    { "rope_theta", USED, "takes precedence over rope_theta outside; refused if the two differ" },
    { "factor", USED, "required; null for YaRN: max_position_embeddings / the original context" },
    { "original_max_position_embeddings", USED, "absent: max_position_embeddings" },
    { "low_freq_factor", USED, "for llama3, required" },
    { "high_freq_factor", USED, "for llama3, required" },
    { "beta_fast", USED, "for YaRN; absent, null or 0: 32" },
    { "beta_slow", USED, "for YaRN; absent, null or 0: 1" },
    { "attention_factor", USED,
      "for YaRN; absent or null: computed from factor and mscale; for longrope: computed from the "
      "two contexts" },
    { "mscale", USED, "for YaRN, with mscale_all_dim; absent, null or 0: 1" },
    { "mscale_all_dim", USED, "for YaRN, with mscale" },
    { "truncate", USED, "for YaRN; absent: true; null: false" },
    { "partial_rotary_factor", USED, "1, others are refused; for phi3 as outside of the object" },
    { "finetuned", SAFE, "read by other code, which computes the same" },
    { "short_factor", USED, "for longrope: a list, with a factor for each frequency" },
    { "long_factor", USED, "for longrope: the same, for texts longer than the original context" },
    { "mrope_section", STOP, "positions of images are not supported" },
    { 0 },
};

/* Other programs' names for keys. transformers ignores such a key and uses the default of its own
 * key. */
const struct config_name config_names[] = {
    { "n_layer", "num_hidden_layers" },
    { "n_layers", "num_hidden_layers" },
    { "num_layers", "num_hidden_layers" },
    { "n_embd", "hidden_size" },
    { "n_embed", "hidden_size" },
    { "d_model", "hidden_size" },
    { "dim", "hidden_size" },
    { "n_head", "num_attention_heads" },
    { "n_heads", "num_attention_heads" },
    { "num_heads", "num_attention_heads" },
    { "n_head_kv", "num_key_value_heads" },
    { "n_kv_heads", "num_key_value_heads" },
    { "num_kv_heads", "num_key_value_heads" },
    { "n_inner", "intermediate_size" },
    { "ffn_dim", "intermediate_size" },
    { "ffn_hidden_size", "intermediate_size" },
    { "hidden_dim", "intermediate_size" },
    { "n_positions", "max_position_embeddings" },
    { "n_ctx", "max_position_embeddings" },
    { "max_seq_len", "max_position_embeddings" },
    { "n_vocab", "vocab_size" },
    { "padded_vocab_size", "vocab_size" },
    { "norm_eps", "rms_norm_eps" },
    { "layer_norm_eps", "rms_norm_eps" },
    { "layer_norm_epsilon", "rms_norm_eps" },
    { "layernorm_epsilon", "rms_norm_eps" },
    { "activation_function", "hidden_act" },
    { "rope_base", "rope_theta" },
    { "rotary_emb_base", "rope_theta" },
    { "tie_embeddings", "tie_word_embeddings" },
    { 0 },
};

static const struct config_key *find_key(const struct config_key *table, const char *name)
{
    for (const struct config_key *k = table; k->name; k++)
        if (!strcmp(k->name, name)) return k;
    for (const struct config_key *k = table; k->name; k++)
        if (strchr(k->name, '*') && !fnmatch(k->name, name, 0)) return k;
    return NULL;
}

static bool is_off(const json_t *value, enum config_key_kind kind)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_STRING:
        return !json_string_length(value);
    case JSON_ARRAY:
        return !json_array_size(value);
    case JSON_OBJECT:
        return !json_object_size(value);
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(value) == 0 ||
               (kind == CONFIG_KEY_FACTOR && json_number_value(value) == 1);
    case JSON_TRUE:
        break;
    }
    return false;
}

/* Fails if the key's row refuses the value. key is NULL if there is no row. */
static int check_value(const struct config_key *key, const char *name, const json_t *value,
                       struct fail *why)
{
    if (!key || key->kind < CONFIG_KEY_REFUSED || is_off(value, key->kind)) return 0;
    /* A row without a star is a key that transformers reads. */
    const char *way = strchr(key->name, '*')
                          ? "; transformers does not read this key for this type of model: remove "
                            "it if it does not describe the weights"
                          : "; docs/config.md lists what is supported";
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    (void)fail_input(why, "%.60s: %.60s: %s%s", name, text ? text : "?", key->text, way);
    free(text);
    return -1;
}

/* Checks a key that may be another program's name for a key of transformers. Fails if the config
 * lacks transformers' key. Returns 1 if the config has both keys with equal values. Returns 0 if
 * the values differ, if `value` is off, or if `name` is no such name. */
static int check_name(const json_t *config, const char *name, const json_t *value, struct fail *why)
{
    for (const struct config_name *n = config_names; n->name; n++) {
        if (strcmp(n->name, name) != 0) continue;
        const json_t *own = json_object_get(config, n->own);
        if (own) return json_equal(own, value);
        if (is_off(value, CONFIG_KEY_REFUSED)) return 0;
        return fail_input(why, "'%s' is another model's name for '%s': rename the key", name,
                          n->own);
    }
    return 0;
}

/* Appends a name to the list, or "…" if there is no space. */
static void list_name(char *list, size_t size, const char *name)
{
    static const char more[] = ", …";
    size_t used = strlen(list), needed = strlen(name) + (used ? 2 : 0);
    if (used + needed + sizeof more <= size)
        snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
    else if (used + sizeof more <= size && (used < 3 || strcmp(list + used - 3, "…") != 0))
        snprintf(list + used, size - used, "%s", used ? more : "…");
}

int config_keys_check(const json_t *config, const struct config_key *own, char *unknown,
                      size_t size, struct fail *why)
{
    const char *name;
    json_t *value;
    *unknown = 0;
    json_object_foreach((json_t *)config, name, value)
    {
        const struct config_key *key = find_key(own, name);
        if (!key) key = find_key(config_keys, name);
        int status = check_name(config, name, value, why);
        if (status < 0) return -1;
        if (status) continue;
        if (check_value(key, name, value, why)) return -1;
        if (!key) list_name(unknown, size, name);
    }
    return 0;
}

int config_rope_keys_check(const json_t *rope, const char *where, struct fail *why)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)rope, name, value)
    {
        const struct config_key *key = find_key(config_rope_keys, name);
        if (!key) return fail_input(why, "%s: '%.60s' is not known", where, name);
        if (check_value(key, name, value, why)) return fail_in(why, where);
    }
    return 0;
}

bool config_remark(const struct config *c, char *text, size_t size)
{
    static const char tied[] = "tie_word_embeddings is true, but the stored head differs from the "
                               "embedding: the stored head is used, as in transformers 5";
    snprintf(text, size, "config.json: %s%s%s%s", c->was_tied ? tied : "",
             c->was_tied && *c->unknown ? "; " : "",
             *c->unknown ? "unknown keys without effect, as in transformers: " : "", c->unknown);
    return c->was_tied || *c->unknown;
}
