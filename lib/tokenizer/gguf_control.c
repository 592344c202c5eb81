/* gguf_control.c - which tokens of a GGUF llama.cpp cuts out of a text, and when.
 *
 * This is mostly what the types say. But llama.cpp makes tokens with certain names control tokens,
 * whatever their types are: those of end tokens (gguf_ends.c), and those for code that is completed
 * in the middle, unless a key names a token for the same purpose. If several tokens have names of
 * one purpose, llama.cpp takes that which its hash table has first.
 *
 * Source: "auto-detect special tokens by text" in llama-vocab.cpp of llama.cpp (build b10488).
 */
#include "lib/tokenizer/gguf_internal.h"

#include "lib/tokenizer/gguf_ends.h"

/* A purpose for which llama.cpp looks for a token. */
struct purpose {
    const char *keys[2];
    const char *names[9];
};

static const struct purpose purposes[] = {
    { { "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id" },
      { "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<PRE>",
        "\u2581<PRE>", "<|code_prefix|>", "<|prefix|>" } },
    { { "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id" },
      { "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uff5cfim\u2581hole\uff5c>", "<SUF>",
        "\u2581<SUF>", "<|code_suffix|>", "<|suffix|>" } },
    { { "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id" },
      { "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>", "<MID>",
        "\u2581<MID>", "<|code_middle|>", "<|middle|>" } },
    { { "tokenizer.ggml.fim_pad_token_id" },
      { "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]" } },
    { { "tokenizer.ggml.fim_rep_token_id" },
      { "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>" } },
    { { "tokenizer.ggml.fim_sep_token_id" }, { "<|file_sep|>" } },
};

/* Tokens of gpt-oss, which llama.cpp makes user-defined. */
static const char *const shown[] = { "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>" };

static uint32_t find(const struct gguf_tokens *tokens, const char *name)
{
    return gguf_token_find(tokens, (struct gguf_text){ name, strlen(name) });
}

static void set_ends(struct gguf_tokens *tokens)
{
    struct gguf_ends ends;
    gguf_ends_init(&ends);
    for (uint32_t i = 0; i < tokens->count; i++)
        gguf_ends_look(&ends, i, GGUF_TOKEN_CONTROL, tokens->at[i].text);
    for (int i = 0; i < GGUF_END_NAMES; i++) {
        if (ends.ids[i] == UINT32_MAX) continue;
        struct gguf_token *t = &tokens->at[ends.ids[i]];
        t->found_as = !gguf_ends_never(&ends, ends.ids[i]) ? GGUF_TOKEN_CONTROL
                      : gguf_text_is(t->text, "</s>")      ? GGUF_TOKEN_NORMAL
                                                           : GGUF_TOKEN_USER;
    }
}

/* Does a key of the file name a token for this purpose? */
static int has_key(const struct purpose *p, const struct gguf *g, uint32_t count, bool *has,
                   struct fail *why)
{
    *has = false;
    for (int i = 0; i < 2 && p->keys[i]; i++) {
        int64_t id = UINT32_MAX;
        if (gguf_get_integer(g, p->keys[i], 0, UINT32_MAX, &id, why)) return -1;
        *has = *has || id < count;
    }
    return 0;
}

static int set_purpose(const struct purpose *p, struct gguf_tokens *tokens, const struct gguf *g,
                       struct fail *why)
{
    uint32_t first = UINT32_MAX, other = UINT32_MAX;
    bool has, all_control = true;
    if (has_key(p, g, tokens->count, &has, why)) return -1;
    if (has) return 0;
    for (int i = 0; p->names[i]; i++) {
        uint32_t id = find(tokens, p->names[i]);
        if (id == UINT32_MAX) continue;
        all_control = all_control && tokens->at[id].type == GGUF_TOKEN_CONTROL;
        if (first == UINT32_MAX)
            first = id;
        else
            other = id;
    }
    if (first == UINT32_MAX || all_control) return 0;
    if (other != UINT32_MAX)
        return fail_input(why,
                          "%s: tokens %u and %u are not both control tokens; llama.cpp makes one "
                          "of them such a token, but which one depends on the order of a hash "
                          "table: name the model's own tokenizer.json (--tokenizer)",
                          GGUF_KEY_TOKEN_TYPES, first, other);
    tokens->at[first].found_as = GGUF_TOKEN_CONTROL;
    return 0;
}

int gguf_tokens_find_control(struct gguf_tokens *tokens, const struct gguf *g, struct fail *why)
{
    set_ends(tokens);
    for (size_t i = 0; i < sizeof purposes / sizeof *purposes; i++)
        if (set_purpose(&purposes[i], tokens, g, why)) return -1;
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        uint32_t id = find(tokens, shown[i]);
        if (id != UINT32_MAX) tokens->at[id].found_as = GGUF_TOKEN_USER;
    }
    return 0;
}
