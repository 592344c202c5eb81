/* Prints a recipe as YAML that reads back as the same recipe, as a table, or as JSON. */
#include "tools/train/recipe_inside.h"

#include <ctype.h>
#include <math.h>
#include <strings.h>

/* Prints the shortest decimal that reads back as the same number. A whole number below 1e15 gets no
 * exponent. */
static void print_real(double x, char *text, size_t size)
{
    if (x == trunc(x) && fabs(x) < 1e15) {
        snprintf(text, size, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, x);
        if (strtod(text, NULL) == x) return;
    }
}

const char *recipe_value_text(const struct recipe *r, const struct recipe_key *k, char buffer[64])
{
    const void *at = (const char *)r + k->at;
    switch (k->kind) {
    case COUNT:
        snprintf(buffer, 64, "%lld", (long long)*(const int64_t *)at);
        return buffer;
    case REAL:
    case STEPS:
        print_real(*(const double *)at, buffer, 64);
        return buffer;
    case FLAG:
        return *(const bool *)at ? "true" : "false";
    case AUTO_FLAG:
        return recipe_toggles[*(const enum toggle *)at];
    case WORD:
    case WORDS:
        return k->words[*(const int *)at];
    default:
        return *(const char *const *)at ? *(const char *const *)at : "";
    }
}

bool recipe_same_value(const struct recipe *a, const struct recipe *b, const struct recipe_key *k)
{
    char first[64], second[64];
    return !strcmp(recipe_value_text(a, k, first), recipe_value_text(b, k, second));
}

/* ---- YAML ---- */

/* Reads one UTF-8 character. Returns -1 if it is invalid, overlong or a surrogate. */
static long next_character(const unsigned char **at)
{
    static const long least[] = { 0, 0x80, 0x800, 0x10000 };
    const unsigned char *s = *at;
    int more = *s < 0x80 ? 0 : *s >> 5 == 6 ? 1 : *s >> 4 == 14 ? 2 : *s >> 3 == 30 ? 3 : -1;
    if (more < 0) return -1;
    long c = more ? *s & (0x3f >> more) : *s;
    for (int i = 1; i <= more; i++) {
        if (s[i] >> 6 != 2) return -1;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return -1;
    *at = s + more + 1;
    return c;
}

/* True for characters that YAML forbids unescaped, and for those that a terminal obeys or does not
 * show. */
static bool needs_escape(long c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || c == 0x61c ||
           (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c & 0xfffe) == 0xfffe;
}

/* True if every YAML reader takes the unquoted text for exactly this text. */
static bool is_plain(const char *s)
{
    static const char *const words[] = {
        "null", "true", "false", "yes", "no", "on", "off", "y", "n"
    };
    if (!isalpha((unsigned char)*s) && *s != '/' && *s != '_' && !(*s == '.' && s[1] == '/'))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(s, words[i])) return false;
    size_t length = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                              "_./,+@%=:-");
    return !s[length] && s[length - 1] != ':';
}

/* Prints a text, in double quotes if needed. Returns -1 if it is not UTF-8. */
static int print_text(const char *text, FILE *to)
{
    if (is_plain(text)) return fputs(text, to) < 0 ? -1 : 0;
    fputc('"', to);
    for (const unsigned char *at = (const unsigned char *)text, *from = at; *at; from = at) {
        long c = next_character(&at);
        if (c < 0) return -1;
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", (char)c);
        else if (needs_escape(c))
            fprintf(to, c > 0xffff ? "\\U%08lX" : "\\u%04lX", c);
        else
            fwrite(from, 1, (size_t)(at - from), to);
    }
    fputc('"', to);
    return 0;
}

/* Prints an origin in a comment. */
static void print_origin(const char *origin, FILE *to)
{
    for (const unsigned char *at = (const unsigned char *)origin, *from = at; *at; from = at) {
        long c = next_character(&at);
        if (c < 0) at++;
        if (c < 0 || needs_escape(c))
            fputc('?', to);
        else
            fwrite(from, 1, (size_t)(at - from), to);
    }
}

int recipe_print(const struct recipe *r, FILE *to, struct fail *why)
{
    for (int i = 0; i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        char buffer[64];
        if (k->kind == IGNORED) continue;
        const char *text = recipe_value_text(r, k, buffer);
        bool is_text = k->kind == TEXT || k->kind == PATHS || k->kind == WORD || k->kind == WORDS ||
                       k->kind == NAMES;
        fprintf(to, "%s: ", k->name);
        if (!is_text || (!*text && k->kind != NAMES))
            fputs(text, to);
        else if (print_text(text, to))
            return fail_usage(
                why, "%s is not UTF-8, but a recipe is: give this value on the command line",
                k->name);
        fputs(*text || k->kind == NAMES ? " # " : "# ", to);
        print_origin(r->origins[i] ? r->origins[i] : "default", to);
        fputc('\n', to);
    }
    return 0;
}

/* Prints the row of another program's key. */
static void print_foreign(const struct foreign_key *f, FILE *to)
{
    const char *values = f->values ? f->values : "";
    char text[FOREIGN_TEXT];
    const char *says = recipe_foreign_says(f, text);
    if (f->kind == SAME_AS)
        fprintf(to, "is `%s`", f->ours);
    else if (f->kind == PACKING || f->kind == PER_EPOCH)
        fprintf(to, "%s", says);
    else if (f->kind == HARMLESS)
        fprintf(to, "ignored: %s", says);
    else if (f->kind == NEVER)
        fprintf(to, "refused, also if empty: %s", says);
    else if (f->kind == ANSWERED || !*values)
        fprintf(to, "%s: %s", f->kind == ANSWERED ? "refused" : "refused, unless empty", says);
    else
        fputs("only ", to);
    if (f->kind != SAME_AS && f->kind != ONLY) return;
    for (const char *at = values; *at;) {
        size_t length = strcspn(at, "|"), theirs = strcspn(at, "=|");
        if (f->kind == SAME_AS && at == values) fputs(": ", to);
        if (at != values) fputs(", ", to);
        fprintf(to, "`%.*s`", (int)theirs, at);
        if (theirs + 1 < length)
            fprintf(to, " is `%.*s`", (int)(length - theirs - 1), at + theirs + 1);
        else if (theirs < length)
            fprintf(to, " does nothing");
        at += length + (at[length] == '|');
    }
    if (f->kind == ONLY && *values) fprintf(to, ": %s", says);
}

static void list_foreign(FILE *to)
{
    const struct foreign_key *f;
    fprintf(to, "\n| key | of | here |\n|---|---|---|\n");
    for (int i = 0; (f = recipe_foreign_at(i)); i++) {
        fprintf(to, "| `%s` | %s | ", f->name, f->programs);
        print_foreign(f, to);
        fprintf(to, " |\n");
    }
}

void recipe_list_keys(FILE *to)
{
    struct recipe r;
    recipe_defaults(&r);
    fprintf(to, "| key | default | meaning |\n|---|---|---|\n");
    for (int i = 0; i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        char buffer[64];
        const char *text = k->kind == IGNORED ? "(ignored)" : recipe_value_text(&r, k, buffer);
        fprintf(to, "| `%s`%s | %s | %s", k->name, k->flags & OURS ? " *" : "", text, k->meaning);
        char words[RECIPE_WORDS_TEXT];
        if (k->words) fprintf(to, ": %s", recipe_words_join(k->words, ", ", words));
        fprintf(to, " |\n");
    }
    list_foreign(to);
    recipe_list_defaults(to);
}

void recipe_list_completions(FILE *to)
{
    for (int i = 0; i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        if (k->kind == IGNORED) continue;
        bool is_rope = !strcmp(k->name, "rope");
        bool is_path = (k->kind == TEXT || k->kind == PATHS) && !is_rope;
        const char *const *words = k->kind == FLAG        ? recipe_toggles + TOGGLE_YES
                                   : k->kind == AUTO_FLAG ? recipe_toggles
                                                          : k->words;
        char text[RECIPE_WORDS_TEXT];
        const char *offered = is_rope ? "auto|none|" ROPE_KINDS("|", "|")
                              : words ? recipe_words_join(words, "|", text)
                                      : "";
        fprintf(to, "%s= %s%s%s\n", k->name, is_path ? "FILE" : "VALUE", *offered ? " " : "",
                offered);
    }
}

static json_t *value_json(const struct recipe *r, const struct recipe_key *k)
{
    const void *at = (const char *)r + k->at;
    char buffer[64];
    if (k->kind == COUNT) return json_integer(*(const int64_t *)at);
    if (k->kind == REAL || k->kind == STEPS) return json_real(*(const double *)at);
    if (k->kind == FLAG) return json_boolean(*(const bool *)at);
    /* Older programs wrote this key as a flag; its value true meant the embedding without the
     * head. */
    if (at == &r->train_embedding && r->train_embedding == EMBEDDING_FROZEN) return json_false();
    return json_string(recipe_value_text(r, k, buffer));
}

json_t *recipe_to_json(const struct recipe *r)
{
    struct recipe none;
    json_t *all = json_object();
    recipe_defaults(&none);
    for (int i = 0; i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        if (!(k->flags & DECIDES) || (k->flags & LATER && recipe_same_value(r, &none, k))) continue;
        json_object_set_new(all, k->name, value_json(r, k));
    }
    return all;
}

json_t *recipe_complete_json(json_t *recipe)
{
    struct recipe none;
    recipe_defaults(&none);
    for (int i = 0; recipe && i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        if (k->flags & LATER && !json_object_get(recipe, k->name))
            json_object_set_new(recipe, k->name, value_json(&none, k));
    }
    return recipe;
}
