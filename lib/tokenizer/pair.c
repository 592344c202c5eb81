/* pair.c - compares a tokenizer.model with the tokenizer.json in the same folder. transformers
 * reads only tokenizer.json, and this program reads tokenizer.model, so the two must be one
 * tokenizer. */
#include "lib/tokenizer/beside.h"

#include "lib/common/file.h"
#include "lib/common/json.h"
#include "lib/tokenizer/lists.h"

struct pair_check {
    const struct tokenizer *t;
    const json_t *added; /* the list added_tokens of tokenizer.json */
    struct lists lists;
    bool *is_seen; /* [t->count] pieces that the vocabulary has too; then [merges] merges */
    struct fail *why;
};

__attribute__((format(printf, 2, 3))) static int differs(struct pair_check *c, const char *format,
                                                         ...)
{
    char what[200];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    return fail_input(c->why,
                      "tokenizer.json beside it is another tokenizer: %s; name the file "
                      "tokenizer.json itself, which transformers reads too, or move one of the two "
                      "to another folder",
                      what);
}

/* How many bytes of a piece a message has. */
static int shown_bytes(const struct piece *p) { return p->length < 60 ? (int)p->length : 60; }

/* ---- pieces ---- */

static bool is_added(const struct pair_check *c, const char *text, size_t length, int64_t id)
{
    size_t i;
    json_t *value;
    json_array_foreach((json_t *)c->added, i, value)
    {
        const char *content = json_string_value(json_object_get(value, "content"));
        const json_t *number = json_object_get(value, "id");
        if (content && strlen(content) == length && !memcmp(content, text, length) &&
            json_is_integer(number) && json_integer_value(number) == id)
            return true;
    }
    return false;
}

static int compare_vocab(struct pair_check *c)
{
    struct list_scan s = lists_begin(&c->lists, LIST_VOCAB, c->why);
    const char *text;
    int64_t id;
    int got;
    must(c->t->pieces);
    while ((got = lists_next_piece(&s, &text, &id)) > 0) {
        const struct piece *p = id >= 0 && id < c->t->count ? &c->t->pieces[id] : NULL;
        size_t length = strlen(text);
        if (p && (p->length != length || memcmp(p->text, text, length) != 0))
            return differs(c, "piece %lld is '%.*s' in tokenizer.model and '%.60s' there",
                           (long long)id, shown_bytes(p), p->text, text);
        if (!p && !is_added(c, text, length, id))
            return differs(c, "its piece '%.60s' is not in tokenizer.model", text);
        if (p) c->is_seen[id] = true;
    }
    for (uint32_t i = 0; i < c->t->count && !got; i++) {
        const struct piece *p = &c->t->pieces[i];
        if (!c->is_seen[i] && !is_added(c, p->text, p->length, i))
            return differs(c, "it lacks piece %u '%.*s'", i, shown_bytes(p), p->text);
    }
    return got;
}

/* ---- merges ---- */

/* Returns the model's merge of two pieces, or NULL if the model has none. Its result may not be a
 * control piece: SentencePiece never makes one of text, and newer files lack such merges. */
static const struct merge *merge_of(const struct tokenizer *t, const char *const parts[2])
{
    if (!parts[0]) return NULL;
    uint32_t left = tokenizer_find(t, parts[0], strlen(parts[0]));
    uint32_t right = tokenizer_find(t, parts[1], strlen(parts[1]));
    return left == SYMBOL_NONE || right == SYMBOL_NONE ? NULL : find_merge(t, left, right);
}

/* The merges must be those of the model, in the order of their scores. Merges of equal scores may
 * be in any order. */
static int compare_merges(struct pair_check *c)
{
    const struct tokenizer *t = c->t;
    struct list_scan s = lists_begin(&c->lists, LIST_MERGES, c->why);
    const char *parts[2];
    uint32_t last = 0;
    bool *is_seen = c->is_seen + t->count;
    int got;
    while ((got = lists_next_merge(&s, parts)) > 0) {
        const struct merge *m = merge_of(t, parts);
        if (!m) continue;
        if (m->order < last)
            return differs(c, "merge %zu, which makes '%.*s', comes earlier in tokenizer.model",
                           s.count - 1, shown_bytes(&t->pieces[m->piece]),
                           t->pieces[m->piece].text);
        last = m->order;
        is_seen[m - t->merges] = true;
    }
    for (size_t i = 0; i <= t->merge_mask && !got; i++) {
        const struct merge *m = &t->merges[i];
        const struct piece *p = m->left == SYMBOL_NONE ? NULL : &t->pieces[m->piece];
        if (p && m->left < t->count && m->right < t->count && !is_seen[i])
            return differs(c, "it lacks a merge that makes '%.*s'", shown_bytes(p), p->text);
    }
    return got;
}

/* ---- everything else ---- */

static bool is_text(const json_t *object, const char *key, const char *wanted)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && !strcmp(text, wanted);
}

/* Is this the part of a normalizer that makes a space mark of each space, or that puts one before a
 * text? */
static bool is_mark(const json_t *object, bool *puts_space)
{
    if (is_text(object, "type", "Prepend") && is_text(object, "prepend", SPACE_MARK))
        return *puts_space = true;
    return is_text(object, "type", "Replace") && is_text(object, "content", SPACE_MARK) &&
           is_text(json_object_get(object, "pattern"), "String", " ");
}

/* Does the file change and cut text only as SentencePiece does? *puts_space: it puts a space before
 * a text. */
static bool is_plain(const json_t *root, bool *puts_space)
{
    const json_t *normalizer = json_object_get(root, "normalizer"), *one;
    const json_t *cutter = json_object_get(root, "pre_tokenizer");
    size_t i;
    *puts_space = false;
    if (is_text(normalizer, "type", "Sequence")) {
        json_array_foreach(json_object_get(normalizer, "normalizers"), i, one)
        {
            if (!is_mark(one, puts_space)) return false;
        }
    } else if (normalizer && !json_is_null(normalizer) && !is_mark(normalizer, puts_space)) {
        return false;
    }
    if (!cutter || json_is_null(cutter)) return true;
    *puts_space |= !is_text(cutter, "prepend_scheme", "never");
    return is_text(cutter, "type", "Metaspace") && is_text(cutter, "replacement", SPACE_MARK);
}

static int compare(struct pair_check *c, const json_t *root)
{
    const json_t *model = json_object_get(root, "model"), *type = json_object_get(model, "type");
    bool puts_space;
    if (!json_is_object(model) || (type && !is_text(model, "type", "BPE")) ||
        !c->lists.at[LIST_VOCAB] || !c->lists.at[LIST_MERGES])
        return differs(c, "its model is not BPE");
    if (compare_vocab(c) || compare_merges(c)) return -1;
    if (!is_plain(root, &puts_space))
        return differs(c, "its normalizer or pre_tokenizer changes or cuts text otherwise");
    if (puts_space != c->t->adds_prefix)
        return differs(c, "it puts %s before a text", puts_space ? "a space" : "no space");
    if (c->t->has_bytes && !json_is_true(json_object_get(model, "byte_fallback")))
        return differs(c, "it lacks byte_fallback");
    if (json_is_true(json_object_get(model, "ignore_merges")))
        return differs(c, "it has ignore_merges");
    return 0;
}

int pair_read(const struct tokenizer *t, const char *folder, json_t **json, struct fail *why)
{
    struct pair_check c = { .t = t, .why = why };
    char path[4200], *text;
    size_t bytes;
    *json = NULL;
    snprintf(path, sizeof path, "%stokenizer.json", folder);
    int status = file_is_there(path, why);
    if (status <= 0) return status;
    if (file_read(path, TOKENIZER_JSON_MAX, &text, &bytes, why)) return -1;
    if (lists_find(&c.lists, text, bytes, why)) {
        free(text);
        return -1;
    }
    json_t *root = json_read_text(c.lists.rest, c.lists.rest_bytes, path, why);
    /* The place of an error in the rest is not its place in the file. */
    if (!root) json_decref(json_read_text(text, bytes, path, why));
    status = root ? 0 : -1;
    if (root && !json_is_object(root)) status = fail_input(why, "%s: not a JSON object", path);
    c.added = json_object_get(root, "added_tokens");
    c.is_seen = calloc(t->count + (size_t)t->merge_mask + 1, sizeof *c.is_seen);
    if (!status && !c.is_seen) status = fail(why, "out of memory");
    if (!status) status = compare(&c, root);
    if (status)
        json_decref(root);
    else
        *json = root;
    free(c.is_seen);
    lists_release(&c.lists);
    free(text);
    return status;
}
