#include "lib/tokenizer/gguf_export.h"

#include "lib/common/json.h"
#include "lib/tokenizer/chat_known.h"
#include "lib/tokenizer/gguf_ends.h"
#include "lib/tokenizer/gguf_internal.h"
#include "lib/tokenizer/gguf_scores.h"
#include "lib/tokenizer/tokenizer_internal.h"

#include <unistd.h>

/* ---- tokens ---- */

/* What an id stands for: a piece, an added token, or nothing. */
struct export_token {
    const char *text;
    size_t bytes;
    enum gguf_token_type type;
    float score;
    char pad[24]; /* the name that an id without a token gets */
};

static bool is_between(const char *text, const char *first, const char *last)
{
    size_t bytes = strlen(text), begin = strlen(first), end = strlen(last);
    return bytes >= begin + end && !memcmp(text, first, begin) &&
           !memcmp(text + bytes - end, last, end);
}

/* Does llama.cpp's converter take this text for a control token (does_token_look_special)? */
static bool looks_special(const char *text)
{
    return !strcmp(text, "<pad>") || !strcmp(text, "<mask>") || !strcmp(text, "<2mass>") ||
           !strcmp(text, "[@BOS@]") || is_between(text, "<|", "|>") ||
           is_between(text, "<\xef\xbd\x9c", "\xef\xbd\x9c>") || is_between(text, "<unused", ">");
}

static void take_added(struct export_token *to, const struct added_token *a)
{
    bool is_control = a->special || looks_special(a->content);
    to->text = a->content;
    to->bytes = strlen(a->content);
    to->type = is_control ? GGUF_TOKEN_CONTROL : GGUF_TOKEN_USER;
    to->score = -1000;
}

/* Lists the tokens [vocab] by id. The text of a piece of byte-level BPE is still its raw bytes
 * here; put_tokens spells it. */
static struct export_token *list_tokens(const struct tokenizer *t, int64_t vocab, struct fail *why)
{
    struct export_token *at = calloc((size_t)vocab, sizeof *at);
    if (!at) {
        (void)fail(why, "out of memory");
        return NULL;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        bool is_hole = p->type == PIECE_UNUSED && !p->length;
        at[i] =
            (struct export_token){ .text = is_hole ? NULL : p->text,
                                   .bytes = p->length,
                                   .type = p->type == PIECE_USER ? GGUF_TOKEN_NORMAL
                                                                 : (enum gguf_token_type)p->type,
                                   .score = p->score };
    }
    for (size_t i = 0; i < t->added.count; i++)
        take_added(&at[t->added.at[i].id], &t->added.at[i]);
    for (int64_t i = 0; i < vocab; i++) {
        if (at[i].text) continue;
        int bytes = snprintf(at[i].pad, sizeof at[i].pad, "[PAD%lld]", (long long)i);
        at[i].text = at[i].pad;
        at[i].bytes = (size_t)bytes;
        at[i].type = GGUF_TOKEN_UNUSED;
        at[i].score = -10000;
    }
    return at;
}

static bool is_spelled(const struct tokenizer *t, int64_t id, const struct export_token *token)
{
    return t->is_byte_level && id < t->count && t->pieces[id].type == PIECE_NORMAL &&
           token->type == GGUF_TOKEN_NORMAL;
}

/* Adds the text of a user-defined token, with its space marks replaced by spaces. */
static void put_user(struct gguf_keys *k, const struct export_token *token)
{
    char text[TOKENIZER_PIECE_MAX];
    size_t used = 0;
    for (size_t i = 0; i < token->bytes;) {
        bool is_mark = token->bytes - i >= SPACE_MARK_BYTES &&
                       !memcmp(token->text + i, SPACE_MARK, SPACE_MARK_BYTES);
        text[used++] = is_mark ? ' ' : token->text[i];
        i += is_mark ? SPACE_MARK_BYTES : 1;
    }
    gguf_keys_item_text(k, text, used);
}

static void put_tokens(struct gguf_keys *k, const struct tokenizer *t,
                       const struct export_token *tokens, int64_t vocab)
{
    char spelled[2 * TOKENIZER_PIECE_MAX];
    gguf_keys_array(k, GGUF_KEY_TOKENS, GGUF_STRING, (uint64_t)vocab);
    for (int64_t i = 0; i < vocab; i++) {
        const struct export_token *at = &tokens[i];
        if (is_spelled(t, i, at))
            gguf_keys_item_text(k, spelled, tokenizer_spell_bytes(at->text, at->bytes, spelled));
        else if (at->type == GGUF_TOKEN_USER)
            put_user(k, at);
        else
            gguf_keys_item_text(k, at->text, at->bytes);
    }
    if (!t->is_byte_level) {
        gguf_keys_array(k, GGUF_KEY_SCORES, GGUF_F32, (uint64_t)vocab);
        for (int64_t i = 0; i < vocab; i++)
            gguf_keys_item(k, &tokens[i].score, sizeof tokens[i].score);
    }
    gguf_keys_array(k, GGUF_KEY_TOKEN_TYPES, GGUF_I32, (uint64_t)vocab);
    for (int64_t i = 0; i < vocab; i++) {
        int32_t type = (int32_t)tokens[i].type;
        gguf_keys_item(k, &type, sizeof type);
    }
}

/* ---- BPE over bytes ---- */

static int put_merges(struct gguf_keys *k, const struct tokenizer *t, struct fail *why)
{
    size_t count = 0, slots = (size_t)t->merge_mask + 1;
    struct merge *sorted = calloc(slots, sizeof *sorted);
    if (!sorted) return fail(why, "out of memory");
    for (size_t i = 0; i < slots; i++)
        if (t->merges[i].left != SYMBOL_NONE) sorted[count++] = t->merges[i];
    qsort(sorted, count, sizeof *sorted, merge_compare);
    gguf_keys_array(k, GGUF_KEY_MERGES, GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) {
        char pair[4 * TOKENIZER_PIECE_MAX + 1];
        const struct piece *left = &t->pieces[sorted[i].left], *right = &t->pieces[sorted[i].right];
        size_t used = tokenizer_spell_bytes(left->text, left->length, pair);
        pair[used++] = ' ';
        used += tokenizer_spell_bytes(right->text, right->length, pair + used);
        gguf_keys_item_text(k, pair, used);
    }
    free(sorted);
    return 0;
}

/* Removes keys that change no token, and adds a default that old files lack. Two spellings of the
 * same pre-tokenizer then become equal. */
static void normalise(json_t *json)
{
    const char *key, *type = json_string_value(json_object_get(json, "type"));
    json_t *value;
    size_t i;
    json_object_del(json, "trim_offsets");
    if (type && !strcmp(type, "ByteLevel") && !json_object_get(json, "use_regex"))
        json_object_set_new(json, "use_regex", json_true());
    json_object_foreach(json, key, value) { normalise(value); }
    json_array_foreach(json, i, value) { normalise(value); }
}

static bool is_same(const json_t *own, const char *text)
{
    json_t *known = json_loads(text, JSON_DECODE_ANY, NULL);
    json_t *copy = own ? json_deep_copy(own) : json_null();
    normalise(known);
    normalise(copy);
    bool same = json_equal(known, copy);
    json_decref(known);
    json_decref(copy);
    return same;
}

static const struct gguf_pre *find_pre(const struct tokenizer *t, struct fail *why)
{
    const struct gguf_pre *contrary = NULL;
    for (size_t i = 0; gguf_pre_at(i); i++) {
        const struct gguf_pre *pre = gguf_pre_at(i);
        if (!is_same(t->normalizer_json, pre->normalizer) ||
            !is_same(t->pre_tokenizer_json, pre->pre_tokenizer))
            continue;
        if (pre->ignores_merges == t->ignores_merges) return pre;
        contrary = pre;
    }
    if (contrary)
        (void)fail_input(why,
                         "ignore_merges is %s, but llama.cpp assumes the opposite for this "
                         "pre-tokenizer (%s), so its tokens would differ",
                         t->ignores_merges ? "true" : "false", contrary->name);
    else
        (void)fail_input(why,
                         "the pre-tokenizer or normalizer is none of those that a GGUF can name "
                         "(docs/formats/gguf.md lists them), so llama.cpp's tokens would differ");
    return NULL;
}

static int put_byte_level(struct gguf_keys *k, const struct tokenizer *t,
                          const struct export_token *tokens, int64_t vocab, struct fail *why)
{
    const struct gguf_pre *pre = find_pre(t, why);
    if (!pre) return -1;
    gguf_keys_text(k, GGUF_KEY_TOKENIZER, "gpt2", 4);
    gguf_keys_text(k, GGUF_KEY_PRE, pre->name, strlen(pre->name));
    put_tokens(k, t, tokens, vocab);
    return put_merges(k, t, why);
}

/* ---- SentencePiece ---- */

/* Does the tokenizer.json handle spaces as SentencePiece does? Sets *adds to whether a space is put
 * before a text. */
static bool has_marks(const struct tokenizer *t, bool *adds)
{
    const struct tokenizer_steps *n = &t->normalizers, *p = &t->pre_tokenizers;
    *adds = n->count == 2 && n->at[0].kind == STEP_PREPEND && !strcmp(n->at[0].text, SPACE_MARK);
    if (p->count == 1 && p->at[0].kind == STEP_METASPACE && !n->count) {
        *adds = p->at[0].scheme != PREPEND_NEVER;
        return !p->at[0].splits;
    }
    const struct tokenizer_step *last = n->count ? &n->at[n->count - 1] : NULL;
    /* Gemma's pre-tokenizer splits behind spaces, of which the normalizer leaves none. */
    bool finds_nothing = p->count == 1 && p->at[0].kind == STEP_SPLIT && p->at[0].literal &&
                         !strcmp(p->at[0].literal, " ") && !p->at[0].inverts &&
                         p->at[0].behavior != SPLIT_REMOVED;
    return (!p->count || finds_nothing) && last && n->count == 1 + *adds &&
           last->kind == STEP_REPLACE && last->literal && !strcmp(last->literal, " ") &&
           !strcmp(last->text, SPACE_MARK);
}

static int put_sentencepiece(struct gguf_keys *k, const struct tokenizer *t,
                             struct export_token *tokens, int64_t vocab, struct fail *why)
{
    bool adds = t->adds_prefix;
    if (t->is_json) {
        if (!has_marks(t, &adds) || !t->has_bytes || t->ignores_merges)
            return fail_input(why, "the tokenizer is neither BPE over bytes nor SentencePiece's "
                                   "BPE with byte pieces: only these can be written to a GGUF");
        float *scores = gguf_scores_make(t, why);
        if (!scores) return -1;
        for (uint32_t i = 0; i < t->count; i++)
            if (tokens[i].type == GGUF_TOKEN_NORMAL) tokens[i].score = scores[i];
        free(scores);
        for (int b = 0; b < 256; b++)
            if (tokens[t->byte_piece[b]].type == GGUF_TOKEN_NORMAL)
                tokens[t->byte_piece[b]].type = GGUF_TOKEN_BYTE;
    }
    gguf_keys_text(k, GGUF_KEY_TOKENIZER, "llama", 5);
    gguf_keys_text(k, GGUF_KEY_PRE, "default", 7);
    put_tokens(k, t, tokens, vocab);
    gguf_keys_flag(k, GGUF_KEY_ADD_SPACE, adds);
    return 0;
}

/* ---- special tokens ---- */

/* Returns the id of the special token `type`, such as "bos". tokenizer_config.json names it, or
 * else config.json. Returns UINT32_MAX if neither does. */
static uint32_t id_of(const struct tokenizer *t, const json_t *beside, const json_t *config,
                      const char *type)
{
    char key[32];
    snprintf(key, sizeof key, "%s_token", type);
    const json_t *value = json_object_get(beside, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    const char *name = json_string_value(value);
    uint32_t id = name ? tokenizer_special(t, name) : UINT32_MAX;
    if (id != UINT32_MAX) return id;
    snprintf(key, sizeof key, "%s_token_id", type);
    value = json_object_get(config, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    json_int_t given = json_is_integer(value) ? json_integer_value(value) : -1;
    return given >= 0 && given < UINT32_MAX ? (uint32_t)given : UINT32_MAX;
}

static void put_id(struct gguf_keys *k, const char *key, uint32_t id, int64_t vocab)
{
    if (id < vocab) gguf_keys_count(k, key, id);
}

/* Adds an end token that llama.cpp does not know to the remark. token may be NULL. The text of a
 * piece is not shown, because it may be bytes that are no text. */
static void remark_end(struct gguf_export_notes *notes, uint32_t id,
                       const struct export_token *token)
{
    static const char begin[] = "llama.cpp does not end an answer at ";
    static const char finish[] = ", where the model ends one (docs/formats/gguf.md has the cause): "
                                 "give its text to llama.cpp as --reverse-prompt";
    char *to = notes->ends, *end = strstr(to, finish);
    size_t used = end ? (size_t)(end - to) : 0, left = sizeof notes->ends - used;
    bool has_text = token && (token->type == GGUF_TOKEN_CONTROL || token->type == GGUF_TOKEN_USER);
    if (left < sizeof finish + 120) return;
    used += (size_t)snprintf(to + used, left, "%s%u", used ? ", " : begin, id);
    if (has_text)
        used += (size_t)snprintf(to + used, sizeof notes->ends - used, " '%.*s'",
                                 token->bytes < 60 ? (int)token->bytes : 60, token->text);
    memcpy(to + used, finish, sizeof finish);
}

/* Chooses the tokens of the two keys that llama.cpp has besides EOS: an end of a turn and an end of
 * a message. Tokens that llama.cpp knows by their names need no key, the others come first. Each
 * further one gets a remark. */
static void put_ends(struct gguf_keys *k, const struct export_token *tokens,
                     const struct end_tokens *ends, uint32_t eos, int64_t vocab,
                     struct gguf_export_notes *notes)
{
    struct gguf_ends named;
    uint32_t turn = UINT32_MAX, second = UINT32_MAX, eot = UINT32_MAX, eom = UINT32_MAX;
    gguf_ends_init(&named);
    for (int64_t i = 0; i < vocab; i++)
        gguf_ends_look(&named, (uint32_t)i, tokens[i].type,
                       (struct gguf_text){ tokens[i].text, tokens[i].bytes });
    if (gguf_ends_turn(&named, eos)) turn = eos;
    for (int i = 0; i < ends->count; i++) {
        uint32_t id = ends->ids[i];
        bool is_named = gguf_ends_by_name(&named, id), is_eos = id == eos;
        if (id >= vocab) continue;
        if (turn == UINT32_MAX && gguf_ends_turn(&named, id)) turn = id;
        if (second == UINT32_MAX && is_named && !is_eos) second = id;
        if (gguf_ends_never(&named, id))
            remark_end(notes, id, &tokens[id]);
        else if (is_named || is_eos)
            continue;
        else if (eom == UINT32_MAX)
            eom = id;
        else if (eot == UINT32_MAX)
            eot = id;
        else
            remark_end(notes, id, &tokens[id]);
    }
    if (eot == UINT32_MAX) eot = turn;
    if (eot == UINT32_MAX && eom != UINT32_MAX) eot = eom, eom = UINT32_MAX;
    put_id(k, GGUF_KEY_EOT, eot != UINT32_MAX ? eot : second, vocab);
    put_id(k, GGUF_KEY_EOM, eom, vocab);
}

static int put_specials(struct gguf_keys *k, const struct tokenizer *t,
                        const struct export_token *tokens, const json_t *beside,
                        const json_t *config, int64_t vocab, struct gguf_export_notes *notes,
                        struct fail *why)
{
    struct end_tokens ends;
    if (end_tokens_parse(&ends, json_object_get(config, "eos_token_id"), why))
        return fail_in(why, "config.json");
    uint32_t bos = tokenizer_bos(t), eos = tokenizer_eos(t);
    uint32_t begin = tokenizer_begin(t), end = tokenizer_end(t);
    if (bos == UINT32_MAX) bos = begin != UINT32_MAX ? begin : id_of(t, beside, config, "bos");
    if (eos == UINT32_MAX) eos = end != UINT32_MAX ? end : id_of(t, beside, config, "eos");
    if ((begin != UINT32_MAX && begin != bos) || (end != UINT32_MAX && end != eos))
        return fail_input(why,
                          "the tokenizer adds token %u %s each text, which is not its %s token: "
                          "llama.cpp can only add that one",
                          begin != UINT32_MAX && begin != bos ? begin : end,
                          begin != UINT32_MAX && begin != bos ? "before" : "after",
                          begin != UINT32_MAX && begin != bos ? "BOS" : "EOS");
    put_id(k, GGUF_KEY_BOS, bos, vocab);
    put_id(k, GGUF_KEY_EOS, eos, vocab);
    put_ends(k, tokens, &ends, eos, vocab, notes);
    if (!t->is_byte_level) put_id(k, GGUF_KEY_UNKNOWN, t->unknown, vocab);
    put_id(k, GGUF_KEY_PADDING, id_of(t, beside, config, "pad"), vocab);
    gguf_keys_flag(k, GGUF_KEY_ADD_BOS, begin != UINT32_MAX);
    gguf_keys_flag(k, GGUF_KEY_ADD_EOS, end != UINT32_MAX);
    return 0;
}

/* ---- the whole tokenizer ---- */

/* If an added token has options that llama.cpp ignores, writes a remark that names one such
 * token. */
static void remark_added(const struct tokenizer *t, struct gguf_export_notes *notes)
{
    for (size_t i = 0; i < t->added.count; i++) {
        const struct added_token *a = &t->added.at[i];
        if (!a->lstrip && (!a->rstrip || notes->strips) && !a->single_word) continue;
        snprintf(notes->added, sizeof notes->added,
                 "added token '%.60s' takes the spaces beside it, or stands alone (lstrip, rstrip, "
                 "single_word): llama.cpp does not do that",
                 a->content);
        return;
    }
}

static int put_template(struct gguf_keys *k, const char *place, struct fail *why)
{
    struct chat_source source;
    if (chat_source_find(&source, place, why)) return -1;
    if (source.text) gguf_keys_text(k, GGUF_KEY_CHAT_TEMPLATE, source.text, source.bytes);
    chat_source_release(&source);
    return 0;
}

static int put_all(struct gguf_keys *k, const struct tokenizer *t, const json_t *beside,
                   const json_t *config, int64_t vocab, struct gguf_export_notes *notes,
                   struct fail *why)
{
    if (tokenizer_vocab(t) > vocab)
        return fail_input(why,
                          "the tokenizer has %u tokens, but the model has %lld: a tokenizer of "
                          "this model is needed",
                          tokenizer_vocab(t), (long long)vocab);
    struct export_token *tokens = list_tokens(t, vocab, why);
    if (!tokens) return -1;
    int status = t->is_byte_level ? put_byte_level(k, t, tokens, vocab, why)
                                  : put_sentencepiece(k, t, tokens, vocab, why);
    if (!status) status = put_specials(k, t, tokens, beside, config, vocab, notes, why);
    free(tokens);
    return status;
}

/* Remarks on the model's end tokens that the tokenizer of a GGUF does not have. */
static int compare_ends(const struct gguf *g, const json_t *config, int64_t vocab,
                        struct gguf_export_notes *notes, struct fail *why)
{
    struct end_tokens ends, known;
    if (end_tokens_parse(&ends, json_object_get(config, "eos_token_id"), why))
        return fail_in(why, "config.json");
    if (gguf_ends_read(&known, g, why)) return -1;
    for (int i = 0; i < ends.count; i++)
        if (ends.ids[i] < vocab && !end_tokens_have(&known, ends.ids[i]))
            remark_end(notes, ends.ids[i], NULL);
    return 0;
}

static int copy_keys(struct gguf_keys *k, const char *path, int64_t vocab, const json_t *config,
                     struct gguf_export_notes *notes, struct fail *why)
{
    struct gguf g;
    struct gguf_text name = { "", 0 };
    const struct gguf_value *tokens;
    if (gguf_open(&g, path, why)) return -1;
    int status = gguf_get_array(&g, GGUF_KEY_TOKENS, GGUF_STRING, &tokens, why);
    if (!status) status = gguf_get_text(&g, "general.name", &name, why);
    notes->strips = gguf_name_strips(name);
    if (!status && (!tokens || tokens->count != (uint64_t)vocab))
        status = fail_input(
            why, "the tokenizer has %llu tokens, but the model has %lld: name another --tokenizer",
            tokens ? (unsigned long long)tokens->count : 0, (long long)vocab);
    if (!status) status = compare_ends(&g, config, vocab, notes, why);
    for (size_t i = 0; i < g.value_count && !status; i++) {
        const struct gguf_value *v = &g.values[i];
        bool is_tokenizer = v->key.bytes > 10 && !memcmp(v->key.at, "tokenizer.", 10);
        if (is_tokenizer && v->item != GGUF_ARRAY) gguf_keys_copy(k, v);
    }
    gguf_close(&g);
    return status ? fail_in(why, path) : 0;
}

int gguf_export_tokenizer(struct gguf_keys *k, const char *place, int64_t vocab,
                          const json_t *config, struct gguf_export_notes *notes, struct fail *why)
{
    struct tokenizer *t;
    char beside_path[4200];
    json_t *beside = NULL;
    *notes = (struct gguf_export_notes){ 0 };
    if (gguf_is(place)) return copy_keys(k, place, vocab, config, notes, why);
    if (tokenizer_open(&t, place, why)) return -1;
    snprintf(beside_path, sizeof beside_path, "%.4000s/tokenizer_config.json", place);
    int status = 0;
    if (!access(beside_path, F_OK) && !(beside = json_read_file(beside_path, why))) status = -1;
    if (!status && put_all(k, t, beside, config, vocab, notes, why)) status = fail_in(why, t->name);
    if (!status) status = put_template(k, place, why);
    notes->strips = gguf_export_strips(t);
    if (!status) remark_added(t, notes);
    json_decref(beside);
    tokenizer_close(t);
    return status;
}
