/* oniguruma_class.c - character classes as Oniguruma defines them. */
#include "lib/tokenizer/oniguruma.h"

#include "lib/common/buffer.h"
#include "lib/common/utf8.h"
#include "lib/tokenizer/unicode_tables.h"

#include <stdlib.h>
#include <string.h>

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside of brackets Oniguruma's \w uses an ISO 8859-1 table for characters below 256. */
#define WORD_OUTSIDE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEXADECIMAL "0-9A-Fa-f"
#define GRAPH "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}"

/* When names are compared, case, spaces, '-' and '_' are ignored. */
static const struct {
    const char *name, *inside;
    bool is_posix; /* the name belongs to a POSIX class, [:name:]; \p{name} may be another class */
} properties[] = {
    { "alnum", "\\p{Alphabetic}\\p{Nd}", true },
    { "alpha", "\\p{Alphabetic}", true },
    { "ascii", "\\x{0}-\\x{7f}", true },
    { "blank", "\\t\\p{Zs}", true },
    { "cntrl", "\\p{Cc}", true },
    { "digit", "\\p{Nd}", true },
    { "graph", GRAPH, true },
    { "lower", "\\p{Lowercase}", true },
    { "print", GRAPH "\\p{Zs}", true },
    { "punct", "\\p{P}\\p{S}", true },
    { "space", ONIGURUMA_SPACES, true },
    { "upper", "\\p{Uppercase}", true },
    { "xdigit", HEXADECIMAL, true },
    { "word", WORD, true },
    { "punct", "\\p{P}", false },
    { "space", ONIGURUMA_SPACES, false },
    { "alphabetic", "\\p{Alphabetic}", false },
    { "lowercase", "\\p{Lowercase}", false },
    { "uppercase", "\\p{Uppercase}", false },
    { "whitespace", ONIGURUMA_SPACES, false },
    { "l", "\\p{L}", false },
    { "letter", "\\p{L}", false },
    { "lc", "\\p{L&}", false },
    { "casedletter", "\\p{L&}", false },
    { "lu", "\\p{Lu}", false },
    { "uppercaseletter", "\\p{Lu}", false },
    { "ll", "\\p{Ll}", false },
    { "lowercaseletter", "\\p{Ll}", false },
    { "lt", "\\p{Lt}", false },
    { "titlecaseletter", "\\p{Lt}", false },
    { "lm", "\\p{Lm}", false },
    { "modifierletter", "\\p{Lm}", false },
    { "lo", "\\p{Lo}", false },
    { "otherletter", "\\p{Lo}", false },
    { "m", "\\p{M}", false },
    { "mark", "\\p{M}", false },
    { "mn", "\\p{Mn}", false },
    { "nonspacingmark", "\\p{Mn}", false },
    { "mc", "\\p{Mc}", false },
    { "spacingmark", "\\p{Mc}", false },
    { "me", "\\p{Me}", false },
    { "enclosingmark", "\\p{Me}", false },
    { "n", "\\p{N}", false },
    { "number", "\\p{N}", false },
    { "nd", "\\p{Nd}", false },
    { "decimalnumber", "\\p{Nd}", false },
    { "nl", "\\p{Nl}", false },
    { "letternumber", "\\p{Nl}", false },
    { "no", "\\p{No}", false },
    { "othernumber", "\\p{No}", false },
    { "p", "\\p{P}", false },
    { "punctuation", "\\p{P}", false },
    { "pc", "\\p{Pc}", false },
    { "connectorpunctuation", "\\p{Pc}", false },
    { "pd", "\\p{Pd}", false },
    { "dashpunctuation", "\\p{Pd}", false },
    { "ps", "\\p{Ps}", false },
    { "openpunctuation", "\\p{Ps}", false },
    { "pe", "\\p{Pe}", false },
    { "closepunctuation", "\\p{Pe}", false },
    { "pi", "\\p{Pi}", false },
    { "initialpunctuation", "\\p{Pi}", false },
    { "pf", "\\p{Pf}", false },
    { "finalpunctuation", "\\p{Pf}", false },
    { "po", "\\p{Po}", false },
    { "otherpunctuation", "\\p{Po}", false },
    { "s", "\\p{S}", false },
    { "symbol", "\\p{S}", false },
    { "sm", "\\p{Sm}", false },
    { "mathsymbol", "\\p{Sm}", false },
    { "sc", "\\p{Sc}", false },
    { "currencysymbol", "\\p{Sc}", false },
    { "sk", "\\p{Sk}", false },
    { "modifiersymbol", "\\p{Sk}", false },
    { "so", "\\p{So}", false },
    { "othersymbol", "\\p{So}", false },
    { "z", "\\p{Z}", false },
    { "separator", "\\p{Z}", false },
    { "zs", "\\p{Zs}", false },
    { "spaceseparator", "\\p{Zs}", false },
    { "zl", "\\p{Zl}", false },
    { "lineseparator", "\\p{Zl}", false },
    { "zp", "\\p{Zp}", false },
    { "paragraphseparator", "\\p{Zp}", false },
    { "c", "\\p{C}", false },
    { "other", "\\p{C}", false },
    { "cc", "\\p{Cc}", false },
    { "control", "\\p{Cc}", false },
    { "cf", "\\p{Cf}", false },
    { "format", "\\p{Cf}", false },
    { "cn", "\\p{Cn}", false },
    { "unassigned", "\\p{Cn}", false },
    { "co", "\\p{Co}", false },
    { "privateuse", "\\p{Co}", false },
    { "han", "\\p{sc:Han}", false },
    { "hiragana", "\\p{sc:Hiragana}", false },
    { "katakana", "\\p{sc:Katakana}", false },
    { "hangul", "\\p{sc:Hangul}", false },
};
enum { PROPERTIES = sizeof properties / sizeof *properties };

void oniguruma_put(struct oniguruma_text *t, const char *text, size_t bytes)
{
    struct fail unused; /* t->is_lost reports the failure instead */
    t->is_lost |= buffer_reserve(&t->at, &t->capacity, t->used, bytes + 1, &unused) != 0;
    if (t->is_lost) return;
    memcpy(t->at + t->used, text, bytes);
    t->used += bytes;
    t->at[t->used] = 0;
}

static void put(struct oniguruma_text *t, const char *text)
{
    oniguruma_put(t, text, strlen(text));
}

void oniguruma_put_character(struct oniguruma_text *t, uint32_t c)
{
    char text[5] = "\\";
    bool is_letter = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    bool is_mark = c > ' ' && c < 0x7f && !is_letter;
    oniguruma_put(t, text, is_mark);
    oniguruma_put(t, text, utf8_encode(c, text));
}

/* ---- escapes ---- */

static int find_property(struct oniguruma_scan *s, const char *name, size_t bytes, bool is_posix,
                         const char **inside)
{
    char plain[40], shown[64];
    size_t n = 0;
    for (size_t i = 0; i < bytes && n < sizeof plain - 1; i++)
        if (!strchr(" -_", name[i]))
            plain[n++] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    plain[n] = 0;
    for (int i = 0; i < PROPERTIES; i++)
        if (!strcmp(properties[i].name, plain) && properties[i].is_posix == is_posix) {
            *inside = properties[i].inside;
            s->uses_tables = true;
            return 0;
        }
    snprintf(shown, sizeof shown, is_posix ? "[:%.*s:]" : "\\p{%.*s}",
             (int)(bytes < 40 ? bytes : 40), name);
    return oniguruma_refuse(s, shown);
}

static int read_property(struct oniguruma_scan *s, struct oniguruma_set *set)
{
    const char *name = s->at + 2, *end;
    bool is_negated = s->at[1] == 'P';
    if (*name++ != '{') return oniguruma_refuse(s, "\\p without braces");
    if (*name == '^') {
        name++;
        is_negated = !is_negated;
    }
    end = strchr(name, '}');
    if (!end) return oniguruma_refuse(s, "\\p without braces");
    if (find_property(s, name, (size_t)(end - name), false, &set->inside)) return -1;
    set->is_negated = is_negated;
    s->at = end + 1;
    return 1;
}

int oniguruma_read_set(struct oniguruma_scan *s, bool in_brackets, struct oniguruma_set *set)
{
    char letter = *s->at == '\\' ? s->at[1] : 0;
    switch (letter | 0x20) {
    case 'w':
        set->inside = in_brackets ? WORD : WORD_OUTSIDE;
        s->uses_tables = true;
        break;
    case 'd':
        set->inside = "\\p{Nd}";
        s->uses_tables = true;
        break;
    case 's':
        set->inside = ONIGURUMA_SPACES;
        break;
    case 'h':
        set->inside = HEXADECIMAL;
        break;
    case 'p':
        if (s->ignores_case) return oniguruma_refuse(s, "\\p under (?i)");
        return read_property(s, set);
    default:
        return 0;
    }
    if (s->ignores_case && (letter | 0x20) == 'w') return oniguruma_refuse(s, "\\w under (?i)");
    set->is_negated = letter < 'a';
    s->at += 2;
    return 1;
}

/* Reads the class [:name:] at s->at. The return value is that of oniguruma_read_set. */
static int read_posix(struct oniguruma_scan *s, struct oniguruma_set *set)
{
    const char *name = s->at + 2, *end;
    if (s->at[0] != '[' || s->at[1] != ':') return 0;
    set->is_negated = *name == '^';
    name += set->is_negated;
    end = name + strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (end == name || end[0] != ':' || end[1] != ']') return oniguruma_refuse(s, "[: in brackets");
    if (s->ignores_case) return oniguruma_refuse(s, "[: under (?i)");
    if (find_property(s, name, (size_t)(end - name), true, &set->inside)) return -1;
    s->at = end + 2;
    return 1;
}

static int read_hexadecimal(struct oniguruma_scan *s, const char *digits, size_t min, size_t max,
                            uint32_t *c)
{
    size_t n = strspn(digits, "0123456789abcdefABCDEF");
    char text[9] = "";
    if (n < min) return oniguruma_refuse(s, "\\x or \\u without its digits");
    if (n > max) n = max;
    memcpy(text, digits, n);
    *c = (uint32_t)strtoul(text, NULL, 16);
    if (*c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000))
        return oniguruma_refuse(s, "a number that is no character");
    s->at = digits + n;
    return 0;
}

static int read_escaped(struct oniguruma_scan *s, uint32_t *c)
{
    static const char letters[] = "tnrfvae", values[] = "\t\n\r\f\v\a\x1b";
    const char *at = s->at + 1;
    const char *letter = *at ? strchr(letters, *at) : NULL;
    if (letter) {
        *c = (unsigned char)values[letter - letters];
        s->at += 2;
        return 0;
    }
    if (at[0] == 'x' && at[1] == '{') {
        if (read_hexadecimal(s, at + 2, 1, 8, c)) return -1;
        if (*s->at != '}') return oniguruma_refuse(s, "\\x{ without }");
        s->at++;
        return 0;
    }
    if (at[0] == 'x') {
        if (read_hexadecimal(s, at + 1, 1, 2, c)) return -1;
        return *c < 0x80 ? 0 : oniguruma_refuse(s, "\\x of a byte above 7f");
    }
    if (at[0] == 'u') return read_hexadecimal(s, at + 1, 4, 4, c);
    if (!*at) return oniguruma_refuse(s, "\\ at its end");
    if ((*at >= '0' && *at <= '9') || ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z')) {
        const char shown[3] = { '\\', *at, 0 };
        return oniguruma_refuse(s, shown);
    }
    s->at = at;
    size_t bytes;
    *c = utf8_decode(s->at, &bytes);
    s->at += bytes;
    return 0;
}

int oniguruma_read_character(struct oniguruma_scan *s, uint32_t *c)
{
    size_t bytes;
    if (*s->at == '\\') {
        if (read_escaped(s, c)) return -1;
    } else {
        *c = utf8_decode(s->at, &bytes);
        s->at += bytes;
    }
    if (s->ignores_case && *c > 127)
        return oniguruma_refuse(s, "a character beyond ASCII under (?i)");
    return 0;
}

void oniguruma_note_range(struct oniguruma_scan *s, uint32_t first, uint32_t last)
{
    for (int i = 0; i < unicode_late_count && last > 127; i++) {
        const struct unicode_stand_in *row = &unicode_late[i];
        bool has_other = row->other >= first && row->other <= last;
        bool has_all = row->first >= first && row->last <= last;
        bool has_none = row->last < first || row->first > last;
        if (has_other ? has_all : has_none) continue;
        if (row->other == UNICODE_NOTHING_OF_3 || row->other == UNICODE_NOTHING_OF_4)
            s->keeps_unassigned = true;
        else
            s->has_conflict = true;
    }
}

/* ---- brackets ---- */

/* An operand of &&, as a PCRE2 pattern. `inside` is the part that can be written in one pair of
 * brackets. `others` are the alternatives that cannot. */
struct operand {
    struct oniguruma_text inside, others;
};

static void put_operand(struct oniguruma_text *out, const struct operand *o, bool is_negated)
{
    if (!o->others.used) {
        put(out, is_negated ? "[^" : "[");
        oniguruma_put(out, o->inside.at ? o->inside.at : "", o->inside.used);
        put(out, "]");
        return;
    }
    put(out, is_negated ? "(?:(?!" : "(?:");
    if (o->inside.used) {
        put(out, "[");
        oniguruma_put(out, o->inside.at, o->inside.used);
        put(out, "]");
    }
    oniguruma_put(out, o->others.at + !o->inside.used, o->others.used - !o->inside.used);
    put(out, is_negated ? ")(?s:.))" : ")");
}

/* Reads a character, or a range of characters. */
static int read_range(struct oniguruma_scan *s, struct operand *o)
{
    uint32_t first, last;
    if (oniguruma_read_character(s, &first)) return -1;
    last = first;
    if (s->at[0] == '-' && s->at[1] && s->at[1] != ']') {
        struct oniguruma_set set;
        s->at++;
        if (*s->at == '[' || !strncmp(s->at, "&&", 2))
            return oniguruma_refuse(s, "a range in brackets that ends with a class");
        int got = oniguruma_read_set(s, true, &set);
        if (got > 0) return oniguruma_refuse(s, "a range in brackets that ends with a class");
        if (got < 0 || oniguruma_read_character(s, &last)) return -1;
        if (last < first) return oniguruma_refuse(s, "a range in brackets that goes backwards");
    }
    oniguruma_note_range(s, first, last);
    oniguruma_put_character(&o->inside, first);
    if (last == first) return 0;
    put(&o->inside, "-");
    oniguruma_put_character(&o->inside, last);
    return 0;
}

static int read_member(struct oniguruma_scan *s, struct operand *o)
{
    struct oniguruma_set set;
    int got = read_posix(s, &set);
    if (!got && *s->at == '[') {
        put(&o->others, "|");
        return oniguruma_read_class(s, &o->others);
    }
    if (!got) got = oniguruma_read_set(s, true, &set);
    if (got < 0) return -1;
    if (!got) return read_range(s, o);
    if (!set.is_negated) {
        put(&o->inside, set.inside);
    } else {
        put(&o->others, "|[^");
        put(&o->others, set.inside);
        put(&o->others, "]");
    }
    /* A hyphen after a class stands for itself. */
    if (*s->at != '-') return 0;
    put(&o->inside, "\\-");
    s->at++;
    return 0;
}

/* Replaces *left by the intersection of *left and the operand. */
static void intersect(struct oniguruma_text *left, const struct operand *o)
{
    struct oniguruma_text both = { 0 };
    if (left->used) {
        put(&both, "(?:(?=");
        oniguruma_put(&both, left->at, left->used);
        put(&both, ")");
    }
    put_operand(&both, o, false);
    if (left->used) put(&both, ")");
    both.is_lost |= left->is_lost | o->inside.is_lost | o->others.is_lost;
    free(left->at);
    *left = both;
}

static int read_operands(struct oniguruma_scan *s, struct oniguruma_text *left, struct operand *o)
{
    for (bool is_first = true; *s->at != ']' || is_first; is_first = false) {
        if (!*s->at) return oniguruma_refuse(s, "[ without ]");
        if (*s->at == ']') return oniguruma_refuse(s, "[] or [^]");
        if (!strncmp(s->at, "&&", 2)) {
            s->at += 2;
            if (!o->inside.used && !o->others.used)
                return oniguruma_refuse(s, "&& without anything before it");
            intersect(left, o);
            o->inside.used = o->others.used = 0;
        } else if (read_member(s, o)) {
            return -1;
        }
    }
    s->at++;
    return o->inside.used || o->others.used ? 0
                                            : oniguruma_refuse(s, "&& without anything after it");
}

int oniguruma_read_class(struct oniguruma_scan *s, struct oniguruma_text *out)
{
    struct operand o = { 0 };
    struct oniguruma_text left = { 0 };
    bool is_negated = s->at[1] == '^';
    if (s->depth >= ONIGURUMA_DEPTH_MAX)
        return oniguruma_refuse(s, "brackets that are nested too deeply");
    s->at += 1 + is_negated;
    s->depth++;
    int status = is_negated && s->ignores_case ? oniguruma_refuse(s, "[^ under (?i)")
                                               : read_operands(s, &left, &o);
    s->depth--;
    if (!status && left.used) {
        intersect(&left, &o);
        put(out, is_negated ? "(?:(?!" : "");
        oniguruma_put(out, left.at, left.used);
        put(out, is_negated ? ")(?s:.))" : "");
    } else if (!status) {
        put_operand(out, &o, is_negated);
    }
    out->is_lost |= left.is_lost | o.inside.is_lost | o.others.is_lost;
    free(left.at);
    free(o.inside.at);
    free(o.others.at);
    return status;
}
