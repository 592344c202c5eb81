#include "lib/llama/adapter.h"

#include "lib/common/file.h"
#include "lib/common/vocabulary.h"
#include "lib/llama/adapter_fields.h"
#include "lib/llama/adapter_rules.h"
#include "lib/llama/base_config.h"
#include "lib/llama/checkpoint_number.h"
#include "lib/tensorfile/safetensors.h"
#include "lib/tensorfile/torch_file.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* The values that LoraConfig uses if the file lacks them. */
enum { DEFAULT_RANK = 8, DEFAULT_ALPHA = 8, RANK_MAX = 1 << 16 };

static int check_type(const json_t *config, struct fail *why)
{
    /* The methods of PEFT 0.21 that it cannot merge into the base. */
    static const char *const not_merged[] = {
        "PROMPT_TUNING",
        "MULTITASK_PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "ADAPTION_PROMPT",
        "CPT",
        "CARTRIDGE",
        "LILY",
        "POLY",
        "XLORA",
        "SHADOW",
    };
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    if (!type) return fail_input(why, "peft_type is missing: PEFT writes LORA there");
    if (!strcmp(type, "LORA")) return 0;
    if (!strcasecmp(type, "LORA"))
        return fail_input(why, "peft_type is '%s', which PEFT refuses too: write LORA", type);
    for (size_t i = 0; i < sizeof not_merged / sizeof *not_merged; i++)
        if (!strcmp(type, not_merged[i]))
            return fail_input(why,
                              "peft_type is '%s', not LORA: it cannot be used here, and PEFT "
                              "cannot merge it into the base: use it in PEFT",
                              type);
    return fail_input(why,
                      "peft_type is '%.40s', not LORA: merge it in PEFT (merge_and_unload), and "
                      "use the merged model",
                      type);
}

static int check_kind(const json_t *config, struct fail *why)
{
    const char *task = json_string_value(json_object_get(config, "task_type"));
    const json_t *bias = json_object_get(config, "bias");
    const char *name = json_string_value(bias);
    if (check_type(config, why) || adapter_fields_check(config, why) ||
        adapter_check_init(json_object_get(config, "init_lora_weights"), why))
        return -1;
    if (task && strcmp(task, "CAUSAL_LM") != 0)
        return fail_input(why, "task_type '%.20s': only CAUSAL_LM models are supported", task);
    if (bias &&
        (!name || (strcmp(name, "none") && strcmp(name, "all") && strcmp(name, "lora_only"))))
        return fail_input(why, "bias is '%.20s', not none, all or lora_only", name ? name : "null");
    return 0;
}

/* Reads a number that f32 can hold. If the number is missing, *alpha keeps its value. */
static int read_alpha(const json_t *value, const char *field, double *alpha, struct fail *why)
{
    if (!value) return 0;
    if (!json_is_number(value)) return fail_input(why, "%s is not a number", field);
    *alpha = json_number_value(value);
    if (fabs(*alpha) > (double)FLT_MAX)
        return fail_input(why, "%s is %g, more than f32 can hold", field, *alpha);
    return 0;
}

static int read_rank(const json_t *value, const char *field, int64_t *rank, struct fail *why)
{
    if (!value) return 0;
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 1 || n > RANK_MAX)
        return fail_input(why, "%s is not a rank, a whole number from 1 to %d", field, RANK_MAX);
    *rank = (int64_t)n;
    return 0;
}

static int check_patterns(const json_t *config, struct fail *why)
{
    const char *key;
    json_t *value;
    int64_t rank;
    double alpha;
    json_object_foreach(json_object_get(config, "rank_pattern"), key, value)
    {
        if (read_rank(value, key, &rank, why)) return fail_in(why, "rank_pattern");
    }
    json_object_foreach(json_object_get(config, "alpha_pattern"), key, value)
    {
        if (read_alpha(value, key, &alpha, why)) return fail_in(why, "alpha_pattern");
    }
    return 0;
}

/* Sets the name of the base model, if the text is one. */
static int keep_base_name(struct adapter *a, const char *name, struct fail *why)
{
    if (!name || !*name) return 0;
    free(a->base_name);
    a->base_name = strdup(name);
    return a->base_name ? 0 : fail(why, "out of memory");
}

static int read_config(struct adapter *a, json_t *config, struct fail *why)
{
    struct adapter_rules *rules;
    if (check_kind(config, why)) return -1;
    const char *base = json_string_value(json_object_get(config, "base_model_name_or_path"));
    a->config = json_incref(config);
    a->rank = DEFAULT_RANK;
    a->plain_alpha = DEFAULT_ALPHA;
    if (keep_base_name(a, base, why) ||
        read_rank(json_object_get(config, "r"), "r", &a->rank, why) ||
        read_alpha(json_object_get(config, "lora_alpha"), "lora_alpha", &a->plain_alpha, why) ||
        json_get_real(config, "lora_dropout", &a->dropout, why) ||
        json_get_flag(config, "use_rslora", &a->is_rank_stabilized, why) ||
        json_get_flag(config, "use_dora", &a->is_dora, why) ||
        json_get_flag(config, "ensure_weight_tying", &a->ties_head, why) ||
        json_get_flag(config, "lora_bias", &a->has_bias, why) || check_patterns(config, why) ||
        adapter_rules_open(&rules, config, why))
        return -1;
    adapter_rules_close(rules);
    if (a->has_bias && (a->is_dora || json_is_string(json_object_get(config, "init_lora_weights"))))
        return fail_input(
            why, "lora_bias with DoRA, or with a named init_lora_weights: PEFT supports neither");
    /* rsLoRA (Kalajdzievski 2023): the scale is alpha / sqrt(r). */
    a->alpha = a->plain_alpha * (a->is_rank_stabilized ? sqrt((double)a->rank) : 1);
    return 0;
}

static int read_digest(const json_t *object, const char *key, char text[DIGEST_TEXT],
                       struct fail *why)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || strlen(value) >= DIGEST_TEXT)
        return fail_input(why, "'%s' is missing or not a digest", key);
    memcpy(text, value, strlen(value) + 1);
    return 0;
}

/* Reads the position scaling. Its type must be supported, because the factor of another type would
 * mean something else. */
static int read_rope(struct adapter *a, const json_t *rope, struct fail *why)
{
    const char *type = json_string_value(json_object_get(rope, "type"));
    int found = type ? rope_type_by_name(type) : -1;
    if (found < 0) return fail_input(why, "the type of rope is not supported");
    a->rope = (enum rope_type)found;
    a->factor = 1;
    if (json_get_real(rope, "factor", &a->factor, why) ||
        json_get_real(rope, "low_freq_factor", &a->low, why) ||
        json_get_real(rope, "high_freq_factor", &a->high, why) ||
        json_get_count(rope, "original_max_position_embeddings", 1 << 28, &a->original_position,
                       why))
        return -1;
    if (!(a->factor >= 1) || !isfinite(a->factor) || !a->original_position)
        return fail_input(
            why, "rope needs a factor of at least 1, and original_max_position_embeddings");
    if (a->rope == ROPE_DEFAULT && a->factor != 1)
        return fail_input(why,
                          "rope is of type default, which has no factor, but it has the factor %g",
                          a->factor);
    bool has_both = a->low > 0 && a->high > a->low, has_none = a->low == 0 && a->high == 0;
    if (!has_none && (!has_both || a->rope != ROPE_LLAMA3))
        return fail_input(why,
                          "rope has low_freq_factor %g and high_freq_factor %g: llama3 positions "
                          "need a positive one and a larger one, and others have neither",
                          a->low, a->high);
    a->has_rope = true;
    return 0;
}

/* Reads the template of the conversations in the training data. */
static int read_template(struct adapter *a, const json_t *object, struct fail *why)
{
    struct template_record *record = &a->template;
    const struct {
        const char *key;
        char *to;
        size_t size;
        bool is_needed;
    } texts[] = { { "name", record->name, sizeof record->name, true },
                  { "digest", record->digest, sizeof record->digest, true },
                  { "text", record->text, sizeof record->text, false } };
    if (!object) return 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const json_t *value = json_object_get(object, texts[i].key);
        const char *text = json_string_value(value);
        if (!value && !texts[i].is_needed) continue;
        if (!text || strlen(text) >= texts[i].size)
            return fail_input(why, "'template': '%s' is missing, not a text, or too long",
                              texts[i].key);
        memcpy(texts[i].to, text, strlen(text) + 1);
    }
    return json_get_flag(object, "mixed", &record->is_mixed, why);
}

/* Reads longqlora.json, of which only version 1 exists. */
static int read_origin(struct adapter *a, json_t *origin, struct fail *why)
{
    const json_t *version = json_object_get(origin, "longqlora");
    const json_t *tied = json_object_get(origin, "tied_head");
    const char *name = json_string_value(json_object_get(origin, "base_name"));
    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return fail_input(why, "'longqlora' is not 1, the only known version of the file: was it "
                               "made by a newer program?");
    if (tied && !json_is_boolean(tied)) return fail_input(why, "'tied_head' is not true or false");
    a->head = !tied ? HEAD_TIED_OLD : json_is_true(tied) ? HEAD_TIED : HEAD_BY_PEFT;
    if (keep_base_name(a, name, why) ||
        read_template(a, json_object_get(origin, "template"), why) ||
        read_digest(origin, "base", a->base, why) ||
        read_digest(origin, "tokenizer", a->tokenizer, why))
        return -1;
    const char *quantization = json_string_value(json_object_get(origin, "base_quantization"));
    if (quantization)
        snprintf(a->base_quantization, sizeof a->base_quantization, "%s", quantization);
    a->knows_base = true;
    json_t *config = json_object_get(origin, "base_config");
    if (config && base_config_check(config, why)) return -1;
    a->base_config = json_incref(config);
    return read_rope(a, json_object_get(origin, "rope"), why);
}

static int read_json(struct adapter *a, const char *directory, const char *name,
                     int (*read)(struct adapter *, json_t *, struct fail *), struct fail *why)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    json_t *json = json_read_file(path, why);
    if (!json) return -1;
    int status = json_is_object(json) ? read(a, json, why) : fail_input(why, "not an object");
    json_decref(json);
    return status ? fail_in(why, path) : 0;
}

/* Fails unless the config's rank is that of the matrices, because a model allocates memory for this
 * rank. With rank_pattern, adapter_fit checks this. */
static int check_rank(const struct adapter *a, const char *path, struct fail *why)
{
    if (json_object_size(json_object_get(a->config, "rank_pattern"))) return 0;
    for (size_t i = 0; i < a->file.count; i++) {
        const struct stored_tensor *s = &a->file.at[i];
        int side = strstr(s->name, ".lora_A.") ? 0 : strstr(s->name, ".lora_B.") ? 1 : -1;
        bool is_bias = side >= 0 && strstr(s->name, ".bias");
        if (side < 0 || is_bias || (s->dims == 2 && s->shape[side] == a->rank)) continue;
        char shape[128];
        stored_tensor_describe(s, shape, sizeof shape);
        return fail_input(why, "%s: %s is %s, but adapter_config.json has the rank r %lld", path,
                          s->name, shape, (long long)a->rank);
    }
    return 0;
}

static bool is_there(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return !access(path, F_OK);
}

/* Does the directory have a folder of this name with an adapter in it? */
static bool holds_adapter(const char *directory, const char *folder)
{
    char path[4096 + 64];
    snprintf(path, sizeof path, "%.4000s/%s/adapter_config.json", directory, folder);
    return !access(path, F_OK);
}

/* Fails if the directory is that of a run but has no adapter itself, and says which folder to give
 * instead. A run that was stopped has only checkpoints. A run that ended has put its result in the
 * folder `result` if a file of the user had the name of one of the result's files. */
static int check_is_finished(const char *directory, struct fail *why)
{
    char path[4096], folder[CHECKPOINT_NAME];
    struct stat st;
    snprintf(path, sizeof path, "%s/adapter_config.json", directory);
    bool exists = !stat(path, &st);
    if ((exists && S_ISREG(st.st_mode)) || (!exists && errno != ENOENT)) return 0;
    if (holds_adapter(directory, "result"))
        return fail_input(why,
                          "%.180s: not an adapter: when the run there ended, another file had the "
                          "name of one of its files, so its result is in %.180s/result",
                          directory, directory);
    if (exists) return 0;
    bool has_checkpoint = checkpoint_newest_with(directory, "adapter_config.json", folder);
    if (!has_checkpoint && !holds_adapter(directory, "best")) return 0;
    return fail_input(why,
                      "%.180s: no adapter yet: the run there is not finished: resume it, or name "
                      "its %s, %.180s/%s",
                      directory, has_checkpoint ? "newest checkpoint" : "best model", directory,
                      has_checkpoint ? folder : "best");
}

int adapter_check_place(const char *place, struct fail *why)
{
    struct stat st;
    if (is_there(place, "adapter_config.json")) return 0;
    if (stat(place, &st)) return fail(why, "%s: %s", place, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail(why, "%s: a file: an adapter is the directory with adapter_config.json in it",
                    place);
    if (file_check_folder(place, why) || check_is_finished(place, why)) return -1;
    if (is_there(place, "config.json"))
        return fail(why,
                    "%s: a model, not an adapter: it has config.json and no "
                    "adapter_config.json: name the adapter's directory",
                    place);
    return fail(why,
                "%s: no adapter_config.json in it, so it is not an adapter's directory: name the "
                "one that has it",
                place);
}

static bool saves(const struct adapter *a, enum part part)
{
    return adapter_list_saves(json_object_get(a->config, "modules_to_save"),
                              part == PART_HEAD ? "lm_head" : "model.embed_tokens");
}

/* Does PEFT train the tensor as a whole? It does not train a copy of the base's matrix beside LoRA
 * matrices, nor an embedding or a head that modules_to_save does not name. With
 * ensure_weight_tying one name stands for both. */
static bool is_trained_whole(const struct adapter *a, const char *name, enum part part)
{
    if (strstr(name, ".base_layer.weight")) return false;
    if (part != PART_EMBEDDING && part != PART_HEAD) return true;
    if (a->ties_head) return saves(a, PART_EMBEDDING) || saves(a, PART_HEAD);
    return saves(a, part);
}

/* Opens adapter_model.safetensors, or adapter_model.bin of older versions of PEFT. */
static int open_matrices(struct adapter *a, const char *directory, struct fail *why)
{
    static const char *const names[] = { "adapter_model.safetensors", "adapter_model.bin" };
    char path[4096];
    bool is_torch = !is_there(directory, names[0]);
    if (is_torch && !is_there(directory, names[1]))
        return fail(why, "%s: neither %s nor %s in it", directory, names[0], names[1]);
    snprintf(path, sizeof path, "%s/%s", directory, names[is_torch]);
    if (digest_file(path, a->digest, why)) return -1;
    if (is_torch ? torch_open(&a->file, path, why) : safetensors_open(&a->file, path, why))
        return -1;
    for (size_t i = 0; i < a->file.count; i++) {
        const char *name = a->file.at[i].name;
        int part = part_of_name(name);
        if (part < 0) continue;
        if (strstr(name, ".lora_"))
            a->targets |= 1u << part;
        else if (is_trained_whole(a, name, (enum part)part))
            a->modules_to_save |= 1u << part;
    }
    return check_rank(a, path, why);
}

/* Opens LongLoRA's embedding and norms. Their names are those of the base's tensors, with or
 * without the prefix that PEFT adds. */
static int open_trainable_params(struct adapter *a, const char *directory, struct fail *why)
{
    char path[4096], both[2 * DIGEST_TEXT], digest[DIGEST_TEXT];
    snprintf(path, sizeof path, "%s/trainable_params.bin", directory);
    int found = file_is_there(path, why);
    if (found <= 0) return found;
    if (digest_file(path, digest, why) || torch_open(&a->trainable_params, path, why)) return -1;
    a->has_trainable_params = true;
    int n = snprintf(both, sizeof both, "%s%s", a->digest, digest);
    digest_of_bytes(both, (size_t)n, a->digest);
    for (size_t i = 0; i < a->trainable_params.count; i++) {
        const char *name = a->trainable_params.at[i].name, *end = strrchr(name, '.');
        int part = end && !strcmp(end, ".weight") ? part_of_name(name) : -1;
        if (part < 0 || parts_of_role(ROLE_LINEAR) >> part & 1)
            return fail_input(why, "%s: %s is not supported", path, name);
        a->modules_to_save |= 1u << part;
    }
    return 0;
}

int adapter_open(struct adapter *a, const char *directory, struct fail *why)
{
    *a = (struct adapter){ .factor = 1 };
    if (adapter_check_place(directory, why)) return -1;
    char own[4096];
    snprintf(own, sizeof own, "%s/longqlora.json", directory);
    int is_ours = file_is_there(own, why);
    if (is_ours < 0) return -1;
    if (read_json(a, directory, "adapter_config.json", read_config, why) ||
        (is_ours && read_json(a, directory, "longqlora.json", read_origin, why)) ||
        open_matrices(a, directory, why) || open_trainable_params(a, directory, why)) {
        adapter_close(a);
        return -1;
    }
    return 0;
}

void adapter_close(struct adapter *a)
{
    free(a->base_name);
    a->base_name = NULL;
    json_decref(a->config);
    json_decref(a->base_config);
    a->config = a->base_config = NULL;
    adapter_forget_tensors(a);
}

void adapter_forget_tensors(struct adapter *a)
{
    tensor_file_close(&a->file);
    if (a->has_trainable_params) tensor_file_close(&a->trainable_params);
    a->has_trainable_params = false;
}

int adapter_set_rope(const struct adapter *a, struct config *c, struct fail *why)
{
    if (!a->has_rope) return 0;
    if (a->original_position != c->original_position)
        return fail_input(why,
                          "trained from an original context of %lld, but that of the base is %lld: "
                          "is it another base?",
                          (long long)a->original_position, (long long)c->original_position);
    if (a->low > 0) {
        if (rope_make(&c->rope, a->rope, a->factor, why)) return -1;
        c->rope.low = a->low;
        c->rope.high = a->high;
        return 0;
    }
    /* The base's position scaling may have more parameters than type and factor. If its type and
     * factor are the adapter's, all its parameters stay as they are. */
    if (c->rope.type == a->rope && c->rope.factor == a->factor) return 0;
    if (a->rope == ROPE_LLAMA3 || a->rope == ROPE_LONGROPE)
        return fail_input(why, "trained with %s positions, factor %g; the base has %s, %g",
                          rope_type_name(a->rope), a->factor, rope_type_name(c->rope.type),
                          c->rope.factor);
    return rope_make(&c->rope, a->rope, a->factor, why);
}

int adapter_check_base(const struct adapter *a, const char *base, const char *model,
                       struct fail *why)
{
    if (!a->knows_base || !strcmp(a->base, base)) return 0;
    return fail_input(why,
                      "trained on the base %s (digest %s), not on %s (digest %s): take that "
                      "base",
                      a->base_name ? a->base_name : "?", a->base, model, base);
}

int adapter_check_tokenizer(const struct adapter *a, const char *tokenizer, const char *model,
                            struct fail *why)
{
    const struct vocabulary own = { .tokenizer = a->tokenizer };
    const struct vocabulary base = { .name = model, .tokenizer = tokenizer };
    char advice[300];
    snprintf(advice, sizeof advice, "trained on the base %.200s: take that base",
             a->base_name ? a->base_name : "?");
    return a->knows_base ? vocabulary_check(&own, &base, advice, why) : 0;
}

int adapter_check_config(const struct adapter *a, const struct config *c, const char *model,
                         struct fail *why)
{
    struct base_config_difference d;
    if (!a->base_config) return 0;
    json_t *now = base_config(c);
    if (!now) return fail(why, "out of memory");
    int status = 0;
    if (base_config_differs(a->base_config, now, &d))
        status = fail_input(why,
                            "trained on a base whose config has %s %s, but that of %.200s has %s: "
                            "take the base as it was then",
                            d.key, d.then, model, d.now);
    json_decref(now);
    return status;
}
