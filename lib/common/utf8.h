/* utf8.h - the length, validity, decoding and encoding of UTF-8 characters (RFC 3629). */
#ifndef LONGQLORA_UTF8_H
#define LONGQLORA_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What to do about a text that is not UTF-8. */
#define UTF8_ADVICE "another encoding? iconv -f WINDOWS-1252 -t UTF-8"

/* How many bytes the character has that begins with this byte; 1 if no character can begin with
 * it. */
static inline size_t utf8_length(unsigned char first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* How many bytes the valid character at the start of s[n] has; 0 if there is none. Surrogates and
 * overlong forms are not valid. */
static inline size_t utf8_valid(const unsigned char *s, size_t n)
{
    if (!n) return 0;
    if (s[0] < 0x80) return 1;
    size_t length = utf8_length(s[0]);
    if (length == 1 || length > n || s[0] > 0xf4) return 0;
    uint32_t c = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    static const uint32_t min[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (c < min[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    return length;
}

/* How many bytes of the text come before the first that is not valid; `bytes` if all are valid. */
static inline size_t utf8_valid_prefix(const char *text, size_t bytes)
{
    size_t at = 0;
    for (size_t n; at < bytes; at += n) {
        n = utf8_valid((const unsigned char *)text + at, bytes - at);
        if (!n) break;
    }
    return at;
}

/* How many of the bytes s[n], which do not begin with a valid character, become one U+FFFD in
 * Python and on the web: as many as begin a valid character, or one (Unicode, 3.9, "maximal
 * subparts"). */
static inline size_t utf8_invalid(const unsigned char *s, size_t n)
{
    if (!n || s[0] < 0xc2 || s[0] > 0xf4) return 1;
    /* what the second byte may be: no overlong forms, surrogates or numbers above U+10FFFF */
    unsigned char min = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char max = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    size_t at = 1, length = utf8_length(s[0]);
    for (; at < length && at < n && s[at] >= min && s[at] <= max; at++) {
        min = 0x80;
        max = 0xbf;
    }
    return at;
}

/* Replaces each byte that is not part of valid UTF-8 by '?', because a file name may have such
 * bytes and JSON may not. */
static inline void utf8_mend(char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    for (size_t at = 0, n; at < length; at += n ? n : 1) {
        n = utf8_valid((const unsigned char *)text + at, length - at);
        if (!n) text[at] = '?';
    }
}

/* Returns the character at the start of valid UTF-8; *bytes is its length. */
static inline uint32_t utf8_decode(const char *text, size_t *bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    *bytes = utf8_length(s[0]);
    if (*bytes == 1) return s[0];
    uint32_t c = s[0] & (0x7fu >> *bytes);
    for (size_t i = 1; i < *bytes; i++)
        c = c << 6 | (s[i] & 0x3fu);
    return c;
}

/* Writes a character, at most 4 bytes, and returns its length. */
static inline size_t utf8_encode(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)((0xf00u >> length) | c);
    return length;
}

#endif
