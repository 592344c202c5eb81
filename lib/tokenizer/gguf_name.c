/* gguf_name.c - what the name of a model means for its tokens in llama.cpp.
 *
 * A GGUF file does not say whether an added token takes the white space that follows it (rstrip).
 * If general.name contains "phi-3" or "phi3", in letters of any case, llama.cpp assumes this for
 * all added tokens but three, as in the tokenizer of Phi-3. Then it fails to load a file that lacks
 * any of the four tokens that it looks up (llama-vocab.cpp). So a name must not contain these words
 * by chance.
 */
#include "lib/tokenizer/gguf_internal.h"

#include "lib/tokenizer/gguf_export.h"
#include "lib/tokenizer/tokenizer_internal.h"

#include <ctype.h>

/* Returns the length of "phi-3" or "phi3" if text[bytes] begins with it; otherwise 0. */
static size_t marker(const char *text, size_t bytes)
{
    static const char *const markers[] = { "phi-3", "phi3" };
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(markers[i]), same = 0;
        while (same < length && same < bytes &&
               tolower((unsigned char)text[same]) == markers[i][same])
            same++;
        if (same == length) return length;
    }
    return 0;
}

bool gguf_name_strips(struct gguf_text name)
{
    for (size_t i = 0; i < name.bytes; i++)
        if (marker(name.at + i, name.bytes - i)) return true;
    return false;
}

/* The tokens that llama.cpp looks up. All but the first take no white space. */
static const char *const looked_up[] = { "</s>", "<unk>", "<s>", "<|endoftext|>" };
enum { LOOKED_UP = sizeof looked_up / sizeof *looked_up };

bool gguf_tokens_strip(const struct gguf_tokens *tokens, struct gguf_text name)
{
    for (int i = 0; i < LOOKED_UP; i++) {
        const struct gguf_text text = { looked_up[i], strlen(looked_up[i]) };
        if (gguf_token_find(tokens, text) == UINT32_MAX) return false;
    }
    return gguf_name_strips(name);
}

bool gguf_token_strips(struct gguf_text token)
{
    for (int i = 1; i < LOOKED_UP; i++)
        if (gguf_text_is(token, looked_up[i])) return false;
    return true;
}

bool gguf_export_strips(const struct tokenizer *t)
{
    bool any = false;
    for (int i = 0; i < LOOKED_UP; i++)
        if (tokenizer_special(t, looked_up[i]) == UINT32_MAX) return false;
    for (size_t i = 0; i < t->added.count; i++) {
        const struct added_token *a = &t->added.at[i];
        struct gguf_text text = { a->content, strlen(a->content) };
        if (a->rstrip != gguf_token_strips(text)) return false;
        any = any || a->rstrip;
    }
    return any;
}

void gguf_export_name(const char *name, bool strips, char *to, size_t size)
{
    struct gguf_text text = { name, strlen(name) };
    if (strips) {
        snprintf(to, size, gguf_name_strips(text) ? "%s" : "%s (phi-3)", name);
        return;
    }
    size_t used = 0;
    for (size_t i = 0; i < text.bytes && used + 2 < size; i++) {
        size_t length = marker(name + i, text.bytes - i);
        if (length && used + 6 < size) {
            used += (size_t)snprintf(to + used, size - used, "%.3s 3", name + i);
            i += length - 1;
        } else {
            to[used++] = name[i];
        }
    }
    to[used] = 0;
}
