#include "lib/tokenizer/gguf_ends.h"

/* The indices of names that the code refers to. The names before TURN_NAMES end a turn. */
enum { END = 2, TURN_NAMES = 8, CALL, CALLS, RETURN, FLUSH, TOOL_RESPONSE, SLASH_S };

static const char *const names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    [END] = "<|end|>",
    "<end_of_turn>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<end_of_utterance>",
    [TURN_NAMES] = "<turn|>",
    [CALL] = "<|call|>",
    [CALLS] = "<|calls|>",
    [RETURN] = "<|return|>",
    [FLUSH] = "<|flush|>",
    [TOOL_RESPONSE] = "<|tool_response>",
    [SLASH_S] = "</s>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "[e~[",
};
_Static_assert(sizeof names / sizeof *names == GGUF_END_NAMES, "gguf_ends.h has their number");

void gguf_ends_init(struct gguf_ends *n)
{
    for (int i = 0; i < GGUF_END_NAMES; i++)
        n->ids[i] = UINT32_MAX;
}

void gguf_ends_look(struct gguf_ends *n, uint32_t id, enum gguf_token_type type,
                    struct gguf_text text)
{
    if (type != GGUF_TOKEN_CONTROL && type != GGUF_TOKEN_USER) return;
    for (int i = 0; i < GGUF_END_NAMES; i++)
        if (gguf_text_is(text, names[i])) n->ids[i] = id;
}

static bool has(const struct gguf_ends *n, int name) { return n->ids[name] != UINT32_MAX; }

bool gguf_ends_never(const struct gguf_ends *n, uint32_t id)
{
    bool calls = has(n, CALL) || has(n, CALLS);
    if (id == UINT32_MAX) return false;
    return (id == n->ids[END] && calls && (has(n, RETURN) || has(n, FLUSH))) ||
           (id == n->ids[SLASH_S] && has(n, TOOL_RESPONSE));
}

static bool has_name(const struct gguf_ends *n, uint32_t id, int count)
{
    for (int i = 0; i < count; i++)
        if (id != UINT32_MAX && n->ids[i] == id) return !gguf_ends_never(n, id);
    return false;
}

bool gguf_ends_by_name(const struct gguf_ends *n, uint32_t id)
{
    return has_name(n, id, GGUF_END_NAMES);
}

bool gguf_ends_turn(const struct gguf_ends *n, uint32_t id) { return has_name(n, id, TURN_NAMES); }

static bool is_array(const struct gguf_value *v) { return v && v->type == GGUF_ARRAY; }

static void look_at_tokens(struct gguf_ends *n, const struct gguf *g)
{
    const struct gguf_value *tokens = gguf_find(g, GGUF_KEY_TOKENS);
    const struct gguf_value *types = gguf_find(g, GGUF_KEY_TOKEN_TYPES);
    gguf_ends_init(n);
    if (!is_array(tokens) || tokens->item != GGUF_STRING || !is_array(types) ||
        types->item == GGUF_STRING || types->item == GGUF_ARRAY || types->count != tokens->count)
        return;
    const char *at = tokens->at;
    for (uint64_t i = 0; i < tokens->count && i < UINT32_MAX; i++)
        gguf_ends_look(n, (uint32_t)i, (enum gguf_token_type)gguf_integer_at(types, i),
                       gguf_next_text(&at));
}

/* Returns the EOS that llama.cpp assumes if no key has it: 2 for SentencePiece. */
static int64_t default_eos(const struct gguf *g, struct fail *why)
{
    struct gguf_text model = { "", 0 };
    const struct gguf_value *tokens = gguf_find(g, GGUF_KEY_TOKENS);
    if (gguf_get_text(g, GGUF_KEY_TOKENIZER, &model, why)) return -1;
    return gguf_text_is(model, "llama") && tokens && tokens->count > 2 ? 2 : UINT32_MAX;
}

int gguf_ends_read(struct end_tokens *e, const struct gguf *g, struct fail *why)
{
    static const char *const keys[] = { GGUF_KEY_EOS, GGUF_KEY_EOT, GGUF_KEY_EOM };
    struct gguf_ends n;
    e->count = 0;
    look_at_tokens(&n, g);
    for (int i = 0; i < 3; i++) {
        int64_t id = UINT32_MAX; /* no id, also in files; llama.cpp then keeps its default */
        if (gguf_get_integer(g, keys[i], 0, UINT32_MAX, &id, why)) return -1;
        if (!i && id == UINT32_MAX) id = default_eos(g, why);
        if (id < 0) return -1;
        if (id != UINT32_MAX && !gguf_ends_never(&n, (uint32_t)id)) end_tokens_add(e, (uint32_t)id);
    }
    for (int i = 0; i < GGUF_END_NAMES; i++)
        if (gguf_ends_by_name(&n, n.ids[i])) end_tokens_add(e, n.ids[i]);
    return 0;
}
