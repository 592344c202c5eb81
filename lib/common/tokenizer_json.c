/* Reads tokenizer.json of Hugging Face's tokenizers: byte-level BPE, as LLaMA-3 and GPT-2 have it.
 * A piece's text is kept as the bytes that its characters stand for. */
#include "tokenizer_model.h"

#include "json.h"
#include "utf8.h"

#include <unistd.h>

/* Before it cuts by pattern, GPT-2's kind of ByteLevel has this one. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- bytes as characters (Radford et al. 2019) ---- */

enum { CHARACTERS = 0x100 + 68 };

/* Printable bytes of Latin-1 stand for themselves, the others for what comes after it. */
static void make_byte_map(int16_t byte_of[CHARACTERS])
{
    int next = 0x100;
    for (int c = 0; c < CHARACTERS; c++)
        byte_of[c] = -1;
    for (int b = 0; b < 256; b++) {
        bool is_printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        byte_of[is_printable ? b : next++] = (int16_t)b;
    }
}

/* The bytes that a piece's characters stand for, appended to the arena at *to; its length, or −1.
 */
static int64_t to_bytes(const int16_t byte_of[CHARACTERS], const char *text, size_t bytes, char *to)
{
    int64_t length = 0;
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c = utf8_decode(text + at, &n);
        if (c >= CHARACTERS || byte_of[c] < 0) return -1;
        to[length++] = (char)byte_of[c];
    }
    return length;
}

/* ---- what is not done is refused by name ---- */

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "something without a type";
}

static bool is_set(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value) || json_is_false(value)) return false;
    return !(json_is_string(value) && !json_string_length(value));
}

static int check_model(const json_t *model, struct fail *why)
{
    static const char *const undone[] = { "dropout", "unk_token", "continuing_subword_prefix",
                                          "end_of_word_suffix", "fuse_unk" };
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(model)) return fail_input(why, "not a tokenizer.json: it has no model");
    if (type && strcmp(type, "BPE") != 0)
        return fail_input(why, "model %s is not done here, BPE is", type);
    if (is_set(model, "byte_fallback"))
        return fail_input(why, "byte_fallback: take the tokenizer.model beside it");
    for (int i = 0; i < (int)(sizeof undone / sizeof *undone); i++)
        if (is_set(model, undone[i])) return fail_input(why, "%s is not done here", undone[i]);
    return 0;
}

static int check_normalizer(const json_t *normalizer, struct fail *why)
{
    if (!normalizer || json_is_null(normalizer)) return 0;
    const json_t *parts = json_object_get(normalizer, "normalizers");
    if (json_is_array(parts) && !json_array_size(parts)) return 0;
    return fail_input(why, "normalizer %s is not done here", type_of(normalizer));
}

/* ByteLevel, or a Split by a pattern before it. *pattern is the one to cut by. */
static int find_pattern(const json_t *pre, const char **pattern, struct fail *why)
{
    const json_t *last = pre, *split = NULL;
    const json_t *parts = json_object_get(pre, "pretokenizers");
    if (!strcmp(type_of(pre), "Sequence")) {
        size_t count = json_array_size(parts);
        if (!count || count > 2)
            return fail_input(why, "a sequence of %zu pre-tokenizers is not done here", count);
        last = json_array_get(parts, count - 1);
        if (count == 2) split = json_array_get(parts, 0);
    }
    if (strcmp(type_of(last), "ByteLevel") != 0)
        return fail_input(why, "pre-tokenizer %s is not done here, ByteLevel is", type_of(last));
    if (json_is_true(json_object_get(last, "add_prefix_space")))
        return fail_input(why, "add_prefix_space is not done here");
    const json_t *uses = json_object_get(last, "use_regex");
    bool uses_own = !uses || json_is_true(uses);
    if (!split) {
        if (!uses_own) return fail_input(why, "ByteLevel without a pattern is not done here");
        *pattern = gpt2_pattern;
        return 0;
    }
    if (uses_own) return fail_input(why, "two patterns one after the other are not done here");
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    *pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    if (strcmp(type_of(split), "Split") != 0 || !*pattern)
        return fail_input(why, "pre-tokenizer %s is not done here", type_of(split));
    if (!behavior || strcmp(behavior, "Isolated") != 0 ||
        json_is_true(json_object_get(split, "invert")))
        return fail_input(why, "a Split that is not Isolated is not done here");
    return 0;
}

/* ---- pieces ---- */

static int put_piece(struct tokenizer *t, int64_t id, struct piece p, struct fail *why)
{
    if (t->pieces[id].text) return fail_input(why, "id %lld stands twice", (long long)id);
    t->pieces[id] = p;
    return 0;
}

static int64_t id_of(const json_t *value)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < TOKENIZER_PIECES_MAX ? id : -1;
}

static int count_ids(struct tokenizer *t, json_t *vocab, const json_t *added, struct fail *why)
{
    const char *text;
    json_t *value;
    size_t i;
    int64_t most = -1, id;
    json_object_foreach(vocab, text, value)
    {
        if ((id = id_of(value)) < 0) return fail_input(why, "the id of '%.60s'", text);
        most = id > most ? id : most;
    }
    json_array_foreach(added, i, value)
    {
        if ((id = id_of(json_object_get(value, "id"))) < 0)
            return fail_input(why, "the id of added token %zu", i);
        most = id > most ? id : most;
    }
    int64_t given = (int64_t)(json_object_size(vocab) + json_array_size(added));
    if (most >= given + TOKENIZER_HOLES_MAX)
        return fail_input(why, "id %lld, but %lld pieces: more than %d numbers without one",
                          (long long)most, (long long)given, TOKENIZER_HOLES_MAX);
    t->count = t->symbols = (uint32_t)(most + 1);
    t->pieces = calloc((size_t)most + 2, sizeof *t->pieces);
    return t->pieces ? 0 : fail(why, "out of memory");
}

static int take_vocab(struct tokenizer *t, json_t *vocab, char **to, struct fail *why)
{
    int16_t byte_of[CHARACTERS];
    const char *text;
    json_t *value;
    make_byte_map(byte_of);
    json_object_foreach(vocab, text, value)
    {
        int64_t length = to_bytes(byte_of, text, strlen(text), *to);
        struct piece p = { *to, (uint32_t)length, 0, PIECE_NORMAL };
        if (length < 0) {
            /* GPT-2's own special token stands among the others. */
            length = (int64_t)strlen(text);
            p = (struct piece){ *to, (uint32_t)length, 0, PIECE_CONTROL };
            memcpy(*to, text, (size_t)length);
        }
        if (!length || length > TOKENIZER_PIECE_MAX)
            return fail_input(why, "'%.60s' is empty or longer than %d bytes", text,
                              TOKENIZER_PIECE_MAX);
        *to += length;
        if (put_piece(t, id_of(value), p, why)) return -1;
    }
    return 0;
}

/* An added token may stand in the vocabulary too. Special ones are no text; others would be found
 * in text, which is not done. */
static int take_added(struct tokenizer *t, const json_t *added, char **to, struct fail *why)
{
    json_t *value;
    size_t i;
    json_array_foreach(added, i, value)
    {
        const char *text = json_string_value(json_object_get(value, "content"));
        int64_t id = id_of(json_object_get(value, "id"));
        if (!text) return fail_input(why, "added token %zu has no content", i);
        if (!json_is_true(json_object_get(value, "special")))
            return fail_input(why, "added token '%.60s', which is not special, is not done here",
                              text);
        uint32_t length = (uint32_t)strlen(text);
        t->pieces[id] = (struct piece){ *to, length, 0, PIECE_CONTROL };
        memcpy(*to, text, length);
        *to += length;
    }
    return 0;
}

static int index_bytes(struct tokenizer *t, struct fail *why)
{
    if (tokenizer_make_table(t, 2 * (uint64_t)t->count, why)) return -1;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (!p->text) t->pieces[i].type = PIECE_UNUSED;
        if (p->type == PIECE_NORMAL && tokenizer_enter(t, i, why)) return -1;
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte_piece[b] = tokenizer_find(t, &byte, 1);
        if (t->byte_piece[b] == SYMBOL_NONE) return fail_input(why, "no piece for byte %d", b);
    }
    return 0;
}

/* ---- merges: an earlier one goes first ---- */

/* "left right", or [left, right]. */
static int read_merge(const struct tokenizer *t, const int16_t byte_of[CHARACTERS],
                      const json_t *value, struct merge *m)
{
    char both[2 * TOKENIZER_PIECE_MAX];
    const char *parts[2], *pair = json_string_value(value);
    size_t sizes[2];
    int64_t length[2], used = 0;
    if (pair) {
        const char *space = strchr(pair, ' ');
        if (!space) return -1;
        parts[0] = pair, sizes[0] = (size_t)(space - pair);
        parts[1] = space + 1, sizes[1] = strlen(space + 1);
    } else {
        for (int i = 0; i < 2; i++) {
            parts[i] = json_string_value(json_array_get(value, (size_t)i));
            if (!parts[i]) return -1;
            sizes[i] = strlen(parts[i]);
        }
        if (json_array_size(value) != 2) return -1;
    }
    for (int i = 0; i < 2; i++) {
        /* A byte is spelled in at most two. */
        if (sizes[i] > sizeof both - (size_t)used) return -1;
        length[i] = to_bytes(byte_of, parts[i], sizes[i], both + used);
        if (length[i] <= 0) return -1;
        used += length[i];
    }
    m->left = tokenizer_find(t, both, (size_t)length[0]);
    m->right = tokenizer_find(t, both + length[0], (size_t)length[1]);
    m->piece = tokenizer_find(t, both, (size_t)used);
    return m->left == SYMBOL_NONE || m->right == SYMBOL_NONE || m->piece == SYMBOL_NONE ? -1 : 0;
}

static int take_merges(struct tokenizer *t, const json_t *merges, struct fail *why)
{
    int16_t byte_of[CHARACTERS];
    size_t count = json_array_size(merges), i;
    json_t *value;
    if (!json_is_array(merges) || count > TOKENIZER_MERGES_MAX) /* ranks are exact as scores */
        return fail_input(why, "no merges, or more than %d", TOKENIZER_MERGES_MAX);
    if (tokenizer_make_merges(t, count, why)) return -1;
    make_byte_map(byte_of);
    json_array_foreach(merges, i, value)
    {
        struct merge m = { .score = -(float)i };
        if (read_merge(t, byte_of, value, &m))
            return fail_input(why, "merge %zu is not two pieces that make a third", i);
        if (find_merge(t, m.left, m.right)) return fail_input(why, "merge %zu stands twice", i);
        if (tokenizer_add_merge(t, m, why)) return -1;
    }
    return 0;
}

/* ---- the whole ---- */

static int take_all(struct tokenizer *t, json_t *root, struct fail *why)
{
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *added = json_object_get(root, "added_tokens");
    const char *pattern;
    if (check_model(model, why) || check_normalizer(json_object_get(root, "normalizer"), why) ||
        find_pattern(json_object_get(root, "pre_tokenizer"), &pattern, why))
        return -1;
    if (!json_is_object(vocab)) return fail_input(why, "no vocabulary");
    char *to = t->model;
    t->is_byte_level = t->has_bytes = true;
    t->ignores_merges = json_is_true(json_object_get(model, "ignore_merges"));
    t->bos = t->eos = t->unknown = UINT32_MAX;
    if (count_ids(t, vocab, added, why) || take_vocab(t, vocab, &to, why) ||
        take_added(t, added, &to, why) || index_bytes(t, why) ||
        take_merges(t, json_object_get(model, "merges"), why))
        return -1;
    return splitter_open(&t->splitter, pattern, why);
}

int tokenizer_take_json(struct tokenizer *t, const char *text, size_t bytes, struct fail *why)
{
    if (bytes > TOKENIZER_JSON_MAX)
        return fail_input(why, "%zu bytes, at most %d", bytes, TOKENIZER_JSON_MAX);
    json_t *root = json_read_text(text, bytes, "JSON", why);
    if (!root) return -1;
    int status = take_all(t, root, why);
    json_decref(root);
    return status;
}

/* ---- which tokens begin and end a text: tokenizer_config.json says it ---- */

static uint32_t special_of(const struct tokenizer *t, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    const char *name = json_string_value(value);
    return name ? tokenizer_special(t, name) : UINT32_MAX;
}

int tokenizer_read_specials(struct tokenizer *t, const char *path, struct fail *why)
{
    char beside[4096];
    const char *slash = strrchr(path, '/');
    snprintf(beside, sizeof beside, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path,
             "tokenizer_config.json");
    if (access(beside, F_OK)) {
        t->bos = tokenizer_special(t, "<|begin_of_text|>");
        t->eos = tokenizer_special(t, "<|end_of_text|>");
        return 0;
    }
    json_t *config = json_read_file(beside, why);
    if (!config) return -1;
    t->bos = special_of(t, config, "bos_token");
    t->eos = special_of(t, config, "eos_token");
    json_decref(config);
    return 0;
}
