#include "lib/tokenizer/end_tokens.h"

#include "lib/common/file.h"
#include "lib/common/json.h"

bool end_tokens_have(const struct end_tokens *e, uint32_t id)
{
    for (int i = 0; i < e->count; i++)
        if (e->ids[i] == id) return true;
    return false;
}

void end_tokens_add(struct end_tokens *e, uint32_t id)
{
    if (end_tokens_have(e, id)) return;
    must(e->count <= END_TOKENS_MAX);
    e->ids[e->count++] = id;
}

int end_tokens_parse(struct end_tokens *e, const json_t *value, struct fail *why)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    e->count = 0;
    if (!value || json_is_null(value)) return 0;
    if (n > END_TOKENS_MAX) return fail_input(why, "more than %d eos_token_id", END_TOKENS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number > UINT32_MAX)
            return fail_input(why, "eos_token_id is not a token number");
        end_tokens_add(e, (uint32_t)number);
    }
    return 0;
}

int end_tokens_read_generation_config(json_t *config, const char *folder, struct fail *why)
{
    char path[4200];
    struct end_tokens ends;
    snprintf(path, sizeof path, "%.4000s/generation_config.json", folder);
    int found = file_is_folder(folder) ? file_is_there(path, why) : 0;
    if (found <= 0) return found;
    json_t *file = json_read_file(path, why);
    if (!file) return -1;
    json_t *ids = json_object_get(file, "eos_token_id");
    int status = end_tokens_parse(&ends, ids, why) ? fail_in(why, path) : 0;
    if (!status && ends.count && json_object_set(config, "eos_token_id", ids))
        status = fail(why, "out of memory");
    json_decref(file);
    return status;
}

json_t *end_tokens_json(const struct end_tokens *e)
{
    if (e->count == 1) return json_integer(e->ids[0]);
    json_t *list = json_array();
    int status = list ? 0 : -1;
    for (int i = 0; i < e->count && !status; i++)
        status = json_array_append_new(list, json_integer(e->ids[i]));
    if (!status) return list;
    json_decref(list);
    return NULL;
}
