/* gguf_windows.c - reads and writes the sliding attention windows of a GGUF file.
 *
 * In Gemma 3, llama.cpp decides by a pattern which layers have the window. The pattern is a number
 * n, so that every n-th layer has no window, or a list with a value for each layer. Without a
 * pattern n is 6, and so llama.cpp's converter writes no pattern. In Phi-3, llama.cpp reads the
 * window but does not apply it.
 *
 * Source: load_swa_pattern and set_swa_pattern of llama.cpp, src/models/gemma3.cpp, phi3.cpp.
 */
#include "lib/llama/gguf_builder.h"
#include "lib/llama/gguf_config.h"

/* ---- reading ---- */

/* Does the pattern give the layer a window? `pattern`: NULL if the file has none. */
static bool is_windowed(const struct gguf_value *pattern, int64_t layer)
{
    if (pattern && pattern->type == GGUF_ARRAY)
        return gguf_integer_at(pattern, (uint64_t)layer) != 0;
    int64_t every = pattern ? gguf_integer_at(pattern, 0) : GGUF_WINDOW_PATTERN;
    return every == 0 || layer % every < every - 1;
}

static int check_pattern(const struct gguf_value *pattern, int64_t layers, struct fail *why)
{
    bool is_list = pattern && pattern->type == GGUF_ARRAY;
    bool is_numeric = pattern && (pattern->item == GGUF_U32 || pattern->item == GGUF_I32 ||
                                  (is_list && pattern->item == GGUF_BOOL));
    if (pattern && !is_numeric)
        return fail_input(why, "%s is neither a number nor a list of them",
                          GGUF_KEY_WINDOW_PATTERN);
    if (is_list && pattern->count != (uint64_t)layers)
        return fail_input(why, "%s has %llu values for %lld layers", GGUF_KEY_WINDOW_PATTERN,
                          (unsigned long long)pattern->count, (long long)layers);
    if (pattern && !is_list && gguf_integer_at(pattern, 0) < 0)
        return fail_input(why, "%s is negative", GGUF_KEY_WINDOW_PATTERN);
    return 0;
}

static int put_layers(const struct gguf_builder *m, int64_t layers, int64_t window,
                      struct fail *why)
{
    char key[160];
    const struct gguf_value *pattern =
        gguf_find(m->g, gguf_builder_key(m, GGUF_KEY_WINDOW_PATTERN, key));
    if (check_pattern(pattern, layers, why)) return -1;
    json_t *list = json_array();
    for (int64_t layer = 0; layer < layers; layer++)
        json_array_append_new(list, json_string(window && is_windowed(pattern, layer)
                                                    ? "sliding_attention"
                                                    : "full_attention"));
    return json_object_set_new(m->config, "layer_types", list) ? fail(why, "out of memory") : 0;
}

int gguf_windows_read(const struct gguf_builder *m, int64_t layers, struct fail *why)
{
    const struct gguf_architecture *a = m->architecture;
    int64_t window = 0, context = 0;
    double theta = 10000, attention = 1;
    if (gguf_builder_count(m, GGUF_KEY_WINDOW, &window, why) ||
        gguf_builder_number(m, GGUF_KEY_LOCAL_THETA, &theta, why) ||
        gguf_builder_number(m, GGUF_KEY_ATTN_FACTOR, &attention, why))
        return -1;
    if (gguf_builder_count(m, GGUF_KEY_CONTEXT, &context, why)) return -1;
    bool has_any = a->has_windows || a->has_unused_window;
    /* Mistral is a llama in llama.cpp. A window that is not shorter than the context changes
     * nothing. Other architectures with a window are other models. */
    if (window >= context && !strcmp(a->name, "llama")) return 0;
    if (window && !has_any)
        return fail_input(why, "%s: a sliding window is not supported for this architecture",
                          GGUF_KEY_WINDOW);
    if (window && json_object_set_new(m->config, "sliding_window", json_integer(window)))
        return fail(why, "out of memory");
    if (!a->has_windows) return 0;
    /* llama.cpp multiplies cos and sin by it in all layers. A config.json has a factor for the
     * layers without a window only. */
    if (window && attention != 1)
        return fail_input(why,
                          "%s %g is not supported for a model with windows: it would also change "
                          "the layers with a window",
                          GGUF_KEY_ATTN_FACTOR, attention);
    if (layers > CONFIG_LAYERS_MAX)
        return fail_input(why, "the model has %lld layers, but at most %d are supported",
                          (long long)layers, CONFIG_LAYERS_MAX);
    return put_layers(m, layers, window, why) ||
                   gguf_builder_put_real(m, "rope_local_base_freq", theta, why)
               ? -1
               : 0;
}

/* ---- writing ---- */

static bool is_standard(const struct config *c)
{
    for (int64_t l = 0; l < c->layers; l++)
        if (layer_set_has(&c->windowed, l) != is_windowed(NULL, l)) return false;
    return true;
}

void gguf_windows_put(struct gguf_keys *k, const struct gguf_architecture *a,
                      const struct config *c)
{
    char key[160];
    bool is_used = c->window < INT64_MAX;
    uint32_t window = !is_used ? 0 : c->window < INT32_MAX ? (uint32_t)c->window : INT32_MAX;
    if (!is_used && !a->has_unused_window) return;
    snprintf(key, sizeof key, "%s.%s", a->name, GGUF_KEY_WINDOW);
    gguf_keys_count(k, key, window);
    if (!a->has_windows) return;
    snprintf(key, sizeof key, "%s.%s", a->name, GGUF_KEY_LOCAL_THETA);
    gguf_keys_number(k, key, c->local_theta);
    if (is_standard(c)) return;
    snprintf(key, sizeof key, "%s.%s", a->name, GGUF_KEY_WINDOW_PATTERN);
    gguf_keys_array(k, key, GGUF_BOOL, (uint64_t)c->layers);
    for (int64_t l = 0; l < c->layers; l++) {
        char has = layer_set_has(&c->windowed, l);
        gguf_keys_item(k, &has, 1);
    }
}
