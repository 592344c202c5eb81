#include "lib/llama/adapter_rules.h"

#include "lib/common/buffer.h"
#include "lib/common/python_pattern.h"
#include "lib/common/suffix.h"

#include <strings.h>

/* The patterns of a list, or of an object's keys, in the order of the file. */
struct patterns {
    struct python_pattern **at;
    size_t count;
};

enum { LONG_LIST = 20 }; /* from this many names on, PEFT shortens target_modules */

struct adapter_rules {
    const json_t *targets, *excluded, *saved, *layers, *rank_pattern, *alpha_pattern;
    struct python_pattern *target, *exclude; /* if target_modules and exclude_modules are texts */
    struct patterns saves, layer_lists, ranks, alphas;
    bool all_linear;
};

static void release(struct patterns *p)
{
    for (size_t i = 0; i < p->count; i++)
        python_pattern_close(p->at[i]);
    free(p->at);
}

void adapter_rules_close(struct adapter_rules *r)
{
    if (!r) return;
    python_pattern_close(r->target);
    python_pattern_close(r->exclude);
    release(&r->saves);
    release(&r->layer_lists);
    release(&r->ranks);
    release(&r->alphas);
    free(r);
}

/* Compiles the pattern before + text + after. PEFT puts the text into such a pattern. */
static int add_pattern(struct patterns *p, const char *before, const char *text, const char *after,
                       struct fail *why)
{
    size_t size = strlen(before) + strlen(text) + strlen(after) + 1;
    if (buffer_extend(&p->at, p->count, why)) return -1;
    char *whole = malloc(size);
    if (!whole) return fail(why, "out of memory");
    snprintf(whole, size, "%s%s%s", before, text, after);
    int status = python_pattern_open(&p->at[p->count], whole, false, why);
    if (!status) p->count++;
    free(whole);
    return status;
}

static bool is_list_of_texts(const json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);
        if (!text || !*text) return false;
    }
    return true;
}

static int check_list(const json_t *value, const char *field, struct fail *why)
{
    if (!json_is_array(value) || is_list_of_texts(value)) return 0;
    return fail_input(why, "%s is not a list of names", field);
}

/* ---- opening ---- */

static int open_saves(struct adapter_rules *r, struct fail *why)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)r->saved, i, item)
    {
        if (add_pattern(&r->saves, "(^|.*\\.)", json_string_value(item), "($|\\..*)", why))
            return fail_in(why, "modules_to_save");
    }
    return 0;
}

static int open_keys(struct patterns *p, const json_t *object, const char *field, struct fail *why)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (add_pattern(p, "(.*\\.)?(", key, ")$", why)) return fail_in(why, field);
    }
    return 0;
}

static int open_layer_lists(struct adapter_rules *r, const json_t *names, struct fail *why)
{
    static const char before[] = "(?:^|.*?\\.)", after[] = "\\.(?P<idx>\\d+)\\.";
    size_t i;
    json_t *item;
    const char *text = json_string_value(names);
    int status = 0;
    if (text && !*text) text = NULL;
    if (!text && !json_array_size(names))
        status = add_pattern(&r->layer_lists, "", ".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", "", why);
    if (text) status = add_pattern(&r->layer_lists, before, text, after, why);
    json_array_foreach((json_t *)names, i, item)
    {
        if (!status)
            status = add_pattern(&r->layer_lists, before, json_string_value(item), after, why);
    }
    return status ? fail_in(why, "layers_pattern") : 0;
}

static int check_layers(const struct adapter_rules *r, struct fail *why)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)r->layers, i, item)
    {
        if (!json_is_integer(item))
            return fail_input(why, "layers_to_transform is not a list of whole numbers");
    }
    return 0;
}

/* Refuses combinations that PEFT's LoraConfig refuses, and lists that PEFT would shorten so that
 * they match other modules. */
static int check_together(const struct adapter_rules *r, const json_t *names, struct fail *why)
{
    bool has_layers = r->layers && !json_is_null(r->layers);
    bool has_names = json_array_size(names) || *(json_string_value(names) ?: "");
    if (has_layers && json_is_string(r->targets))
        return fail_input(why, "layers_to_transform needs target_modules to be a list, as in PEFT");
    if (names && !json_is_null(names) && json_is_string(r->targets))
        return fail_input(why, "layers_pattern needs target_modules to be a list, as in PEFT");
    if (has_names && !has_layers)
        return fail_input(why, "layers_pattern needs layers_to_transform, as in PEFT");
    if (has_layers && json_array_size(r->targets) >= LONG_LIST)
        return fail_input(why,
                          "layers_to_transform with %zu target_modules, which PEFT shortens to "
                          "others: name their ends alone",
                          json_array_size(r->targets));
    return 0;
}

static int open_target(struct adapter_rules *r, struct fail *why)
{
    const char *text = json_string_value(r->targets);
    r->all_linear = text && !strcasecmp(text, "all-linear");
    if (json_is_array(r->targets) && !json_array_size(r->targets))
        return fail_input(why, "target_modules names nothing");
    if (text && !r->all_linear && python_pattern_open(&r->target, text, true, why))
        return fail_in(why, "target_modules");
    text = json_string_value(r->excluded);
    if (text && *text && python_pattern_open(&r->exclude, text, true, why))
        return fail_in(why, "exclude_modules");
    return 0;
}

int adapter_rules_open(struct adapter_rules **out, const json_t *config, struct fail *why)
{
    struct adapter_rules *r = *out = calloc(1, sizeof *r);
    if (!r) return fail(why, "out of memory");
    const json_t *names = json_object_get(config, "layers_pattern");
    r->targets = json_object_get(config, "target_modules");
    r->excluded = json_object_get(config, "exclude_modules");
    r->saved = json_object_get(config, "modules_to_save");
    r->layers = json_object_get(config, "layers_to_transform");
    r->rank_pattern = json_object_get(config, "rank_pattern");
    r->alpha_pattern = json_object_get(config, "alpha_pattern");
    if (!check_list(r->targets, "target_modules", why) &&
        !check_list(r->excluded, "exclude_modules", why) &&
        !check_list(r->saved, "modules_to_save", why) &&
        !check_list(names, "layers_pattern", why) && !check_layers(r, why) &&
        !check_together(r, names, why) && !open_target(r, why) && !open_saves(r, why) &&
        !open_keys(&r->ranks, r->rank_pattern, "rank_pattern", why) &&
        !open_keys(&r->alphas, r->alpha_pattern, "alpha_pattern", why) &&
        !open_layer_lists(r, names, why))
        return 0;
    adapter_rules_close(r);
    *out = NULL;
    return -1;
}

/* ---- queries ---- */

/* Is `end` the whole name, or does the name end with a dot and `end`? */
static bool is_end_of(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return suffix_is(name, end) && (length == tail || name[length - tail - 1] == '.');
}

static bool list_has(const json_t *list, const char *name, bool whole)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);
        if (whole ? !strcmp(name, text) : is_end_of(name, text)) return true;
    }
    return false;
}

/* Returns 1 if a pattern matches, with the index of the first such pattern in *which. Returns 0 if
 * none matches, -1 on failure. */
static int first_match(const struct patterns *p, const char *name, size_t *which, struct fail *why)
{
    int found = 0;
    for (size_t i = 0; i < p->count && !found; i++) {
        found = python_pattern_match(p->at[i], name, why);
        *which = i;
    }
    return found;
}

static int is_excluded(struct adapter_rules *r, const char *name, struct fail *why)
{
    size_t which;
    int found = r->exclude ? python_pattern_match(r->exclude, name, why)
                           : list_has(r->excluded, name, false);
    return found ? found : first_match(&r->saves, name, &which, why);
}

/* Is the module's layer in layers_to_transform (a list or one number)? True if the field is absent
 * or empty. */
static int has_layer(const struct adapter_rules *r, const char *name, struct fail *why)
{
    size_t which = 0, i;
    json_t *item;
    bool is_list = json_is_array(r->layers);
    if (!json_is_integer(r->layers) && !(is_list && json_array_size(r->layers))) return 1;
    int found = first_match(&r->layer_lists, name, &which, why);
    if (found <= 0) return found;
    long long index = python_pattern_number(r->layer_lists.at[which], "idx");
    if (!is_list) return json_integer_value(r->layers) == index;
    json_array_foreach((json_t *)r->layers, i, item)
    {
        if (json_integer_value(item) == index) return 1;
    }
    return 0;
}

int adapter_rules_target(struct adapter_rules *r, const char *module, bool is_linear,
                         struct fail *why)
{
    int excluded = is_excluded(r, module, why);
    if (excluded) return excluded < 0 ? -1 : 0;
    if (r->all_linear) return is_linear;
    if (r->target) return python_pattern_match(r->target, module, why);
    /* This is PEFT's default for the families that have one: q_proj and v_proj. */
    if (!json_is_array(r->targets)) {
        if (!is_end_of(module, "q_proj") && !is_end_of(module, "v_proj")) return 0;
        return has_layer(r, module, why);
    }
    if (list_has(r->targets, module, true)) return 1;
    return list_has(r->targets, module, false) ? has_layer(r, module, why) : 0;
}

bool adapter_list_saves(const json_t *modules_to_save, const char *module)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)modules_to_save, i, item)
    {
        if (suffix_is(module, json_string_value(item))) return true;
    }
    return false;
}

bool adapter_rules_save(const struct adapter_rules *r, const char *module)
{
    return adapter_list_saves(r->saved, module);
}

static const json_t *value_at(const json_t *object, size_t index)
{
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach((json_t *)object, key, value)
    {
        if (i++ == index) return value;
    }
    return NULL;
}

static int value_of(const struct patterns *p, const json_t *object, const char *module,
                    const json_t **value, struct fail *why)
{
    size_t which = 0;
    int found = first_match(p, module, &which, why);
    *value = found > 0 ? value_at(object, which) : NULL;
    return found < 0 ? -1 : 0;
}

int adapter_rules_rank(struct adapter_rules *r, const char *module, const json_t **rank,
                       struct fail *why)
{
    return value_of(&r->ranks, r->rank_pattern, module, rank, why);
}

int adapter_rules_alpha(struct adapter_rules *r, const char *module, const json_t **alpha,
                        struct fail *why)
{
    return value_of(&r->alphas, r->alpha_pattern, module, alpha, why);
}
