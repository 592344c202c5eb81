/* Folders that hold an adapter, where a model is needed. */
#include "lib/common/json.h"
#include "lib/llama/config.h"

#include <unistd.h>

int config_refuse_adapter(const char *directory, struct fail *why)
{
    char file[4096], own[4096];
    struct fail none;
    snprintf(file, sizeof file, "%s/adapter_config.json", directory);
    if (access(file, F_OK)) return 0;
    /* longqlora.json has the name that the base had in training; adapter_config.json has one that
     * other programs can open. The name in longqlora.json is preferred. */
    snprintf(own, sizeof own, "%s/longqlora.json", directory);
    json_t *origin = access(own, F_OK) ? NULL : json_read_file(own, &none);
    json_t *adapter = json_read_file(file, why);
    const char *base = json_string_value(json_object_get(origin, "base_name"));
    if (!base) base = json_string_value(json_object_get(adapter, "base_model_name_or_path"));
    (void)fail_input(why, "%s: an adapter, not a model: name its base%s%.200s here instead",
                     directory, base ? " " : "", base ? base : "");
    json_decref(adapter);
    json_decref(origin);
    return -1;
}

int config_refuse_both(const char *directory, struct fail *why)
{
    char file[4096];
    snprintf(file, sizeof file, "%s/adapter_config.json", directory);
    if (access(file, F_OK)) return 0;
    return fail_input(why,
                      "%s: it has a config.json and an adapter_config.json, and transformers would "
                      "apply that adapter: name a folder that has only the model",
                      directory);
}
