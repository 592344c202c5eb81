#include "lib/tokenizer/gguf_internal.h"

#include "lib/common/utf8.h"
#include "lib/tokenizer/tokenizer_internal.h"

/* ---- the tokenizer that is being made ---- */

struct making {
    const struct gguf *g;
    struct gguf_tokens tokens;
    const struct gguf_pre *pre; /* NULL for a SentencePiece model */
    uint32_t bos, eos, unknown, padding;
    bool adds_bos, adds_eos, adds_space;
    bool falls_back; /* a SentencePiece model has the pieces <0x00> to <0xFF> */
    bool strips;     /* added tokens take the white space that follows them (gguf_name.c) */
    uint32_t vocab;  /* tokens with this id or a higher one are only in added_tokens */
    struct gguf_json *to;
};

/* Reads the id of a special token. If the key is missing, *id stays llama.cpp's default. So it does
 * if the key is -1 (UINT32_MAX), which llama.cpp ignores. */
static int read_id(const struct making *m, const char *key, uint32_t *id, struct fail *why)
{
    int64_t found = UINT32_MAX;
    if (gguf_get_integer(m->g, key, 0, UINT32_MAX, &found, why)) return -1;
    if (found == UINT32_MAX) found = *id;
    if (found != UINT32_MAX && found >= m->tokens.count)
        return fail_input(why, "%s is %lld, but the vocabulary has %u tokens", key,
                          (long long)found, m->tokens.count);
    *id = (uint32_t)found;
    return 0;
}

/* Refuses a text that must begin or end with a token that no key names. */
static int check_id(uint32_t id, const char *key, const char *adds, struct fail *why)
{
    if (id != UINT32_MAX) return 0;
    return fail_input(why,
                      "%s names no token, but every text gets one (%s); llama.cpp takes token 11: "
                      "name the model's own tokenizer.json (--tokenizer)",
                      key, adds);
}

/* Reads the type of the tokenizer, and sets llama.cpp's defaults for keys that may be missing. */
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
                          "%s '%.*s' is not supported, only gpt2 and llama: name the model's "
                          "own tokenizer.json",
                          GGUF_KEY_TOKENIZER, (int)(model.bytes < 40 ? model.bytes : 40), model.at);
    m->bos = 1, m->eos = 2, m->unknown = 0, m->padding = UINT32_MAX;
    m->adds_bos = m->adds_space = true;
    return 0;
}

/* Looks for the pieces <0x00> to <0xFF>, into which characters without a piece are cut. llama.cpp
 * finds them by their texts, whatever their types are. */
static int count_bytes(struct making *m, struct fail *why)
{
    int count = 0;
    unsigned missing = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        uint32_t id = gguf_token_find(&m->tokens, (struct gguf_text){ text, strlen(text) });
        if (id != UINT32_MAX && m->tokens.at[id].type != GGUF_TOKEN_UNUSED)
            count++;
        else
            missing = byte;
    }
    m->falls_back = count == 256;
    if (!count || m->falls_back) return 0;
    return fail_input(why,
                      "%s has the pieces of %d bytes, but not <0x%02X>, so not every character can "
                      "be written in bytes: name the model's own tokenizer.json or "
                      "tokenizer.model (--tokenizer)",
                      GGUF_KEY_TOKENS, count, missing);
}

static int read_keys(struct making *m, struct fail *why)
{
    struct gguf_text name = { "", 0 };
    if (gguf_check_tokenizer_keys(m->g, why) || gguf_tokens_read(&m->tokens, m->g, why) ||
        read_model(m, why) || read_id(m, GGUF_KEY_BOS, &m->bos, why) ||
        read_id(m, GGUF_KEY_EOS, &m->eos, why) || read_id(m, GGUF_KEY_UNKNOWN, &m->unknown, why) ||
        read_id(m, GGUF_KEY_PADDING, &m->padding, why) ||
        gguf_get_flag(m->g, GGUF_KEY_ADD_BOS, &m->adds_bos, why) ||
        gguf_get_flag(m->g, GGUF_KEY_ADD_EOS, &m->adds_eos, why) ||
        gguf_get_flag(m->g, GGUF_KEY_ADD_SPACE, &m->adds_space, why) ||
        gguf_get_text(m->g, "general.name", &name, why))
        return -1;
    m->strips = gguf_tokens_strip(&m->tokens, name);
    if (m->pre && m->adds_space)
        return fail_input(why, "%s is not supported for gpt2: name the model's own tokenizer.json",
                          GGUF_KEY_ADD_SPACE);
    if (m->adds_bos && check_id(m->bos, GGUF_KEY_BOS, GGUF_KEY_ADD_BOS, why)) return -1;
    if (m->adds_eos && check_id(m->eos, GGUF_KEY_EOS, GGUF_KEY_ADD_EOS, why)) return -1;
    return m->pre ? 0 : count_bytes(m, why);
}

static bool is_added_type(enum gguf_token_type type)
{
    return type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_USER || type == GGUF_TOKEN_UNKNOWN;
}

static bool is_added(const struct gguf_token *t) { return is_added_type(t->found_as); }

static bool takes_right(const struct making *m, const struct gguf_token *t)
{
    return m->strips && gguf_token_strips(t->text);
}

/* Finds where the model's vocabulary ends. In BPE over bytes, added tokens whose ids follow all
 * other ids without a gap are not in it, as in the files of LLaMA 3. */
static void find_end(struct making *m)
{
    uint32_t end = m->tokens.count;
    while (end && is_added_type(m->tokens.at[end - 1].type) && is_added(&m->tokens.at[end - 1]))
        end--;
    for (uint32_t i = 0; i < end; i++)
        if (m->tokens.at[i].type == GGUF_TOKEN_UNUSED) end = m->tokens.count;
    m->vocab = m->pre ? end : m->tokens.count;
}

/* ---- tokenizer.json ---- */

static void put_added(const struct making *m)
{
    bool is_first = true;
    gguf_json_put(m->to, "\"added_tokens\":[");
    for (uint32_t i = 0; i < m->tokens.count; i++) {
        const struct gguf_token *t = &m->tokens.at[i];
        if (!is_added(t)) continue;
        gguf_json_format(m->to, "%s{\"id\":%u,\"content\":", is_first ? "" : ",", i);
        gguf_json_text(m->to, t->text);
        gguf_json_format(
            m->to,
            ",\"single_word\":false,\"lstrip\":false,\"rstrip\":%s,\"normalized\":false,"
            "\"special\":%s}",
            takes_right(m, t) ? "true" : "false",
            t->found_as == GGUF_TOKEN_USER ? "false" : "true");
        is_first = false;
    }
    gguf_json_put(m->to, "],");
}

static void put_special(const struct making *m, uint32_t id, int type)
{
    gguf_json_put(m->to, "{\"SpecialToken\":{\"id\":");
    gguf_json_text(m->to, m->tokens.at[id].text);
    gguf_json_format(m->to, ",\"type_id\":%d}}", type);
}

static void put_sequence(const struct making *m, char name, int type)
{
    if (m->adds_bos) put_special(m, m->bos, type), gguf_json_put(m->to, ",");
    gguf_json_format(m->to, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", name, type);
    if (m->adds_eos) gguf_json_put(m->to, ","), put_special(m, m->eos, type);
}

static void put_special_ids(const struct making *m)
{
    const uint32_t ids[2] = { m->bos, m->eos };
    const bool adds[2] = { m->adds_bos, m->adds_eos && !(m->adds_bos && m->eos == m->bos) };
    gguf_json_put(m->to, "\"special_tokens\":{");
    for (int i = 0; i < 2; i++) {
        if (!adds[i]) continue;
        const struct gguf_text text = m->tokens.at[ids[i]].text;
        if (i && adds[0]) gguf_json_put(m->to, ",");
        gguf_json_text(m->to, text);
        gguf_json_put(m->to, ":{\"id\":");
        gguf_json_text(m->to, text);
        gguf_json_format(m->to, ",\"ids\":[%u],\"tokens\":[", ids[i]);
        gguf_json_text(m->to, text);
        gguf_json_put(m->to, "]}");
    }
    gguf_json_put(m->to, "}");
}

static void put_processor(const struct making *m)
{
    static const char bytes[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                                "\"trim_offsets\":false,\"use_regex\":true}";
    bool has_template = m->adds_bos || m->adds_eos;
    gguf_json_put(m->to, "\"post_processor\":");
    if (has_template && m->pre)
        gguf_json_format(m->to, "{\"type\":\"Sequence\",\"processors\":[%s,", bytes);
    if (has_template) {
        gguf_json_put(m->to, "{\"type\":\"TemplateProcessing\",\"single\":[");
        put_sequence(m, 'A', 0);
        gguf_json_put(m->to, "],\"pair\":[");
        put_sequence(m, 'A', 0);
        gguf_json_put(m->to, ",");
        put_sequence(m, 'B', 1);
        gguf_json_put(m->to, "],");
        put_special_ids(m);
        gguf_json_put(m->to, "}");
    } else {
        gguf_json_put(m->to, m->pre ? bytes : "null");
    }
    gguf_json_put(m->to, has_template && m->pre ? "]}," : ",");
}

/* Writes the normalizer, the pre-tokenizer, the post-processor and the decoder. For SentencePiece
 * they are those of LLaMA 2's tokenizer.json. */
static void put_steps(const struct making *m)
{
    if (m->pre) {
        gguf_json_put(m->to, "\"normalizer\":");
        gguf_json_put(m->to, m->pre->normalizer);
        gguf_json_put(m->to, ",\"pre_tokenizer\":");
        gguf_json_put(m->to, m->pre->pre_tokenizer);
        gguf_json_put(m->to, ",");
        put_processor(m);
        gguf_json_put(
            m->to,
            "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
            "\"use_regex\":true},");
        return;
    }
    gguf_json_format(
        m->to,
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s{\"type\":\"Replace\","
        "\"pattern\":{\"String\":\" \"},\"content\":\"" SPACE_MARK "\"}]},"
        "\"pre_tokenizer\":null,",
        m->adds_space ? "{\"type\":\"Prepend\",\"prepend\":\"" SPACE_MARK "\"}," : "");
    put_processor(m);
    gguf_json_format(
        m->to,
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
        "\"String\":\"" SPACE_MARK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
        "{\"type\":\"Fuse\"}%s]},",
        m->adds_space ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "");
}

static void put_vocab(const struct making *m)
{
    bool is_first = true;
    gguf_json_put(m->to, "\"vocab\":{");
    for (uint32_t i = 0; i < m->vocab; i++) {
        if (m->tokens.at[i].found_as == GGUF_TOKEN_UNUSED) continue;
        if (!is_first) gguf_json_put(m->to, ",");
        gguf_json_text(m->to, m->tokens.at[i].text);
        gguf_json_format(m->to, ":%u", i);
        is_first = false;
    }
    gguf_json_put(m->to, "},");
}

/* Writes the merges. For a SentencePiece model the merges are computed from the scores; for any
 * other model they are the file's merges, which must be texts in UTF-8. */
static int put_merges(const struct making *m, struct fail *why)
{
    const struct gguf_value *merges;
    gguf_json_put(m->to, "\"merges\":");
    if (!m->pre) return gguf_put_score_merges(m->to, &m->tokens, why);
    if (gguf_get_array(m->g, GGUF_KEY_MERGES, GGUF_STRING, &merges, why)) return -1;
    if (!merges) return fail_input(why, "%s is missing", GGUF_KEY_MERGES);
    const char *at = merges->at;
    gguf_json_put(m->to, "[");
    for (uint64_t i = 0; i < merges->count; i++) {
        struct gguf_text text = gguf_next_text(&at);
        for (size_t b = 0, n; b < text.bytes; b += n) {
            n = utf8_valid((const unsigned char *)text.at + b, text.bytes - b);
            if (!n || !text.at[b])
                return fail_input(why, "%s: merge %llu is no text in UTF-8", GGUF_KEY_MERGES,
                                  (unsigned long long)i);
        }
        if (i) gguf_json_put(m->to, ",");
        gguf_json_text(m->to, text);
    }
    gguf_json_put(m->to, "]");
    return 0;
}

static int put_json(const struct making *m, struct fail *why)
{
    bool has_unknown = !m->pre && m->unknown != UINT32_MAX;
    gguf_json_put(m->to, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
    put_added(m);
    put_steps(m);
    gguf_json_put(m->to, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (has_unknown)
        gguf_json_text(m->to, m->tokens.at[m->unknown].text);
    else
        gguf_json_put(m->to, "null");
    gguf_json_format(
        m->to,
        ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,"
        "\"byte_fallback\":%s,\"ignore_merges\":%s,",
        m->pre ? "false" : "true", m->falls_back ? "true" : "false",
        m->pre && m->pre->ignores_merges ? "true" : "false");
    put_vocab(m);
    if (put_merges(m, why)) return -1;
    gguf_json_put(m->to, "}}\n");
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
                                      "lstrip", 0, "normalized", 0, "rstrip", takes_right(m, t),
                                      "single_word", 0, "special", t->found_as != GGUF_TOKEN_USER));
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
    int status = put_json(m, why);
    if (!status && m->to->is_lost) status = fail(why, "out of memory");
    out->json = m->to->at;
    out->bytes = m->to->used;
    return status ? -1 : make_config(m, &out->config, why);
}

int gguf_tokenizer_make(struct gguf_tokenizer *out, const struct gguf *g, struct fail *why)
{
    struct gguf_json to = { 0 };
    struct making m = { .g = g, .to = &to };
    *out = (struct gguf_tokenizer){ 0 };
    int status = make_all(&m, out, why);
    gguf_tokens_release(&m.tokens);
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
