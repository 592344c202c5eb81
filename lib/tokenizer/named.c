/* named.c - collects the tokens that tokenizer_config.json and special_tokens_map.json name as
 * special. It combines them as transformers 5 does (PreTrainedTokenizerBase._from_pretrained and
 * __init__). */
#include "lib/tokenizer/beside.h"

static const char *const names[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                     "pad_token", "cls_token", "mask_token" };
enum { NAMES = sizeof names / sizeof *names };

static const char extra_key[] = "extra_special_tokens";
static const char additional_key[] = "additional_special_tokens";

static bool is_name(const char *key)
{
    for (int i = 0; i < NAMES; i++)
        if (!strcmp(key, names[i])) return true;
    return false;
}

/* Is this a key such as image_token, which only some models have? */
static bool is_own_name(const char *key)
{
    size_t length = strlen(key);
    return length >= 6 && !strcmp(key + length - 6, "_token") && !is_name(key);
}

/* Is the value true in Python's sense? */
static bool says_something(const json_t *value)
{
    if (json_is_array(value)) return json_array_size(value) > 0;
    if (json_is_object(value)) return json_object_size(value) > 0;
    if (json_is_string(value)) return json_string_length(value) > 0;
    return value && !json_is_null(value) && !json_is_false(value);
}

const char *named_content(const json_t *value)
{
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_string_value(value);
}

void named_release(struct named_tokens *n)
{
    json_decref(n->names);
    json_decref(n->own);
    json_decref(n->early);
    json_decref(n->extra);
    *n = (struct named_tokens){ 0 };
}

/* Intermediate results; each is an owned reference. */
struct reading {
    json_t *names, *explicit_own, *map_own;
    json_t *extra, *additional; /* NULL if the key is missing; a JSON null is not NULL */
};

static void take(json_t **to, json_t *value)
{
    json_incref(value);
    json_decref(*to);
    *to = value;
}

static void read_config(struct reading *r, const json_t *config)
{
    const char *key;
    json_t *value;
    take(&r->extra, json_object_get(config, extra_key));
    take(&r->additional, json_object_get(config, additional_key));
    if (r->additional && !says_something(r->extra)) {
        take(&r->extra, r->additional);
        take(&r->additional, NULL);
    }
    json_object_foreach((json_t *)config, key, value)
    {
        if (is_name(key)) json_object_set(r->names, key, value);
        if (is_own_name(key) && json_is_string(value))
            json_object_set(r->explicit_own, key, value);
        else if (is_own_name(key) && json_object_get(value, "__type"))
            json_object_set(r->map_own, key, value);
    }
    if (json_is_object(r->extra)) {
        json_object_update(r->explicit_own, r->extra);
        take(&r->extra, NULL);
    }
    if (!json_object_size(r->explicit_own))
        json_object_update(r->explicit_own,
                           json_object_get(config, "model_specific_special_tokens"));
}

/* Returns a copy of a token in which "special" is true, because every token in
 * special_tokens_map.json is a special token. */
static json_t *as_special(json_t *value)
{
    if (!json_is_object(value)) return json_incref(value);
    json_t *copy = json_deep_copy(value);
    json_object_set_new(copy, "special", json_true());
    return copy;
}

static bool has_token(const json_t *list, const json_t *token)
{
    const char *content = named_content(token), *other;
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        other = named_content(item);
        if (content && other && !strcmp(content, other)) return true;
    }
    return false;
}

/* Appends extra_special_tokens of special_tokens_map.json to r->extra. */
static void add_extra(struct reading *r, const json_t *list)
{
    json_t *all = json_array(), *item;
    size_t i;
    json_array_extend(all, json_is_array(r->extra) ? r->extra : NULL);
    json_array_foreach((json_t *)list, i, item)
    {
        if (!has_token(all, item)) json_array_append_new(all, as_special(item));
    }
    take(&r->extra, all);
    json_decref(all);
}

static void read_map(struct reading *r, const json_t *map)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        if (is_name(key)) {
            json_object_set_new(r->names, key, as_special(value));
        } else if (!strcmp(key, extra_key)) {
            if (json_is_array(value))
                add_extra(r, value);
            else
                take(&r->extra, value);
        } else if (!strcmp(key, additional_key)) {
            take(&r->additional, value);
        } else if (is_own_name(key) && (json_is_string(value) || json_is_object(value))) {
            json_object_set_new(r->map_own, key, as_special(value));
        }
    }
    if (json_is_object(r->extra)) {
        json_object_update(r->explicit_own, r->extra);
        take(&r->extra, NULL);
    }
}

/* Fails if transformers would raise a TypeError for one of the values. */
static int check_values(const struct named_tokens *n, struct fail *why)
{
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach(n->names, key, value)
    {
        if (!json_is_null(value) && !named_content(value))
            return fail_input(why, "'%s' is neither a text nor a token with its content", key);
    }
    json_object_foreach(n->own, key, value)
    {
        if (!named_content(value))
            return fail_input(why, "'%.60s' is neither a text nor a token with its content", key);
    }
    if (n->extra && !json_is_array(n->extra) && !json_is_null(n->extra))
        return fail_input(why, "%s is no list of tokens", extra_key);
    json_array_foreach(n->extra, i, value)
    {
        if (!named_content(value))
            return fail_input(why, "%s: entry %zu is neither a text nor a token with its content",
                              extra_key, i);
    }
    return 0;
}

int named_read(struct named_tokens *n, const json_t *config, const json_t *map, struct fail *why)
{
    struct reading r = { .names = json_object(),
                         .explicit_own = json_object(),
                         .map_own = json_object() };
    *n = (struct named_tokens){ 0 };
    read_config(&r, config);
    if (map) read_map(&r, map);
    take(&n->early, r.extra);
    /* extra_special_tokens overrides additional_special_tokens, the older name. */
    if (r.additional && !r.extra) {
        take(json_is_object(r.additional) ? &r.extra : &n->extra, r.additional);
        if (json_is_object(r.additional)) {
            json_object_update(r.map_own, r.additional);
            take(&r.extra, NULL);
        }
    } else {
        take(&n->extra, r.extra);
    }
    json_object_update(r.map_own, r.explicit_own);
    n->names = r.names;
    n->own = r.map_own;
    json_decref(r.explicit_own);
    json_decref(r.extra);
    json_decref(r.additional);
    return check_values(n, why);
}

const json_t *named_value(const struct named_tokens *n, const char *key)
{
    return json_object_get(n->names, key);
}

bool named_has(const struct named_tokens *n, const char *text)
{
    const char *key, *content;
    json_t *value;
    size_t i;
    json_object_foreach(n->names, key, value)
    {
        content = named_content(value);
        if (content && !strcmp(content, text)) return true;
    }
    json_array_foreach(n->early, i, value)
    {
        content = named_content(value);
        if (content && !strcmp(content, text)) return true;
    }
    return false;
}

int named_each(const struct named_tokens *n, named_visit *visit, void *of, struct fail *why)
{
    const char *key;
    json_t *value;
    size_t i;
    for (i = 0; i < NAMES; i++) {
        value = json_object_get(n->names, names[i]);
        if (named_content(value) && visit(of, value, true, why)) return -1;
    }
    json_object_foreach(n->own, key, value)
    {
        if (visit(of, value, true, why)) return -1;
    }
    json_array_foreach(n->extra, i, value)
    {
        if (visit(of, value, false, why)) return -1;
    }
    return 0;
}
