#include "lib/llama/gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>

const char *gguf_builder_key(const struct gguf_builder *m, const char *name, char key[160])
{
    snprintf(key, 160, "%s.%s", m->architecture->name, name);
    return key;
}

bool gguf_builder_has(const struct gguf_builder *m, const char *name)
{
    char key[160];
    return gguf_find(m->g, gguf_builder_key(m, name, key));
}

/* llama.cpp reads a value for each layer of these keys only. */
static bool may_differ_by_layer(const char *name)
{
    static const char *const keys[] = { GGUF_KEY_FFN, GGUF_KEY_HEADS, GGUF_KEY_KV_HEADS };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(name, keys[i])) return true;
    return false;
}

int gguf_builder_count(const struct gguf_builder *m, const char *name, int64_t *to,
                       struct fail *why)
{
    const int64_t max = INT64_C(1) << 40;
    int64_t layers = 0;
    char key[160];
    if (!may_differ_by_layer(name))
        return gguf_get_integer(m->g, gguf_builder_key(m, name, key), 0, max, to, why);
    if (gguf_builder_count(m, GGUF_KEY_LAYERS, &layers, why)) return -1;
    gguf_builder_key(m, name, key);
    return gguf_get_integer_by_layer(m->g, key, layers, 0, max, to, why);
}

int gguf_builder_number(const struct gguf_builder *m, const char *name, double *to,
                        struct fail *why)
{
    char key[160];
    return gguf_get_number(m->g, gguf_builder_key(m, name, key), to, why);
}

int gguf_builder_put_count(const struct gguf_builder *m, const char *name, const char *to,
                           int64_t *value, struct fail *why)
{
    *value = 0;
    if (gguf_builder_count(m, name, value, why)) return -1;
    if (!*value) return fail_input(why, "%s.%s is missing or 0", m->architecture->name, name);
    return json_object_set_new(m->config, to, json_integer(*value)) ? fail(why, "out of memory")
                                                                    : 0;
}

json_t *gguf_model_real(double value)
{
    char text[40];
    for (int digits = 6; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value) break;
    }
    return json_real((double)(float)value == value ? strtod(text, NULL) : value);
}

int gguf_builder_put_real(const struct gguf_builder *m, const char *to, double value,
                          struct fail *why)
{
    json_t *real = gguf_model_real(value);
    if (!real) return fail_input(why, "%s is %f", to, value);
    return json_object_set_new(m->config, to, real) ? fail(why, "out of memory") : 0;
}
