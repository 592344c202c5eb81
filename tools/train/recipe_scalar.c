#include "tools/train/recipe_scalar.h"

#include "lib/cli/opt.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 128 }; /* the most bytes of a number, including its NUL */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Returns the first character that is neither a digit of the set nor an underscore. */
static const char *after_digits(const char *s, const char *set)
{
    while (*s && (*s == '_' || strchr(set, *s)))
        s++;
    return s;
}

/* Skips sexagesimal parts such as ":30:00", each below 60. Returns NULL if there are none. */
static const char *after_sixties(const char *s)
{
    if (*s != ':') return NULL;
    while (*s == ':') {
        if (is_digit(s[1]) && is_digit(s[2]) && s[1] <= '5')
            s += 3;
        else if (is_digit(s[1]))
            s += 2;
        else
            return NULL;
    }
    return s;
}

static bool is_sixties(const char *s)
{
    if (!is_digit(*s)) return false;
    bool is_integer = *s != '0';
    s = after_sixties(after_digits(s, "0123456789"));
    if (!s) return false;
    if (*s == '.') return !*after_digits(s + 1, "0123456789");
    return !*s && is_integer;
}

/* Reads a number without a sign in base 16 or 2, such as 0x1f or 0b101. Returns false if it is not
 * such a number, or if it exceeds int64_t. */
static bool read_based(const char *s, bool is_negative, struct scalar *to)
{
    static const char hexadecimal[] = "0123456789abcdefABCDEF";
    char digits[NUMBER_MAX];
    size_t used = 0;
    bool is_binary = s[1] == 'b';
    if (s[0] != '0' || (s[1] != 'x' && !is_binary)) return false;
    if (*after_digits(s + 2, is_binary ? "01" : hexadecimal)) return false;
    for (const char *c = s + 2; *c && used + 1 < sizeof digits; c++)
        if (*c != '_') digits[used++] = *c;
    digits[used] = 0;
    errno = 0;
    long long n = strtoll(digits, NULL, is_binary ? 2 : 16);
    if (!used || errno) return false;
    to->kind = SCALAR_INTEGER;
    to->integer = is_negative ? -n : n;
    to->real = (double)to->integer;
    return true;
}

/* True for digits with an optional point and an optional exponent. The point needs a digit on one
 * side. *is_integer becomes true if there are only digits. */
static bool is_decimal(const char *s, bool *is_integer)
{
    static const char decimal[] = "0123456789";
    bool has_whole = is_digit(*s);
    *is_integer = has_whole;
    if (has_whole) s = after_digits(s, decimal);
    if (*s == '.') {
        *is_integer = false;
        if (!has_whole && !is_digit(s[1])) return false;
        s = after_digits(s + 1, decimal);
    } else if (!has_whole) {
        return false;
    }
    if (*s == 'e' || *s == 'E') {
        *is_integer = false;
        s += 1 + (s[1] == '+' || s[1] == '-');
        if (!is_digit(*s)) return false;
        while (is_digit(*s))
            s++;
    }
    return !*s;
}

/* Reads a decimal number. `text` includes its sign. */
static struct scalar read_decimal(const char *text, bool is_integer)
{
    struct scalar result = { .kind = SCALAR_TEXT };
    char plain[NUMBER_MAX];
    size_t used = 0;
    if (strlen(text) >= sizeof plain) return result;
    for (const char *c = text; *c; c++)
        if (*c != '_') plain[used++] = *c;
    plain[used] = 0;
    result.real = strtod(plain, NULL);
    result.kind = isfinite(result.real) ? SCALAR_REAL : SCALAR_INFINITE;
    errno = 0;
    result.integer = is_integer ? strtoll(plain, NULL, 10) : 0;
    if (is_integer && !errno) result.kind = SCALAR_INTEGER;
    return result;
}

struct scalar scalar_read(const char *text)
{
    struct scalar result = { .kind = SCALAR_TEXT };
    bool is_signed = *text == '+' || *text == '-', is_integer;
    const char *s = text + is_signed;
    if (!*text || opt_word_in("~|null|Null|NULL", text))
        result.kind = SCALAR_NULL;
    else if (opt_word_in("true|True|TRUE|yes|Yes|YES|on|On|ON", text))
        result.kind = SCALAR_TRUE;
    else if (opt_word_in("false|False|FALSE|no|No|NO|off|Off|OFF", text))
        result.kind = SCALAR_FALSE;
    else if (opt_word_in(".inf|.Inf|.INF", s) || opt_word_in(".nan|.NaN|.NAN", text))
        result.kind = SCALAR_INFINITE;
    else if (is_sixties(s))
        result.kind = SCALAR_SIXTIES;
    else if (s[0] == '0' && s[1] == 'o' && s[2] && !*after_digits(s + 2, "01234567"))
        result.kind = SCALAR_LEADING_ZERO;
    else if (read_based(s, *text == '-', &result) || !is_decimal(s, &is_integer))
        return result;
    else if (is_integer && s[0] == '0' && s[1])
        result.kind = SCALAR_LEADING_ZERO;
    else
        return read_decimal(text, is_integer);
    return result;
}
