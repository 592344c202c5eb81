/* prefix.c - decides whether the tokenizer puts a space before a text that follows a special token.
 *
 * SentencePiece knows no special tokens in text. Meta's code cuts a text at its special tokens and
 * encodes each part separately, so each part gets a space before it. Transformers 5 does the same
 * only if tokenizer_config.json says `legacy: true`, and not before a part that begins with a space
 * (Metaspace in the library tokenizers). Otherwise only the beginning of the whole text gets a
 * space. Here a tokenizer.model without a tokenizer_config.json is treated as in Meta's code, and a
 * tokenizer.model beside a tokenizer_config.json as in transformers 5. A tokenizer.json specifies
 * in its own steps where spaces are put.
 *
 * This file also computes how long a text is in the tokenizer's normalization form.
 */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/tokenizer/unicode_tables.h"

/* Do the normalizers and pre-tokenizers of a tokenizer.json put a space there? */
static bool steps_put_space(const struct tokenizer *t, bool is_spaced, bool is_after)
{
    for (int i = 0; i < t->normalizers.count; i++)
        if (t->normalizers.at[i].kind == STEP_PREPEND) return true;
    for (int i = 0; i < t->pre_tokenizers.count; i++) {
        const struct tokenizer_step *step = &t->pre_tokenizers.at[i];
        bool puts = step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && !is_after);
        if (step->kind == STEP_METASPACE) return puts && !is_spaced;
    }
    return false;
}

bool tokenizer_puts_space(const struct tokenizer *t, const char *text, size_t bytes, bool is_after)
{
    bool is_spaced = bytes && (*text == ' ' || (bytes >= SPACE_MARK_BYTES &&
                                                !memcmp(text, SPACE_MARK, SPACE_MARK_BYTES)));
    if (t->is_json) return steps_put_space(t, is_spaced, is_after);
    if (!t->adds_prefix || !is_after || t->is_bare) return t->adds_prefix;
    return t->is_legacy && !is_spaced;
}

int tokenizer_normal_bytes(const struct tokenizer *t, const char *text, size_t bytes,
                           size_t *normal, struct fail *why)
{
    bool composes = false;
    char *composed;
    *normal = bytes;
    for (int i = 0; i < t->normalizers.count; i++)
        composes |= t->normalizers.at[i].kind == STEP_COMPOSE;
    if (!composes || unicode_is_composed(text, bytes)) return 0;
    if (unicode_compose(text, bytes, &composed, normal)) return fail(why, "out of memory");
    free(composed);
    return 0;
}
