/* adapter_save - a model's trained matrices as a PEFT adapter. */
#include "adapter.h"

#include "../common/safetensors.h"

static json_t *module_names(const struct parameters *p, bool adapters)
{
    json_t *list = json_array();
    for (int part = 0; part < PART_COUNT; part++)
        for (int64_t i = 0; i < p->at_count; i++) {
            const struct trainable *t = &p->at[i];
            if ((int)t->tensor->part != part || (t->kind != TRAINED_WEIGHT) != adapters) continue;
            /* The module is the name's last word before ".weight". */
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)(strlen(t->tensor->name) - 7),
                     t->tensor->name);
            const char *dot = strrchr(name, '.');
            json_array_append_new(list, json_string(dot ? dot + 1 : name));
            break;
        }
    return list;
}

static int write_config(const struct model *m, const struct model_setup *setup,
                        const struct adapter_origin *origin, const char *directory,
                        struct fail *why)
{
    char path[4096];
    const struct parameters *p = model_parameters(m);
    json_t *saved = module_names(p, false);
    json_t *config =
        json_pack("{s:s,s:s,s:s,s:I,s:f,s:f,s:s,s:b,s:b,s:b,s:o,s:o}", "peft_type", "LORA",
                  "task_type", "CAUSAL_LM", "base_model_name_or_path", origin->base_name, "r",
                  (json_int_t)setup->rank, "lora_alpha", setup->alpha, "lora_dropout",
                  setup->dropout, "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1,
                  "init_lora_weights", 1, "target_modules", module_names(p, true),
                  "modules_to_save", json_array_size(saved) ? json_incref(saved) : json_null());
    json_decref(saved);
    /* PEFT keeps alpha as an integer where it is one. */
    if (setup->alpha == (double)(int64_t)setup->alpha)
        json_object_set_new(config, "lora_alpha", json_integer((json_int_t)setup->alpha));
    snprintf(path, sizeof path, "%s/adapter_config.json", directory);
    int status = config ? json_write_file(config, path, why) : fail(why, "out of memory");
    json_decref(config);
    return status;
}

static int write_origin(const struct model *m, const struct adapter_origin *origin,
                        const char *directory, struct fail *why)
{
    char path[4096];
    const struct config *c = model_config(m);
    json_t *rope =
        json_pack("{s:s,s:f,s:I}", "type", rope_type_name(c->rope.type), "factor", c->rope.factor,
                  "original_max_position_embeddings", (json_int_t)c->original_position);
    json_t *json =
        json_pack("{s:i,s:s,s:s,s:s,s:o}", "longqlora", 1, "base", origin->base, "tokenizer",
                  origin->tokenizer, "base_quantization", origin->quantization, "rope", rope);
    if (origin->attention)
        json_object_set_new(json, "attention", json_deep_copy(origin->attention));
    if (origin->recipe) json_object_set_new(json, "recipe", json_deep_copy(origin->recipe));
    snprintf(path, sizeof path, "%s/longqlora.json", directory);
    int status = json ? json_write_file(json, path, why) : fail(why, "out of memory");
    json_decref(json);
    return status;
}

static int write_tensors(const struct model *m, const char *directory, struct fail *why)
{
    const struct parameters *p = model_parameters(m);
    char path[4096], (*names)[160] = calloc((size_t)p->at_count, sizeof *names);
    struct tensor_header *headers = calloc((size_t)p->at_count, sizeof *headers);
    struct safetensors_writer *w = NULL;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", directory);
    int status = names && headers ? 0 : fail(why, "out of memory");
    for (int64_t i = 0; i < p->at_count && !status; i++) {
        const struct trainable *t = &p->at[i];
        adapter_tensor_name(t->tensor, t->kind, names[i], sizeof names[i]);
        headers[i] = (struct tensor_header){
            names[i], DTYPE_F32, t->tensor->role == ROLE_NORM ? 1 : 2, { t->rows, t->cols }
        };
    }
    if (!status) status = safetensors_create(&w, path, headers, (size_t)p->at_count, why);
    for (int64_t i = 0; i < p->at_count && !status; i++) {
        size_t bytes = (size_t)(p->at[i].rows * p->at[i].cols) * 4;
        float *host = model_trained(m, &p->at[i], why);
        status = host ? safetensors_put(w, host, bytes, why) : -1;
        free(host);
    }
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
    /* longqlora.json comes last: where it stands, the adapter is whole. */
    if (write_tensors(m, directory, why) ||
        write_config(m, model_setup_of(m), origin, directory, why))
        return -1;
    return write_origin(m, origin, directory, why);
}
