#include "model_guard.h"

#include "companions.h"
#include "file_guard.h"

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && !strcmp(name + length - tail, end);
}

static bool is_read(const char *name)
{
    static const char *const names[] = { "config.json", "adapter_config.json", "longqlora.json",
                                         "vocab.json", "merges.txt" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return companion_is(name) || ends_with(name, ".safetensors") || ends_with(name, ".bin") ||
           ends_with(name, ".index.json");
}

int model_guard_input(const char *option, const char *path, struct fail *why)
{
    static const char tokenizer[] = "tokenizer.json", config[] = "tokenizer_config.json";
    char beside[4096];
    if (file_guard_input_folder(option, path, is_read, why)) return -1;
    size_t length = strlen(path), before = length - (sizeof tokenizer - 1);
    if (!ends_with(path, tokenizer) || (before && path[before - 1] != '/')) return 0;
    if (before + sizeof config > sizeof beside) return 0;
    snprintf(beside, sizeof beside, "%.*s%s", (int)before, path, config);
    return file_guard_input(option, beside, why);
}
