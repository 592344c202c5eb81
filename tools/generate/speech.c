#include "tools/generate/speech.h"

#include "lib/common/buffer.h"
#include "lib/common/utf8.h"

void speech_begin(struct speech *s, uint32_t before)
{
    s->count = 0;
    s->before = before;
    s->has_begun = false;
}

void speech_release(struct speech *s)
{
    free(s->held);
    s->held = NULL;
    s->count = s->capacity = 0;
}

static int hold(struct speech *s, const char *text, size_t bytes, struct fail *why)
{
    if (buffer_reserve(&s->held, &s->capacity, s->count, bytes, why)) return -1;
    if (bytes) memcpy(s->held + s->count, text, bytes);
    s->count += bytes;
    return 0;
}

/* Writes the first `bytes` of the bytes that were held back. Those that belong to no character are
 * written as U+FFFD. */
static int emit(struct speech *s, size_t bytes, struct fail *why)
{
    size_t at = 0, from = 0;
    if (!bytes) return 0;
    if (s->strips && !s->has_begun)
        while (at < bytes && strchr(" \t\r\n", s->held[at]))
            from = ++at;
    if (at < bytes) s->has_begun = true;
    while (at < bytes) {
        size_t n = utf8_valid((const unsigned char *)s->held + at, bytes - at);
        if (n) {
            at += n;
            continue;
        }
        if (at > from && s->emit(s->arg, s->held + from, at - from, why)) return -1;
        if (s->emit(s->arg, "\xef\xbf\xbd", 3, why)) return -1;
        at += tokenizer_invalid(s->tokenizer, s->held + at, bytes - at);
        from = at;
    }
    if (at > from && s->emit(s->arg, s->held + from, at - from, why)) return -1;
    memmove(s->held, s->held + bytes, s->count - bytes);
    s->count -= bytes;
    return 0;
}

/* Returns the offset of the first stop text, or s->count if there is none. */
static size_t find_stop(const struct speech *s)
{
    size_t first = s->count;
    for (int i = 0; s->stops && i < s->stops->count; i++) {
        const char *stop = s->stops->at[i];
        const char *found = memmem(s->held, s->count, stop, strlen(stop));
        if (found && (size_t)(found - s->held) < first) first = (size_t)(found - s->held);
    }
    return first;
}

/* Returns the length of the longest suffix of the held text that is a prefix of a stop text. */
static size_t begun_stop(const struct speech *s)
{
    size_t longest = 0;
    for (int i = 0; s->stops && i < s->stops->count; i++) {
        size_t n = strlen(s->stops->at[i]);
        n = n < s->count ? n : s->count;
        while (n > longest && memcmp(s->held + s->count - n, s->stops->at[i], n) != 0)
            n--;
        longest = n > longest ? n : longest;
    }
    return longest;
}

/* Returns how many bytes at the end belong to a character that is not complete yet. */
static size_t begun_character(const struct speech *s)
{
    for (size_t n = 1; n <= 3 && n <= s->count; n++) {
        unsigned char c = (unsigned char)s->held[s->count - n];
        if (c >= 0xc0) return utf8_length(c) > n ? n : 0;
        if (c < 0x80) return 0;
    }
    return 0;
}

int speech_token(struct speech *s, uint32_t id, struct fail *why)
{
    uint32_t pair[2] = { s->before, id };
    size_t known, bytes;
    char *old = tokenizer_decode(s->tokenizer, pair, 1, &known, why);
    char *text = old ? tokenizer_decode(s->tokenizer, pair, 2, &bytes, why) : NULL;
    int status = text ? hold(s, text + known, bytes - known, why) : -1;
    free(old);
    free(text);
    if (status) return -1;
    s->before = id;
    size_t stop = find_stop(s);
    if (stop < s->count) {
        if (emit(s, stop, why)) return -1;
        s->count = 0;
        return 1;
    }
    size_t stays = begun_stop(s), partial = begun_character(s);
    return emit(s, s->count - (stays > partial ? stays : partial), why);
}

int speech_end(struct speech *s, struct fail *why)
{
    s->count -= begun_character(s);
    return emit(s, s->count, why);
}
