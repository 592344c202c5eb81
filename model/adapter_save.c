#include "model/adapter_save.h"

#include "lib/common/suffix.h"
#include "lib/llama/adapter_rules.h"
#include "lib/llama/base_config.h"
#include "lib/tensorfile/safetensors.h"

#include <sys/stat.h>

/* True if the embedding is trained and the head is tied to it. */
static bool trains_tied(const struct model *m)
{
    const struct parameters *p = model_parameters(m);
    return model_config(m)->is_tied && p->at_count && p->at[0].tensor->part == PART_EMBEDDING &&
           p->at[0].kind == TRAINED_WEIGHT;
}

/* ---- names of modules ---- */

/* Returns PEFT's usual name of a module, which is its last word. */
static const char *last_word(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Is the tensor trained as a whole? Biases do not count, because the field bias names them. */
static bool is_whole(const struct trainable *t)
{
    return t->kind == TRAINED_WEIGHT && t->tensor->role != ROLE_BIAS;
}

/* Returns the names of the modules that have LoRA matrices. */
static json_t *target_names(const struct model *m)
{
    const struct parameters *p = model_parameters(m);
    json_t *list = json_array();
    for (int part = 0; part < PART_COUNT; part++)
        for (int64_t i = 0; i < p->at_count; i++) {
            const struct trainable *t = &p->at[i];
            if ((int)t->tensor->part != part || t->kind == TRAINED_WEIGHT) continue;
            char module[64];
            tensor_module(t->tensor, module);
            json_array_append_new(list, json_string(last_word(module)));
            break;
        }
    return list;
}

static bool list_has(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        if (!strcmp(json_string_value(item), name)) return true;
    }
    return false;
}

/* Does the list name the module, or a block that contains it? */
static bool list_covers(const json_t *list, const char *module)
{
    char name[64];
    snprintf(name, sizeof name, "%s", module);
    for (char *dot = name; dot; dot = strrchr(name, '.')) {
        if (dot != name) *dot = 0;
        if (adapter_list_saves(list, name)) return true;
    }
    return false;
}

static bool is_trained_whole(const struct parameters *p, const char *name)
{
    for (int64_t i = 0; i < p->at_count; i++)
        if (is_whole(&p->at[i]) && !strcmp(p->at[i].tensor->name, name)) return true;
    return false;
}

/* Would this name in modules_to_save also mean a module that is not trained as a whole? */
static bool means_others(const struct model *m, const struct tensor *table, int64_t count,
                         const char *name)
{
    for (int64_t i = 0; i < count; i++) {
        char module[64];
        tensor_module(&table[i], module);
        if (table[i].role != ROLE_BIAS && suffix_is(module, name) &&
            !is_trained_whole(model_parameters(m), table[i].name))
            return true;
    }
    return false;
}

/* Adds names for the modules of the part that are trained as a whole and that the list does not
 * name yet: the last word for all of them, or the whole name of each if the word would mean others
 * too. given: the list of the adapter that was trained further, or NULL. */
static void add_saved(const struct model *m, int part, const struct tensor *table, int64_t count,
                      const json_t *given, json_t *list)
{
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        char module[64];
        if ((int)t->tensor->part != part || !is_whole(t)) continue;
        tensor_module(t->tensor, module);
        if (list_covers(given, module)) continue;
        const char *name = last_word(module);
        if (means_others(m, table, count, name)) name = module;
        if (!list_has(list, name)) json_array_append_new(list, json_string(name));
    }
}

/* Returns modules_to_save: the list of the adapter that was trained further, because its names may
 * mean fewer modules than their last words, and then the modules that it does not name. */
static json_t *saved_names(const struct model *m, const json_t *from, struct fail *why)
{
    const json_t *given = json_object_get(from, "modules_to_save");
    struct tensor *table;
    int64_t count = tensors_list(model_config(m), &table, why);
    if (count < 0) return NULL;
    json_t *list = json_is_array(given) ? json_copy((json_t *)given) : json_array();
    for (int part = 0; part < PART_COUNT; part++)
        add_saved(m, part, table, count, given, list);
    if (trains_tied(m) && !adapter_list_saves(list, "lm_head"))
        json_array_append_new(list, json_string("lm_head"));
    free(table);
    if (!list) (void)fail(why, "out of memory");
    return list;
}

/* ---- adapter_config.json ---- */

/* True if each part that has LoRA matrices has them in every layer. */
static bool is_in_all(const struct model *m)
{
    const struct parameters *p = model_parameters(m);
    int64_t count[PART_COUNT] = { 0 };
    for (int64_t i = 0; i < p->at_count; i++)
        if (p->at[i].kind == TRAINED_LORA_A && p->at[i].tensor->layer >= 0)
            count[p->at[i].tensor->part]++;
    for (int part = 0; part < PART_COUNT; part++)
        if (count[part] && count[part] != model_config(m)->layers) return false;
    return true;
}

/* True if target_modules, one rank and one alpha describe the adapter completely. */
static bool is_uniform(const struct model *m)
{
    const struct parameters *p = model_parameters(m);
    const struct model_setup *s = model_setup_of(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct adapted *own = model_adapted(m, p->at[i].tensor);
        if (p->at[i].kind != TRAINED_WEIGHT &&
            (own->rank != s->rank || (float)own->scale != (float)(s->alpha / (double)s->rank)))
            return false;
    }
    return is_in_all(m);
}

/* Copies these fields from the adapter that was trained further, if one rank, one alpha and one
 * list of modules cannot describe the adapter. */
static void keep_fields(json_t *config, const json_t *from)
{
    static const char *const names[] = { "r",
                                         "lora_alpha",
                                         "use_rslora",
                                         "rank_pattern",
                                         "alpha_pattern",
                                         "target_modules",
                                         "exclude_modules",
                                         "layers_to_transform",
                                         "layers_pattern" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(from, names[i]);
        if (value)
            json_object_set_new(config, names[i], json_deep_copy(value));
        else
            json_object_del(config, names[i]);
    }
}

json_t *adapter_name_for_peft(const char *base_name, const struct config *c)
{
    struct stat st;
    if (!stat(base_name, &st) && S_ISREG(st.st_mode)) {
        const char *name = json_string_value(json_object_get(c->json, "_name_or_path"));
        return name && *name ? json_string(name) : json_null();
    }
    return json_string(base_name);
}

/* Returns PEFT's word for the biases that are trained: "none", or the word in the adapter that was
 * trained further. */
static const char *bias_word(const struct model *m, const struct adapter *from)
{
    const struct parameters *p = model_parameters(m);
    bool has_bias = false;
    for (int64_t i = 0; i < p->at_count; i++)
        has_bias = has_bias || p->at[i].tensor->role == ROLE_BIAS;
    const char *word = from ? json_string_value(json_object_get(from->config, "bias")) : NULL;
    return has_bias && word ? word : "none";
}

static int write_config(const struct model *m, const struct model_setup *setup,
                        const struct adapter_origin *origin, const char *directory,
                        struct fail *why)
{
    char path[4096];
    const json_t *from = origin->from ? origin->from->config : NULL;
    json_t *saved = saved_names(m, from, why);
    if (!saved) return -1;
    json_t *peft_name = origin->peft_name
                            ? json_deep_copy(origin->peft_name)
                            : adapter_name_for_peft(origin->base_name, model_config(m));
    json_t *config =
        json_pack("{s:s,s:s,s:o,s:I,s:f,s:f,s:s,s:b,s:b,s:b,s:o,s:o}", "peft_type", "LORA",
                  "task_type", "CAUSAL_LM", "base_model_name_or_path", peft_name, "r",
                  (json_int_t)setup->rank, "lora_alpha", setup->alpha, "lora_dropout",
                  setup->dropout, "bias", bias_word(m, origin->from), "fan_in_fan_out", 0,
                  "inference_mode", 1, "init_lora_weights", 1, "target_modules", target_names(m),
                  "modules_to_save", json_array_size(saved) ? json_incref(saved) : json_null());
    json_decref(saved);
    /* PEFT writes an integer alpha as an integer. */
    if (setup->alpha == (double)(int64_t)setup->alpha)
        json_object_set_new(config, "lora_alpha", json_integer((json_int_t)setup->alpha));
    if (from && !is_uniform(m)) keep_fields(config, from);
    snprintf(path, sizeof path, "%s/adapter_config.json", directory);
    int status = config ? json_write_file(config, path, why) : fail(why, "out of memory");
    json_decref(config);
    return status;
}

/* ---- longqlora.json ---- */

static json_t *template_record_json(const struct template_record *record)
{
    json_t *json = json_pack("{s:s,s:s}", "name", record->name, "digest", record->digest);
    if (json && *record->text) json_object_set_new(json, "text", json_string(record->text));
    if (json && record->is_mixed) json_object_set_new(json, "mixed", json_true());
    return json;
}

static int write_origin(const struct model *m, const struct adapter_origin *origin,
                        const char *directory, struct fail *why)
{
    char path[4096];
    const struct config *c = model_config(m);
    json_t *rope =
        json_pack("{s:s,s:f,s:I}", "type", rope_type_name(c->rope.type), "factor", c->rope.factor,
                  "original_max_position_embeddings", (json_int_t)c->original_position);
    if (rope && c->rope.type == ROPE_LLAMA3 && !rope_equal(&c->rope, &c->stored_rope)) {
        json_object_set_new(rope, "low_freq_factor", json_real(c->rope.low));
        json_object_set_new(rope, "high_freq_factor", json_real(c->rope.high));
    }
    json_t *json = json_pack("{s:i,s:s,s:s,s:o,s:s,s:s,s:b,s:o}", "longqlora", 1, "base_name",
                             origin->base_name, "base", origin->base, "base_config", base_config(c),
                             "tokenizer", origin->tokenizer, "base_quantization",
                             origin->quantization, "tied_head", (int)trains_tied(m), "rope", rope);
    if (origin->attention)
        json_object_set_new(json, "attention", json_deep_copy(origin->attention));
    if (origin->template && *origin->template->name)
        json_object_set_new(json, "template", template_record_json(origin->template));
    if (origin->recipe) json_object_set_new(json, "recipe", json_deep_copy(origin->recipe));
    snprintf(path, sizeof path, "%s/longqlora.json", directory);
    int status = json ? json_write_file(json, path, why) : fail(why, "out of memory");
    json_decref(json);
    return status;
}

/* ---- adapter_model.safetensors ---- */

/* Does the linear layer of this bias have LoRA matrices? Its weight comes before the bias in the
 * model's table. */
static bool is_inside(const struct model *m, const struct tensor *bias)
{
    const struct tensor *weight = bias;
    while (weight->part != part_biased(bias->part))
        weight--;
    return model_adapted(m, weight)->rank;
}

static void name_tensor(const struct model *m, const struct trainable *t, char *name, size_t size)
{
    if (t->tensor->role == ROLE_BIAS)
        adapter_bias_name(t->tensor, is_inside(m, t->tensor), name, size);
    else
        adapter_tensor_name(t->tensor, adapter_stored_kind(t->tensor, t->kind), name, size);
}

/* True if PEFT's file stores the matrix as [cols, rows]. */
static bool is_transposed(const struct trainable *t)
{
    return adapter_stored_kind(t->tensor, t->kind) == STORED_EMBEDDING_A;
}

static int put_tensor(const struct model *m, const struct trainable *t,
                      struct safetensors_writer *w, struct fail *why)
{
    float *host = model_trained(m, t, why);
    if (host && is_transposed(t)) {
        float *stored = adapter_transposed(host, t->rows, t->cols, why);
        free(host);
        host = stored;
    }
    int status = host ? safetensors_put(w, host, (size_t)(t->rows * t->cols) * 4, why) : -1;
    free(host);
    return status;
}

static int write_tensors(const struct model *m, const char *directory, struct fail *why)
{
    static const char head_name[] = "base_model.model.lm_head.weight";
    const struct parameters *p = model_parameters(m);
    bool copies_head = trains_tied(m);
    int64_t count = p->at_count + copies_head;
    char path[4096], (*names)[160] = calloc((size_t)count, sizeof *names);
    struct tensor_header *headers = calloc((size_t)count, sizeof *headers);
    struct safetensors_writer *w = NULL;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", directory);
    int status = names && headers ? 0 : fail(why, "out of memory");
    for (int64_t i = 0; i < p->at_count && !status; i++) {
        const struct trainable *t = &p->at[i];
        name_tensor(m, t, names[i], sizeof names[i]);
        headers[i] = (struct tensor_header){
            names[i], DTYPE_F32, tensor_is_vector(t->tensor) ? 1 : 2, { t->rows, t->cols }
        };
        if (is_transposed(t)) headers[i].shape[0] = t->cols, headers[i].shape[1] = t->rows;
    }
    if (!status && copies_head) {
        headers[p->at_count] = headers[0];
        headers[p->at_count].name = head_name;
    }
    if (!status) status = safetensors_create(&w, path, headers, (size_t)count, why);
    for (int64_t i = 0; i < p->at_count && !status; i++)
        status = put_tensor(m, &p->at[i], w, why);
    if (!status && copies_head) status = put_tensor(m, &p->at[0], w, why);
    if (!status)
        status = safetensors_finish(w, why);
    else
        safetensors_abandon(w);
    free(names);
    free(headers);
    return status;
}

int adapter_save(const struct model *m, const struct adapter_origin *origin, const char *directory,
                 struct fail *why)
{
    /* longqlora.json is written last, so that its presence shows that the adapter is complete. */
    if (write_tensors(m, directory, why) ||
        write_config(m, model_setup_of(m), origin, directory, why))
        return -1;
    return write_origin(m, origin, directory, why);
}
