#include "lib/llama/model_guard.h"

#include "lib/common/file.h"
#include "lib/common/file_guard.h"
#include "lib/common/suffix.h"
#include "lib/llama/companions.h"

static bool is_read(const char *name)
{
    static const char *const names[] = { "config.json", "adapter_config.json", "longqlora.json",
                                         "vocab.json", "merges.txt" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return companion_is(name) || suffix_is(name, ".safetensors") || suffix_is(name, ".bin") ||
           suffix_is(name, ".index.json");
}

static bool is_template(const char *name) { return suffix_is(name, ".jinja"); }

int model_guard_input(const char *option, const char *path, struct fail *why)
{
    static const char *const beside[] = { "tokenizer_config.json", "special_tokens_map.json",
                                          "added_tokens.json", "tokenizer.json" };
    char other[4200];
    if (file_guard_input_folder(option, path, is_read, why)) return -1;
    int room = snprintf(other, sizeof other, "%s/additional_chat_templates", path);
    if (room < (int)sizeof other && file_is_folder(other) &&
        file_guard_input_folder(option, other, is_template, why))
        return -1;
    const char *name = file_name_in(path);
    if (strcmp(name, "tokenizer.json") != 0 && strcmp(name, "tokenizer.model") != 0) return 0;
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        int length = snprintf(other, sizeof other, "%.*s%s", (int)(name - path), path, beside[i]);
        if (length < (int)sizeof other && file_guard_input(option, other, why)) return -1;
    }
    return 0;
}
