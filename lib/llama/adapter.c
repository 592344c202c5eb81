#include "adapter.h"

#include "../common/bf16.h"
#include "../common/output.h"
#include "../common/torch_file.h"
#include "checkpoint.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static const char peft_prefix[] = "base_model.model.";

void adapter_tensor_name(const struct tensor *t, enum trained kind, char *name, size_t size)
{
    size_t stem = strlen(t->name) - strlen(".weight");
    if (kind == TRAINED_WEIGHT)
        snprintf(name, size, "%s%s", peft_prefix, t->name);
    else
        snprintf(name, size, "%s%.*s.lora_%c.weight", peft_prefix, (int)stem, t->name,
                 kind == TRAINED_LORA_A ? 'A' : 'B');
}

static int read_targets(struct adapter *a, const json_t *config, struct fail *why)
{
    const json_t *list = json_object_get(config, "target_modules");
    const char *word = json_string_value(list);
    size_t i;
    json_t *item;
    if (word && !strcmp(word, "all-linear"))
        a->targets = parts_of_role(ROLE_LINEAR);
    else if (!json_is_array(list) || !json_array_size(list))
        return fail_input(why, "target_modules is not a list of names");
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item), *dot = name ? strrchr(name, '.') : NULL;
        int part = name ? part_by_module(dot ? dot + 1 : name) : -1;
        if (part < 0)
            return fail_input(why, "target module '%.60s' is not a linear of a LLaMA layer",
                              name ? name : "?");
        a->targets |= 1u << part;
    }
    list = json_object_get(config, "modules_to_save");
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        uint32_t parts = name ? parts_by_suffix(name) : 0;
        if (!parts || parts & parts_of_role(ROLE_LINEAR))
            return fail_input(why, "modules_to_save: '%.60s' is not read here", name ? name : "?");
        a->whole |= parts;
    }
    return 0;
}

/* What changes the meaning of the matrices and is not computed here. */
static int refuse_variants(const json_t *config, struct fail *why)
{
    static const char *const flags[] = { "use_dora", "fan_in_fan_out", "lora_bias", "use_bdlora",
                                         "use_qalora" };
    static const char *const filled[] = { "rank_pattern",
                                          "alpha_pattern",
                                          "layers_to_transform",
                                          "target_parameters",
                                          "layer_replication",
                                          "trainable_token_indices",
                                          "alora_invocation_tokens",
                                          "kasa_config",
                                          "velora_config",
                                          "monteclora_config",
                                          "arrow_config" };
    const char *bias = json_string_value(json_object_get(config, "bias"));
    if (bias && strcmp(bias, "none") != 0) return fail_input(why, "bias '%.20s' is not read", bias);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(config, flags[i])))
            return fail_input(why, "%s is not computed here", flags[i]);
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) {
        const json_t *value = json_object_get(config, filled[i]);
        if (json_object_size(value) || json_array_size(value) || json_is_integer(value) ||
            json_is_true(value) || json_is_string(value))
            return fail_input(why, "%s is not computed here", filled[i]);
    }
    return 0;
}

static int read_config(struct adapter *a, const json_t *config, struct fail *why)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const char *base = json_string_value(json_object_get(config, "base_model_name_or_path"));
    bool is_rank_stabilized = false;
    if (!type || strcmp(type, "LORA") != 0)
        return fail_input(why, "peft_type is '%.20s', not LORA", type ? type : "missing");
    a->base_name = base && *base ? strdup(base) : NULL;
    if (refuse_variants(config, why) || json_get_count(config, "r", 1 << 16, &a->rank, why) ||
        json_get_real(config, "lora_alpha", &a->alpha, why) ||
        json_get_real(config, "lora_dropout", &a->dropout, why) ||
        json_get_flag(config, "use_rslora", &is_rank_stabilized, why))
        return -1;
    if (!a->rank) return fail_input(why, "rank r is missing or 0");
    if (!json_is_number(json_object_get(config, "lora_alpha")))
        return fail_input(why, "lora_alpha is missing");
    if (fabs(a->alpha) > (double)FLT_MAX)
        return fail_input(why, "lora_alpha is %g, more than f32 has", a->alpha);
    /* Kalajdzievski 2023: the scale is alpha / sqrt(r). */
    if (is_rank_stabilized) a->alpha *= sqrt((double)a->rank);
    return read_targets(a, config, why);
}

static int read_text(const json_t *object, const char *key, char text[STREAM_DIGEST_TEXT],
                     struct fail *why)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || strlen(value) >= STREAM_DIGEST_TEXT) return fail_input(why, "no '%s'", key);
    memcpy(text, value, strlen(value) + 1);
    return 0;
}

static int read_origin(struct adapter *a, const json_t *origin, struct fail *why)
{
    if (read_text(origin, "base", a->base, why) ||
        read_text(origin, "tokenizer", a->tokenizer, why))
        return -1;
    a->knows_base = true;
    const json_t *rope = json_object_get(origin, "rope");
    const char *type = json_string_value(json_object_get(rope, "type"));
    int found = type ? rope_type_by_name(type) : -1;
    if (found < 0) return fail_input(why, "rope has no type that is computed here");
    a->rope = (enum rope_type)found;
    a->factor = 1;
    if (json_get_real(rope, "factor", &a->factor, why) ||
        json_get_count(rope, "original_max_position_embeddings", 1 << 28, &a->original_position,
                       why))
        return -1;
    if (!(a->factor >= 1) || !a->original_position) return fail_input(why, "rope is not whole");
    a->has_rope = true;
    return 0;
}

static int read_json(struct adapter *a, const char *directory, const char *name,
                     int (*read)(struct adapter *, const json_t *, struct fail *), struct fail *why)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    json_t *json = json_read_file(path, why);
    if (!json) return -1;
    int status = json_is_object(json) ? read(a, json, why) : fail_input(why, "not an object");
    json_decref(json);
    return status ? fail_in(why, path) : 0;
}

/* The rank sizes what a model takes for its adapter: it must be the file's. */
static int check_rank(const struct adapter *a, const char *path, struct fail *why)
{
    for (size_t i = 0; i < a->file.count; i++) {
        const struct stored_tensor *s = &a->file.at[i];
        int side = strstr(s->name, ".lora_A.") ? 0 : strstr(s->name, ".lora_B.") ? 1 : -1;
        if (side < 0 || (s->dims == 2 && s->shape[side] == a->rank)) continue;
        char shape[128];
        stored_tensor_describe(s, shape, sizeof shape);
        return fail_input(why, "%s: %s is %s, adapter_config.json has the rank r %lld", path,
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

/* Is there an adapter in that folder of the directory? */
static bool holds_adapter(const char *directory, const char *folder)
{
    char path[4096 + 64];
    snprintf(path, sizeof path, "%.4000s/%s/adapter_config.json", directory, folder);
    return !access(path, F_OK);
}

/* A run that was stopped has checkpoints and no result yet: says which to name. */
static int check_is_finished(const char *directory, struct fail *why)
{
    char path[4096], folder[48] = "best";
    snprintf(path, sizeof path, "%s/adapter_config.json", directory);
    if (!access(path, F_OK) || errno != ENOENT) return 0;
    for (int64_t n = INT64_MAX; (n = checkpoint_newest(directory, n)) >= 0;) {
        char name[48];
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)n);
        if (!holds_adapter(directory, name)) continue;
        memcpy(folder, name, sizeof folder);
        break;
    }
    if (!holds_adapter(directory, folder)) return 0;
    return fail_input(
        why,
        "%.180s: no adapter yet: the run there was not finished: go on with it, or name "
        "its newest checkpoint, %.180s/%s",
        directory, directory, folder);
}

int adapter_check_place(const char *place, struct fail *why)
{
    struct stat st;
    if (is_there(place, "adapter_config.json")) return 0;
    if (stat(place, &st)) return fail(why, "%s: %s", place, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail(why, "%s: a file: an adapter is the directory with adapter_config.json in it",
                    place);
    if (check_is_finished(place, why)) return -1;
    if (is_there(place, "config.json"))
        return fail(why,
                    "%s: a model, not an adapter: it has config.json and no "
                    "adapter_config.json",
                    place);
    return fail(why, "%s: no adapter_config.json in it: not an adapter's directory", place);
}

/* adapter_model.safetensors, or what PEFT wrote before it. */
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
    return check_rank(a, path, why);
}

/* Which part a tensor of that name belongs to, as PEFT would name its module. */
static uint32_t part_of_tensor(const char *name)
{
    char module[TENSOR_NAME_MAX + 1];
    const char *dot, *end = strrchr(name, '.');
    if (!end || strcmp(end, ".weight") != 0) return 0;
    snprintf(module, sizeof module, "%.*s", (int)(end - name), name);
    dot = strstr(module, ".layers.") ? strrchr(module, '.') : NULL;
    return parts_by_suffix(dot ? dot + 1 : module);
}

/* LongLoRA's embedding and norms, by the names of the base, or of the base inside PEFT's. */
static int open_beside(struct adapter *a, const char *directory, struct fail *why)
{
    char path[4096], both[2 * STREAM_DIGEST_TEXT], digest[STREAM_DIGEST_TEXT];
    snprintf(path, sizeof path, "%s/trainable_params.bin", directory);
    if (access(path, F_OK)) return 0;
    if (digest_file(path, digest, why) || torch_open(&a->beside, path, why)) return -1;
    a->has_beside = true;
    int n = snprintf(both, sizeof both, "%s%s", a->digest, digest);
    digest_of_bytes(both, (size_t)n, a->digest);
    for (size_t i = 0; i < a->beside.count; i++) {
        const char *name = a->beside.at[i].name;
        size_t prefix = strncmp(name, peft_prefix, strlen(peft_prefix)) ? 0 : strlen(peft_prefix);
        uint32_t part = part_of_tensor(name + prefix);
        if (!part || part & parts_of_role(ROLE_LINEAR))
            return fail_input(why, "%s: %s is not read here", path, name);
        a->whole |= part;
    }
    return 0;
}

int adapter_open(struct adapter *a, const char *directory, struct fail *why)
{
    *a = (struct adapter){ .factor = 1 };
    if (adapter_check_place(directory, why)) return -1;
    bool is_ours = is_there(directory, "longqlora.json");
    if (read_json(a, directory, "adapter_config.json", read_config, why) ||
        (is_ours && read_json(a, directory, "longqlora.json", read_origin, why)) ||
        open_matrices(a, directory, why) || open_beside(a, directory, why)) {
        adapter_close(a);
        return -1;
    }
    return 0;
}

void adapter_close(struct adapter *a)
{
    free(a->base_name);
    a->base_name = NULL;
    tensor_file_close(&a->file);
    if (a->has_beside) tensor_file_close(&a->beside);
    a->has_beside = false;
}

void adapter_set_up(const struct adapter *a, struct model_setup *setup)
{
    setup->rank = a->rank;
    setup->alpha = a->alpha;
    setup->targets = a->targets;
    setup->whole = a->whole;
}

int adapter_set_rope(const struct adapter *a, struct config *c, struct fail *why)
{
    if (!a->has_rope) return 0;
    if (a->original_position != c->original_position)
        return fail_input(why,
                          "trained from an original context of %lld, that of the base is %lld: "
                          "another base?",
                          (long long)a->original_position, (long long)c->original_position);
    /* The base's own stretch may have more to it than type and factor. */
    if (c->rope.type == a->rope && c->rope.factor == a->factor) return 0;
    if (a->rope == ROPE_LLAMA3)
        return fail_input(why, "trained with llama3 positions, factor %g; the base has %s, %g",
                          a->factor, rope_type_name(c->rope.type), c->rope.factor);
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
    if (!a->knows_base || !a->tokenizer[0] || !tokenizer[0] || !strcmp(a->tokenizer, tokenizer))
        return 0;
    return fail_input(why,
                      "trained on the base %s with the tokenizer of digest %s, that of %s is %s: "
                      "take that base",
                      a->base_name ? a->base_name : "?", a->tokenizer, model, tokenizer);
}

static const struct stored_tensor *find(const struct adapter *a, const struct tensor *t,
                                        enum trained kind, char name[160])
{
    adapter_tensor_name(t, kind, name, 160);
    const struct stored_tensor *s = tensor_file_find(&a->file, name);
    if (s || !a->has_beside || kind != TRAINED_WEIGHT) return s;
    s = tensor_file_find(&a->beside, name);
    return s ? s : tensor_file_find(&a->beside, t->name);
}

/* Rows beyond the vocabulary are of tokens that LongLoRA adds, to fill samples up. */
static bool has_rows(const struct adapter *a, const struct tensor *t, const struct stored_tensor *s,
                     int64_t rows)
{
    bool is_beside = a->has_beside && s >= a->beside.at && s < a->beside.at + a->beside.count;
    return is_beside && t->part == PART_EMBEDDING ? s->shape[0] >= rows : s->shape[0] == rows;
}

float *adapter_values(const struct adapter *a, const struct tensor *t, enum trained kind,
                      int64_t rows, int64_t cols, struct fail *why)
{
    char name[160];
    const struct stored_tensor *s = find(a, t, kind, name);
    size_t count = (size_t)(rows * cols);
    if (!s) {
        fail_input(why, "no tensor %s in it, which its targets ask for", name);
        return NULL;
    }
    int64_t stored_cols = s->dims == 2 ? s->shape[1] : 1;
    if (s->dims < 1 || s->dims > 2 || !has_rows(a, t, s, rows) || stored_cols != cols ||
        s->dtype > DTYPE_BF16) {
        fail_input(why, "%s has not the shape [%lld, %lld], which this base needs", name,
                   (long long)rows, (long long)cols);
        return NULL;
    }
    float *values = malloc(count * sizeof *values + 1);
    if (!values) {
        fail(why, "out of memory");
        return NULL;
    }
    if (s->dtype == DTYPE_F32) {
        memcpy(values, s->data, count * sizeof *values);
        return values;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, (const char *)s->data + 2 * i, 2);
        values[i] = s->dtype == DTYPE_BF16 ? bf16_to_float(half) : f16_to_float(half);
    }
    return values;
}

static bool wants(const struct adapter *a, const struct tensor *t, enum trained kind)
{
    if (kind == TRAINED_WEIGHT) return a->whole >> t->part & 1;
    return t->role == ROLE_LINEAR && (a->targets >> t->part & 1);
}

int adapter_check_tensors(const struct adapter *a, const struct config *c, struct fail *why)
{
    struct tensor *table;
    int64_t count = tensors_list(c, &table, why), expected = 0;
    if (count < 0) return -1;
    int status = 0;
    for (int64_t i = 0; i < count && !status; i++)
        for (int kind = TRAINED_WEIGHT; kind <= TRAINED_LORA_B && !status; kind++) {
            if (!wants(a, &table[i], (enum trained)kind)) continue;
            char name[160];
            expected++;
            if (!find(a, &table[i], (enum trained)kind, name))
                status = fail_input(why, "no tensor %s in it, which its targets ask for", name);
        }
    free(table);
    size_t stored = a->file.count + (a->has_beside ? a->beside.count : 0);
    if (!status && (size_t)expected != stored)
        status =
            fail_input(why, "%zu tensors in it, %lld of them belong to this base: another base?",
                       stored, (long long)expected);
    return status;
}

int adapter_load(const struct adapter *a, struct model *m, struct fail *why)
{
    const struct parameters *p = model_parameters(m);
    if (adapter_check_tensors(a, model_config(m), why)) return -1;
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        float *values = adapter_values(a, t->tensor, t->kind, t->rows, t->cols, why);
        if (!values) return -1;
        model_kernels(m)->upload(model_device(m), p->value + t->offset, values,
                                 (size_t)(t->rows * t->cols) * 4);
        free(values);
    }
    return 0;
}
