/* beside.c - reads the files beside a tokenizer. They say which tokens are added, which are
 * special, and which tokens stand before and after a text. The order of the files is that of
 * transformers 5. */
#include "lib/tokenizer/beside.h"

#include "lib/common/file.h"
#include "lib/common/json.h"

struct beside {
    struct tokenizer *t;
    char folder[4096];
    json_t *config, *specials; /* NULL if the file does not exist */
    json_t *json;              /* the tokenizer.json beside a tokenizer.model, without its lists */
    struct named_tokens named;
};

static int load(struct beside *b, const char *name, json_t **to, struct fail *why)
{
    char path[4200];
    snprintf(path, sizeof path, "%s%s", b->folder, name);
    int found = *to ? 0 : file_is_there(path, why);
    if (found <= 0) return found;
    if (!(*to = json_read_file(path, why))) return -1;
    if (json_is_object(*to)) return 0;
    return fail_input(why, "%s: not a JSON object", path);
}

static bool is_there(const json_t *value) { return value && !json_is_null(value); }

/* ---- added tokens ---- */

struct numbered {
    int64_t id;
    const char *text;
    const json_t *object;
};

static int compare_numbers(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int put_numbered(struct beside *b, const struct numbered *one, struct fail *why)
{
    struct added_token token = { .content = (char *)one->text };
    if (one->id < 0 || one->id >= TOKENIZER_PIECES_MAX)
        return fail_input(why,
                          "the id of an added token is missing, or is not an integer from 0 to %d",
                          TOKENIZER_PIECES_MAX - 1);
    if (one->object) {
        if (added_read(&token, one->object, why)) return -1;
    } else {
        /* transformers reads tokenizer.json after added_tokens.json, so the flags of a token that
         * is in both are those of tokenizer.json. */
        const struct added_token *own = b->t->is_json ? added_find(b->t, one->text) : NULL;
        token.special = own ? own->special : named_has(&b->named, one->text);
        token.normalized = own ? own->normalized : !token.special;
        token.single_word = own && own->single_word;
        token.lstrip = own && own->lstrip;
        token.rstrip = own && own->rstrip;
    }
    return added_put(b->t, &token, (uint32_t)one->id, why);
}

/* Adds the tokens of an object: {"32000": {…}} in the config, or {"<think>": 32000} in
 * added_tokens.json. */
static int put_object(struct beside *b, json_t *object, bool is_by_number, struct fail *why)
{
    size_t count = 0;
    const char *key;
    json_t *value;
    struct numbered *list = calloc(json_object_size(object) + 1, sizeof *list);
    if (!list) return fail(why, "out of memory");
    json_object_foreach(object, key, value)
    {
        char *end;
        struct numbered one = { -1, key, NULL };
        if (is_by_number) {
            one.id = strtoll(key, &end, 10);
            if (*end || !*key || !json_is_object(value)) one.id = -1;
            one.object = value;
        } else if (json_is_integer(value)) {
            one.id = json_integer_value(value);
        }
        list[count++] = one;
    }
    qsort(list, count, sizeof *list, compare_numbers);
    int status = 0;
    for (size_t i = 0; i < count && !status; i++)
        status = put_numbered(b, &list[i], why);
    free(list);
    return status;
}

/* Adds the tokens of tokenizer.json to a tokenizer.model in the same folder. */
static int put_list(struct beside *b, const json_t *added, struct fail *why)
{
    json_t *value;
    size_t i;
    json_array_foreach(added, i, value)
    {
        const json_t *id = json_object_get(value, "id");
        struct numbered one = { json_is_integer(id) ? json_integer_value(id) : -1, NULL, value };
        if (put_numbered(b, &one, why)) return -1;
    }
    return 0;
}

/* Does transformers add this token a second time? It adds the tokens of added_tokens_decoder again,
 * or all tokens if there is no added_tokens_decoder. */
static bool is_given_again(const struct beside *b, const char *content)
{
    const json_t *decoder = json_object_get(b->config, "added_tokens_decoder");
    const char *key;
    json_t *value;
    if (!is_there(decoder)) return true;
    json_object_foreach((json_t *)decoder, key, value)
    {
        const char *other = named_content(value);
        if (other && !strcmp(other, content)) return true;
    }
    return false;
}

/* Adds a named token if it does not exist. An existing token becomes special if transformers adds
 * it again and a key such as bos_token names it. A token that is only in the list of additional
 * tokens keeps its flags. */
static int put_special(void *of, const json_t *value, bool has_name, struct fail *why)
{
    struct beside *b = of;
    const char *content = named_content(value);
    struct added_token *old = added_find(b->t, content), token;
    if (old) {
        if (has_name && is_given_again(b, content)) old->special = true;
        return 0;
    }
    token = (struct added_token){ .content = (char *)content, .special = true };
    if (json_is_object(value) && added_read(&token, value, why)) return -1;
    if (has_name) token.special = true;
    return added_put(b->t, &token, UINT32_MAX, why);
}

static int put_specials(struct beside *b, struct fail *why)
{
    return named_each(&b->named, put_special, b, why);
}

static int put_tokens(struct beside *b, struct fail *why)
{
    json_t *decoder = json_object_get(b->config, "added_tokens_decoder"), *old = NULL;
    if (is_there(decoder)) {
        if (!json_is_object(decoder))
            return fail_input(why, "tokenizer_config.json: added_tokens_decoder is no object");
        if (put_object(b, decoder, true, why)) return fail_in(why, "added_tokens_decoder");
        return named_read(&b->named, b->config, NULL, why) ? -1 : put_specials(b, why);
    }
    if (load(b, "special_tokens_map.json", &b->specials, why) ||
        load(b, "added_tokens.json", &old, why) ||
        named_read(&b->named, b->config, b->specials, why)) {
        json_decref(old);
        return -1;
    }
    int status = old ? put_object(b, old, false, why) : 0;
    json_decref(old);
    if (status) return fail_in(why, "added_tokens.json");
    if (put_list(b, json_object_get(b->json, "added_tokens"), why))
        return fail_in(why, "tokenizer.json");
    return put_specials(b, why);
}

/* ---- the tokens before and after a text ---- */

static uint32_t id_of(const struct beside *b, const char *key, uint32_t otherwise)
{
    const json_t *value = named_value(&b->named, key);
    const char *content = named_content(value);
    const struct added_token *token = content ? added_find(b->t, content) : NULL;
    return token ? token->id : value ? UINT32_MAX : otherwise;
}

static int remark_bos(struct tokenizer *t, struct fail *why)
{
    static const char format[] =
        "%s: each text begins with BOS, as in Meta's code, transformers 4 and llama.cpp; "
        "transformers 5 adds none, because tokenizer_config.json has no add_bos_token: write true "
        "or false there to decide it for all programs";
    if (asprintf(&t->remark, format, t->name) >= 0) return 0;
    t->remark = NULL;
    return fail(why, "out of memory");
}

static int find_ends(struct beside *b, struct fail *why)
{
    struct tokenizer *t = b->t;
    const json_t *bos = json_object_get(b->config, "add_bos_token");
    const json_t *eos = json_object_get(b->config, "add_eos_token");
    if (t->is_json) {
        t->bos = t->begin != UINT32_MAX ? t->begin : tokenizer_special(t, "<|begin_of_text|>");
        t->eos = t->end != UINT32_MAX ? t->end : tokenizer_special(t, "<|end_of_text|>");
    }
    t->bos = id_of(b, "bos_token", t->bos);
    t->eos = id_of(b, "eos_token", t->eos);
    /* If there is a tokenizer.json, only its post_processor decides. */
    if (t->is_json) return 0;
    if (b->json) {
        const json_t *processor = json_object_get(b->json, "post_processor");
        if (tokenizer_read_template(t, processor, why)) return fail_in(why, "tokenizer.json");
        return 0;
    }
    /* If no file says what stands before a text, it is BOS, as in LLaMA's own code. */
    bool has_none = !bos && !eos;
    t->begin = has_none || json_is_true(bos) ? t->bos : UINT32_MAX;
    t->end = json_is_true(eos) ? t->eos : UINT32_MAX;
    return has_none && b->config && t->bos != UINT32_MAX ? remark_bos(t, why) : 0;
}

/* Fails if tokenizer_config.json changes whether a space is put before a text. SentencePiece's file
 * has this setting too, and in transformers the key overrules the file. */
static int check_prefix(const struct beside *b, struct fail *why)
{
    if (b->t->is_json || !json_is_false(json_object_get(b->config, "add_prefix_space"))) return 0;
    return fail_input(why, "tokenizer_config.json: 'add_prefix_space': false is not supported "
                           "beside a tokenizer.model: remove the key, or save the model's "
                           "tokenizer.json, which has this setting itself");
}

/* If this key is true, transformers finds no special tokens in any text, not even in the text that
 * a chat template makes. If it is neither true nor false, transformers fails. */
static int check_split(const struct beside *b, struct fail *why)
{
    const json_t *value = json_object_get(b->config, "split_special_tokens");
    if (!value || json_is_false(value)) return 0;
    return fail_input(why, "tokenizer_config.json: 'split_special_tokens': only false is "
                           "supported, because with true transformers splits the special tokens of "
                           "a chat template too: remove the key (special tokens in a text stay "
                           "text without it, unless --parse-special is given)");
}

int tokenizer_read_config(struct tokenizer *t, json_t *config, struct fail *why)
{
    struct beside b = { .t = t, .config = config };
    must(t->is_json && is_there(json_object_get(config, "added_tokens_decoder")));
    int status = put_tokens(&b, why) || find_ends(&b, why) || added_finish(t, why) ? -1 : 0;
    named_release(&b.named);
    return status;
}

int tokenizer_read_beside(struct tokenizer *t, const char *path, struct fail *why)
{
    struct beside b = { .t = t };
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) + 2 > sizeof b.folder)
        return fail(why, "the path of the tokenizer's folder is longer than %zu bytes",
                    sizeof b.folder - 2);
    if (slash) snprintf(b.folder, sizeof b.folder, "%.*s", (int)(slash - path + 1), path);
    size_t own = t->added.count;
    int status = load(&b, "tokenizer_config.json", &b.config, why);
    if (!status && !t->is_json) status = pair_read(t, b.folder, &b.json, why);
    if (!status) status = check_prefix(&b, why);
    if (!status) status = check_split(&b, why);
    if (!status) status = put_tokens(&b, why);
    if (!status) status = find_ends(&b, why);
    if (!status) status = class_check(t, b.folder, b.config, &b.named, own, why);
    if (!status) status = added_finish(t, why);
    t->is_legacy = json_is_true(json_object_get(b.config, "legacy"));
    t->is_bare = !b.config;
    json_decref(b.config);
    json_decref(b.specials);
    json_decref(b.json);
    named_release(&b.named);
    return status;
}
