/* gguf_tokens.c - reads and checks a GGUF's tokens, and the keys of its tokenizer. */
#include "lib/tokenizer/gguf_internal.h"

#include "lib/common/utf8.h"

#include <fnmatch.h>
#include <math.h>

/* ---- keys ---- */

/* The keys tokenizer.ggml.* that are read or checked, or that do not change the tokens. Any other
 * key is refused, because it might change the tokens. */
static const char *const known_keys[] = {
    GGUF_KEY_TOKENIZER,
    GGUF_KEY_PRE,
    GGUF_KEY_TOKENS,
    GGUF_KEY_TOKEN_TYPES,
    GGUF_KEY_SCORES,
    GGUF_KEY_MERGES,
    GGUF_KEY_ADD_BOS,
    GGUF_KEY_ADD_EOS,
    GGUF_KEY_ADD_SPACE,
    "tokenizer.ggml.*_token_id",
    "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.ggml.suppress_tokens",
};

/* Keys that must be absent or false. */
static const char *const off_keys[] = { "tokenizer.ggml.add_sep_token",
                                        "tokenizer.ggml.remove_extra_whitespaces" };

static int check_key(const struct gguf_value *v, struct fail *why)
{
    static const char prefix[] = "tokenizer.ggml.";
    char key[128];
    if (v->key.bytes < sizeof prefix || memcmp(v->key.at, prefix, sizeof prefix - 1) != 0) return 0;
    snprintf(key, sizeof key, "%.*s", (int)v->key.bytes, v->key.at);
    for (size_t i = 0; i < sizeof known_keys / sizeof *known_keys; i++)
        if (!fnmatch(known_keys[i], key, 0)) return 0;
    return fail_input(why, "%.80s is unknown, and may change the tokens", key);
}

int gguf_check_tokenizer_keys(const struct gguf *g, struct fail *why)
{
    for (size_t i = 0; i < g->value_count; i++)
        if (check_key(&g->values[i], why)) return -1;
    for (size_t i = 0; i < sizeof off_keys / sizeof *off_keys; i++) {
        bool is_on = false;
        if (gguf_get_flag(g, off_keys[i], &is_on, why)) return -1;
        if (is_on)
            return fail_input(why, "%s is not supported: name the model's own tokenizer.json",
                              off_keys[i]);
    }
    const struct gguf_value *map = gguf_find(g, "tokenizer.ggml.precompiled_charsmap");
    if (!map || (map->type == GGUF_ARRAY && !map->count)) return 0;
    return fail_input(why, "a normalizer with a table (precompiled_charsmap) is not supported: "
                           "name the model's own tokenizer.json");
}

/* ---- tokens ---- */

void gguf_tokens_release(struct gguf_tokens *tokens)
{
    free(tokens->at);
    free(tokens->sorted);
}

static int by_text(const void *a, const void *b, void *arg)
{
    const struct gguf_tokens *tokens = arg;
    return gguf_compare_texts(tokens->at[*(const uint32_t *)a].text,
                              tokens->at[*(const uint32_t *)b].text);
}

uint32_t gguf_token_find(const struct gguf_tokens *tokens, struct gguf_text text)
{
    uint32_t low = 0, high = tokens->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, id = tokens->sorted[middle];
        int order = gguf_compare_texts(text, tokens->at[id].text);
        if (!order) return id;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return UINT32_MAX;
}

static int check_token(const struct gguf_token *t, uint32_t id, struct fail *why)
{
    if (t->type < GGUF_TOKEN_NORMAL || t->type > GGUF_TOKEN_BYTE)
        return fail_input(why, "%s: token %u has the unknown type %d", GGUF_KEY_TOKEN_TYPES, id,
                          (int)t->type);
    if (!t->text.bytes || t->text.bytes > TOKENIZER_PIECE_MAX)
        return fail_input(why, "%s: token %u has %zu bytes, but 1 to %d are possible",
                          GGUF_KEY_TOKENS, id, t->text.bytes, TOKENIZER_PIECE_MAX);
    for (size_t i = 0, n; i < t->text.bytes; i += n) {
        n = utf8_valid((const unsigned char *)t->text.at + i, t->text.bytes - i);
        if (!n || !t->text.at[i])
            return fail_input(why, "%s: token %u is no text in UTF-8", GGUF_KEY_TOKENS, id);
    }
    return isfinite(t->score)
               ? 0
               : fail_input(why, "%s: token %u has no finite score", GGUF_KEY_SCORES, id);
}

static int sort_tokens(struct gguf_tokens *tokens, struct fail *why)
{
    for (uint32_t i = 0; i < tokens->count; i++)
        tokens->sorted[i] = i;
    qsort_r(tokens->sorted, tokens->count, sizeof *tokens->sorted, by_text, tokens);
    for (uint32_t i = 1; i < tokens->count; i++)
        if (!by_text(&tokens->sorted[i - 1], &tokens->sorted[i], tokens))
            return fail_input(why, "%s: tokens %u and %u are the same text", GGUF_KEY_TOKENS,
                              tokens->sorted[i - 1], tokens->sorted[i]);
    return 0;
}

int gguf_tokens_read(struct gguf_tokens *tokens, const struct gguf *g, struct fail *why)
{
    const struct gguf_value *texts, *types, *scores;
    if (gguf_get_array(g, GGUF_KEY_TOKENS, GGUF_STRING, &texts, why) ||
        gguf_get_array(g, GGUF_KEY_TOKEN_TYPES, GGUF_I32, &types, why) ||
        gguf_get_array(g, GGUF_KEY_SCORES, GGUF_F32, &scores, why))
        return -1;
    if (!texts || !texts->count)
        return fail_input(why, "the file has no tokenizer (%s)", GGUF_KEY_TOKENS);
    if (texts->count > TOKENIZER_PIECES_MAX)
        return fail_input(why, "%s has %llu tokens, but at most %d are possible", GGUF_KEY_TOKENS,
                          (unsigned long long)texts->count, TOKENIZER_PIECES_MAX);
    if ((types && types->count != texts->count) || (scores && scores->count != texts->count))
        return fail_input(why, "%s has another length than %s",
                          types && types->count != texts->count ? GGUF_KEY_TOKEN_TYPES
                                                                : GGUF_KEY_SCORES,
                          GGUF_KEY_TOKENS);
    tokens->at = calloc(texts->count, sizeof *tokens->at);
    tokens->sorted = calloc(texts->count, sizeof *tokens->sorted);
    if (!tokens->at || !tokens->sorted) return fail(why, "out of memory");
    tokens->count = (uint32_t)texts->count;
    tokens->has_scores = scores != NULL;
    const char *at = texts->at;
    for (uint32_t i = 0; i < tokens->count; i++) {
        struct gguf_token *t = &tokens->at[i];
        t->text = gguf_next_text(&at);
        t->score = scores ? (float)gguf_number_at(scores, i) : 0;
        t->type = types ? (enum gguf_token_type)gguf_integer_at(types, i) : GGUF_TOKEN_NORMAL;
        t->found_as = t->type;
        if (check_token(t, i, why)) return -1;
    }
    return sort_tokens(tokens, why) || gguf_tokens_find_control(tokens, g, why) ? -1 : 0;
}
