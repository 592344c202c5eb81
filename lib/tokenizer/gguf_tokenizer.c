#include "lib/tokenizer/gguf_internal.h"

#include "lib/common/utf8.h"
#include "lib/tokenizer/tokenizer_internal.h"

#include <fnmatch.h>
#include <math.h>

/* ---- keys ---- */

/* The keys of a tokenizer that are read, or name a token and change nothing. Any other might change
 * the tokens. */
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

/* Keys that must be off. */
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
    return fail_input(why, "%.80s is not known here, and may change the tokens", key);
}

static int check_keys(const struct gguf *g, struct fail *why)
{
    for (size_t i = 0; i < g->value_count; i++)
        if (check_key(&g->values[i], why)) return -1;
    for (size_t i = 0; i < sizeof off_keys / sizeof *off_keys; i++) {
        bool is_on = false;
        if (gguf_get_flag(g, off_keys[i], &is_on, why)) return -1;
        if (is_on) return fail_input(why, "%s is not done here", off_keys[i]);
    }
    const struct gguf_value *map = gguf_find(g, "tokenizer.ggml.precompiled_charsmap");
    if (!map || (map->type == GGUF_ARRAY && !map->count)) return 0;
    return fail_input(why, "a normalizer with a table (precompiled_charsmap) is not done here");
}

/* ---- tokens ---- */

static void release_tokens(struct gguf_tokens *tokens)
{
    free(tokens->at);
    free(tokens->sorted);
}

static int compare(struct gguf_text a, struct gguf_text b)
{
    int order = memcmp(a.at, b.at, a.bytes < b.bytes ? a.bytes : b.bytes);
    if (order) return order;
    return a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

static int by_text(const void *a, const void *b, void *arg)
{
    const struct gguf_tokens *tokens = arg;
    return compare(tokens->at[*(const uint32_t *)a].text, tokens->at[*(const uint32_t *)b].text);
}

uint32_t gguf_token_find(const struct gguf_tokens *tokens, struct gguf_text text)
{
    uint32_t low = 0, high = tokens->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, id = tokens->sorted[middle];
        int order = compare(text, tokens->at[id].text);
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
        return fail_input(why, "%s: token %u has %zu bytes, 1 to %d are possible", GGUF_KEY_TOKENS,
                          id, t->text.bytes, TOKENIZER_PIECE_MAX);
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

static int read_tokens(struct gguf_tokens *tokens, const struct gguf *g, struct fail *why)
{
    const struct gguf_value *texts, *types, *scores;
    if (gguf_get_array(g, GGUF_KEY_TOKENS, GGUF_STRING, &texts, why) ||
        gguf_get_array(g, GGUF_KEY_TOKEN_TYPES, GGUF_I32, &types, why) ||
        gguf_get_array(g, GGUF_KEY_SCORES, GGUF_F32, &scores, why))
        return -1;
    if (!texts || !texts->count) return fail_input(why, "no tokenizer in it (%s)", GGUF_KEY_TOKENS);
    if (texts->count > TOKENIZER_PIECES_MAX)
        return fail_input(why, "%s: %llu tokens, at most %d", GGUF_KEY_TOKENS,
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
    const char *at = texts->at;
    for (uint32_t i = 0; i < tokens->count; i++) {
        tokens->at[i] =
            (struct gguf_token){ gguf_next_text(&at), scores ? (float)gguf_number_at(scores, i) : 0,
                                 types ? (enum gguf_token_type)gguf_integer_at(types, i)
                                       : GGUF_TOKEN_NORMAL };
        if (check_token(&tokens->at[i], i, why)) return -1;
    }
    return sort_tokens(tokens, why);
}

/* ---- the tokenizer that is being made ---- */

struct making {
    const struct gguf *g;
    struct gguf_tokens tokens;
    const struct gguf_pre *pre; /* NULL for a SentencePiece model */
    uint32_t bos, eos, unknown, padding;
    bool adds_bos, adds_eos, adds_space;
    uint32_t vocab; /* tokens from here on are only in added_tokens */
    FILE *to;
};

static int read_id(const struct making *m, const char *key, uint32_t *id, struct fail *why)
{
    int64_t found = *id;
    if (gguf_get_integer(m->g, key, 0, UINT32_MAX, &found, why)) return -1;
    if (found != UINT32_MAX && found >= m->tokens.count)
        return fail_input(why, "%s is %lld, vocabulary %u", key, (long long)found, m->tokens.count);
    *id = (uint32_t)found;
    return 0;
}

/* Which model it is, and what llama.cpp takes for keys that are missing. */
static int read_model(struct making *m, struct fail *why)
{
    struct gguf_text model = { "", 0 }, pre = { "default", 7 };
    if (gguf_get_text(m->g, GGUF_KEY_TOKENIZER, &model, why) ||
        gguf_get_text(m->g, GGUF_KEY_PRE, &pre, why))
        return -1;
    if (gguf_text_is(model, "gpt2")) {
        m->pre = gguf_pre_find(pre, why);
        if (!m->pre) return -1;
        m->bos = m->eos = m->unknown = m->padding = UINT32_MAX;
        m->adds_bos = m->pre->adds_bos;
        return 0;
    }
    if (!gguf_text_is(model, "llama"))
        return fail_input(why,
                          "%s '%.*s' is not encoded here, only gpt2 and llama: name the model's "
                          "own tokenizer.json",
                          GGUF_KEY_TOKENIZER, (int)(model.bytes < 40 ? model.bytes : 40), model.at);
    m->bos = 1, m->eos = 2, m->unknown = 0, m->padding = UINT32_MAX;
    m->adds_bos = m->adds_space = true;
    return 0;
}

static int read_keys(struct making *m, struct fail *why)
{
    if (check_keys(m->g, why) || read_tokens(&m->tokens, m->g, why) || read_model(m, why) ||
        read_id(m, GGUF_KEY_BOS, &m->bos, why) || read_id(m, GGUF_KEY_EOS, &m->eos, why) ||
        read_id(m, GGUF_KEY_UNKNOWN, &m->unknown, why) ||
        read_id(m, GGUF_KEY_PADDING, &m->padding, why) ||
        gguf_get_flag(m->g, GGUF_KEY_ADD_BOS, &m->adds_bos, why) ||
        gguf_get_flag(m->g, GGUF_KEY_ADD_EOS, &m->adds_eos, why) ||
        gguf_get_flag(m->g, GGUF_KEY_ADD_SPACE, &m->adds_space, why))
        return -1;
    if (m->pre && m->adds_space)
        return fail_input(why, "%s is not done here for gpt2", GGUF_KEY_ADD_SPACE);
    m->adds_bos = m->adds_bos && m->bos != UINT32_MAX;
    m->adds_eos = m->adds_eos && m->eos != UINT32_MAX;
    return 0;
}

static bool is_added(const struct gguf_token *t)
{
    return t->type == GGUF_TOKEN_CONTROL || t->type == GGUF_TOKEN_USER ||
           t->type == GGUF_TOKEN_UNKNOWN;
}

/* Added tokens that follow all others without a hole are not in the model's vocabulary, as in the
 * files of LLaMA 3. */
static void find_end(struct making *m)
{
    uint32_t end = m->tokens.count;
    while (end && is_added(&m->tokens.at[end - 1]))
        end--;
    for (uint32_t i = 0; i < end; i++)
        if (m->tokens.at[i].type == GGUF_TOKEN_UNUSED) end = m->tokens.count;
    m->vocab = m->pre ? end : m->tokens.count;
}

/* ---- tokenizer.json ---- */

void gguf_put_text(FILE *to, struct gguf_text text)
{
    fputc('"', to);
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20)
            fprintf(to, "\\u%04x", c);
        else
            putc_unlocked(c, to);
    }
    fputc('"', to);
}

static void put_added(const struct making *m)
{
    bool is_first = true;
    fputs("\"added_tokens\":[", m->to);
    for (uint32_t i = 0; i < m->tokens.count; i++) {
        const struct gguf_token *t = &m->tokens.at[i];
        if (!is_added(t)) continue;
        fprintf(m->to, "%s{\"id\":%u,\"content\":", is_first ? "" : ",", i);
        gguf_put_text(m->to, t->text);
        fprintf(m->to,
                ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                "\"special\":%s}",
                t->type == GGUF_TOKEN_USER ? "false" : "true");
        is_first = false;
    }
    fputs("],", m->to);
}

static void put_special(const struct making *m, uint32_t id, int type)
{
    fputs("{\"SpecialToken\":{\"id\":", m->to);
    gguf_put_text(m->to, m->tokens.at[id].text);
    fprintf(m->to, ",\"type_id\":%d}}", type);
}

static void put_sequence(const struct making *m, char name, int type)
{
    if (m->adds_bos) put_special(m, m->bos, type), fputc(',', m->to);
    fprintf(m->to, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", name, type);
    if (m->adds_eos) fputc(',', m->to), put_special(m, m->eos, type);
}

static void put_special_ids(const struct making *m)
{
    const uint32_t ids[2] = { m->bos, m->eos };
    const bool adds[2] = { m->adds_bos, m->adds_eos && !(m->adds_bos && m->eos == m->bos) };
    fputs("\"special_tokens\":{", m->to);
    for (int i = 0; i < 2; i++) {
        if (!adds[i]) continue;
        const struct gguf_text text = m->tokens.at[ids[i]].text;
        if (i && adds[0]) fputc(',', m->to);
        gguf_put_text(m->to, text);
        fputs(":{\"id\":", m->to);
        gguf_put_text(m->to, text);
        fprintf(m->to, ",\"ids\":[%u],\"tokens\":[", ids[i]);
        gguf_put_text(m->to, text);
        fputs("]}", m->to);
    }
    fputc('}', m->to);
}

static void put_processor(const struct making *m)
{
    static const char bytes[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                                "\"trim_offsets\":false,\"use_regex\":true}";
    bool has_template = m->adds_bos || m->adds_eos;
    fputs("\"post_processor\":", m->to);
    if (has_template && m->pre) fprintf(m->to, "{\"type\":\"Sequence\",\"processors\":[%s,", bytes);
    if (has_template) {
        fputs("{\"type\":\"TemplateProcessing\",\"single\":[", m->to);
        put_sequence(m, 'A', 0);
        fputs("],\"pair\":[", m->to);
        put_sequence(m, 'A', 0);
        fputc(',', m->to);
        put_sequence(m, 'B', 1);
        fputs("],", m->to);
        put_special_ids(m);
        fputc('}', m->to);
    } else {
        fputs(m->pre ? bytes : "null", m->to);
    }
    fputs(has_template && m->pre ? "]}," : ",", m->to);
}

/* What comes before and after the model itself, for SentencePiece as in the files of LLaMA 2. */
static void put_steps(const struct making *m)
{
    if (m->pre) {
        fprintf(m->to, "\"normalizer\":%s,\"pre_tokenizer\":%s,", m->pre->normalizer,
                m->pre->pre_tokenizer);
        put_processor(m);
        fputs("\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
              "\"use_regex\":true},",
              m->to);
        return;
    }
    fprintf(m->to,
            "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s{\"type\":\"Replace\","
            "\"pattern\":{\"String\":\" \"},\"content\":\"" SPACE_MARK "\"}]},"
            "\"pre_tokenizer\":null,",
            m->adds_space ? "{\"type\":\"Prepend\",\"prepend\":\"" SPACE_MARK "\"}," : "");
    put_processor(m);
    fprintf(m->to,
            "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
            "\"String\":\"" SPACE_MARK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
            "{\"type\":\"Fuse\"}%s]},",
            m->adds_space ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "");
}

static void put_vocab(const struct making *m)
{
    bool is_first = true;
    fputs("\"vocab\":{", m->to);
    for (uint32_t i = 0; i < m->vocab; i++) {
        if (m->tokens.at[i].type == GGUF_TOKEN_UNUSED) continue;
        if (!is_first) fputc(',', m->to);
        gguf_put_text(m->to, m->tokens.at[i].text);
        fprintf(m->to, ":%u", i);
        is_first = false;
    }
    fputs("},", m->to);
}

/* Writes the merges of the file, which must be texts in UTF-8. */
static int put_merges(const struct making *m, struct fail *why)
{
    const struct gguf_value *merges;
    fputs("\"merges\":", m->to);
    if (!m->pre) return gguf_put_score_merges(m->to, &m->tokens, why);
    if (gguf_get_array(m->g, GGUF_KEY_MERGES, GGUF_STRING, &merges, why)) return -1;
    if (!merges) return fail_input(why, "%s is missing", GGUF_KEY_MERGES);
    const char *at = merges->at;
    fputc('[', m->to);
    for (uint64_t i = 0; i < merges->count; i++) {
        struct gguf_text text = gguf_next_text(&at);
        for (size_t b = 0, n; b < text.bytes; b += n) {
            n = utf8_valid((const unsigned char *)text.at + b, text.bytes - b);
            if (!n || !text.at[b])
                return fail_input(why, "%s: merge %llu is no text in UTF-8", GGUF_KEY_MERGES,
                                  (unsigned long long)i);
        }
        if (i) fputc(',', m->to);
        gguf_put_text(m->to, text);
    }
    fputc(']', m->to);
    return 0;
}

static bool falls_back(const struct making *m)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < m->tokens.count; i++)
        bytes += m->tokens.at[i].type == GGUF_TOKEN_BYTE;
    return bytes == 256;
}

static int put_json(const struct making *m, struct fail *why)
{
    bool has_unknown = !m->pre && m->unknown != UINT32_MAX;
    fputs("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,", m->to);
    put_added(m);
    put_steps(m);
    fputs("\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":", m->to);
    if (has_unknown)
        gguf_put_text(m->to, m->tokens.at[m->unknown].text);
    else
        fputs("null", m->to);
    fprintf(m->to,
            ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,"
            "\"byte_fallback\":%s,\"ignore_merges\":%s,",
            m->pre ? "false" : "true", !m->pre && falls_back(m) ? "true" : "false",
            m->pre && m->pre->ignores_merges ? "true" : "false");
    put_vocab(m);
    if (put_merges(m, why)) return -1;
    fputs("}}\n", m->to);
    return 0;
}

/* ---- tokenizer_config.json ---- */

static json_t *text_of(struct gguf_text text) { return json_stringn(text.at, text.bytes); }

static int put_token(json_t *config, const struct making *m, const char *key, uint32_t id,
                     struct fail *why)
{
    if (id == UINT32_MAX) return 0;
    return json_object_set_new(config, key, text_of(m->tokens.at[id].text))
               ? fail(why, "out of memory")
               : 0;
}

static json_t *list_added(const struct making *m)
{
    json_t *list = json_object();
    char key[16];
    for (uint32_t i = 0; i < m->tokens.count; i++) {
        const struct gguf_token *t = &m->tokens.at[i];
        if (!is_added(t)) continue;
        snprintf(key, sizeof key, "%u", i);
        json_object_set_new(list, key,
                            json_pack("{s:o,s:b,s:b,s:b,s:b,s:b}", "content", text_of(t->text),
                                      "lstrip", 0, "normalized", 0, "rstrip", 0, "single_word", 0,
                                      "special", t->type != GGUF_TOKEN_USER));
    }
    return list;
}

static int make_config(const struct making *m, json_t **config, struct fail *why)
{
    struct gguf_text template = { 0 };
    char key[80];
    int64_t context = 0;
    struct gguf_text architecture = { "", 0 };
    if (gguf_get_text(m->g, GGUF_KEY_CHAT_TEMPLATE, &template, why) ||
        gguf_get_text(m->g, "general.architecture", &architecture, why))
        return -1;
    snprintf(key, sizeof key, "%.*s.context_length",
             (int)(architecture.bytes < 40 ? architecture.bytes : 40), architecture.at);
    if (gguf_get_integer(m->g, key, 0, INT64_MAX, &context, why)) return -1;
    *config = json_pack("{s:s,s:b,s:o}", "tokenizer_class", "PreTrainedTokenizerFast",
                        "clean_up_tokenization_spaces", 0, "added_tokens_decoder", list_added(m));
    if (!*config) return fail(why, "out of memory");
    if (put_token(*config, m, "bos_token", m->bos, why) ||
        put_token(*config, m, "eos_token", m->eos, why) ||
        put_token(*config, m, "unk_token", m->unknown, why) ||
        put_token(*config, m, "pad_token", m->padding, why))
        return -1;
    if (context) json_object_set_new(*config, "model_max_length", json_integer(context));
    if (!template.at) return 0;
    json_t *text = text_of(template);
    if (!text) return fail_input(why, "%s is no text in UTF-8", GGUF_KEY_CHAT_TEMPLATE);
    return json_object_set_new(*config, "chat_template", text) ? fail(why, "out of memory") : 0;
}

/* ---- the whole ---- */

static int make_all(struct making *m, struct gguf_tokenizer *out, struct fail *why)
{
    if (read_keys(m, why)) return -1;
    find_end(m);
    m->to = open_memstream(&out->json, &out->bytes);
    if (!m->to) return fail(why, "out of memory");
    int status = put_json(m, why);
    bool is_lost = ferror(m->to);
    if ((fclose(m->to) || is_lost) && !status) status = fail(why, "out of memory");
    return status ? -1 : make_config(m, &out->config, why);
}

int gguf_tokenizer_make(struct gguf_tokenizer *out, const struct gguf *g, struct fail *why)
{
    struct making m = { .g = g };
    *out = (struct gguf_tokenizer){ 0 };
    int status = make_all(&m, out, why);
    release_tokens(&m.tokens);
    if (status) gguf_tokenizer_release(out);
    return status;
}

void gguf_tokenizer_release(struct gguf_tokenizer *made)
{
    free(made->json);
    json_decref(made->config);
    *made = (struct gguf_tokenizer){ 0 };
}

int gguf_tokenizer_open(struct tokenizer **t, const char *path, struct fail *why)
{
    struct gguf g;
    struct gguf_tokenizer made;
    *t = NULL;
    if (gguf_open(&g, path, why)) return -1;
    int status = gguf_tokenizer_make(&made, &g, why);
    gguf_close(&g);
    if (status) return fail_in(why, path);
    status = tokenizer_parse(t, made.json, made.bytes, path, why);
    if (!status && tokenizer_read_config(*t, made.config, why)) {
        tokenizer_close(*t);
        *t = NULL;
        status = fail_in(why, path);
    }
    gguf_tokenizer_release(&made);
    return status;
}

int gguf_tokenizer_digest(const struct gguf *g, char digest[DIGEST_TEXT], struct fail *why)
{
    struct gguf_tokenizer made;
    *digest = 0;
    if (gguf_tokenizer_make(&made, g, why)) return why->status == STATUS_FAILED ? -1 : 0;
    digest_of_bytes(made.json, made.bytes, digest);
    gguf_tokenizer_release(&made);
    return 0;
}
