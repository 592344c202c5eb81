/* The space that a SentencePiece model puts before a text, behind a special token.
 *
 * SentencePiece knows no special tokens in text: whoever cuts a text at them encodes each part for
 * itself, with a space before it (Meta's code does). Transformers 5 does so only where
 * tokenizer_config.json says `legacy: true`, and not before a part that begins with a space
 * (tokenizers' Metaspace); else a space stands at the beginning alone. */
#include "tokenizer_model.h"

#include "json.h"

#include <unistd.h>

bool tokenizer_puts_space(const struct tokenizer *t, const char *text, size_t bytes, bool is_after)
{
    bool is_spaced = bytes && (*text == ' ' || (bytes >= SPACE_MARK_BYTES &&
                                                !memcmp(text, SPACE_MARK, SPACE_MARK_BYTES)));
    if (!t->adds_prefix || (is_after && t->prefix_after == PREFIX_NONE)) return false;
    return !(is_after && t->prefix_after == PREFIX_UNSPACED && is_spaced);
}

int tokenizer_read_prefix(struct tokenizer *t, const char *path, struct fail *why)
{
    char beside[4096];
    const char *slash = strrchr(path, '/');
    bool is_legacy = false;
    snprintf(beside, sizeof beside, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path,
             "tokenizer_config.json");
    if (access(beside, F_OK)) return 0;
    json_t *config = json_read_file(beside, why);
    if (!config) return -1;
    const json_t *legacy = json_object_get(config, "legacy");
    int status = json_is_null(legacy) ? 0 : json_get_flag(config, "legacy", &is_legacy, why);
    json_decref(config);
    t->prefix_after = is_legacy ? PREFIX_UNSPACED : PREFIX_NONE;
    return status ? fail_in(why, beside) : 0;
}
