#include "lib/common/json_advice.h"

#include "lib/common/compiler.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define WRITES_JSON "in Python json.dumps(record) writes JSON"
static const char many_lines[] = " (an object over many lines? one a line is needed: jq -c .)";
#define TABLE(how)                                                                                 \
    " (a table? in Python pandas.read_csv(FILE" how ").to_json('FILE.jsonl', orient='records', "   \
    "lines=True) makes JSON lines of it)"
static const char yaml[] = " (YAML? yq -o json -I 0 '.[]' makes JSON lines of a list)";
static const char carriage[] = " (lines that end in CR alone? tr '\\r' '\\n' mends them)";

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static size_t skip_blank(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && is_blank(text[at]))
        at++;
    return at;
}

/* What a scan has found in the text outside of strings. */
struct look {
    size_t end; /* where the first complete value ends; 0 if none is complete */
    bool is_open;
    bool has_python;   /* None, True or False occurs */
    bool has_infinity; /* Infinity or NaN occurs */
    bool has_comma;    /* a comma stands before a closing bracket */
};

static bool begins(const char *text, size_t bytes, size_t at, const char *word)
{
    size_t n = strlen(word);
    return bytes - at >= n && !memcmp(text + at, word, n);
}

static void look_at(const char *text, size_t bytes, struct look *l)
{
    long long depth = 0;
    bool in_string = false;
    char before = 0; /* the last character that was not white space */
    *l = (struct look){ 0 };
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool closes = c == ']' || c == '}';
        if (!in_string && closes && before == ',') l->has_comma = true;
        if (!is_blank(c)) before = c;
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (closes) {
            depth--;
            if (!depth && !l->end) l->end = i + 1;
        } else if (c >= 'A' && c <= 'Z') {
            l->has_python |= begins(text, bytes, i, "None") || begins(text, bytes, i, "True") ||
                             begins(text, bytes, i, "False");
            l->has_infinity |= begins(text, bytes, i, "NaN") || begins(text, bytes, i, "Infinity");
        }
    }
    l->is_open = in_string || depth > 0;
}

/* Advises on a text that begins with a bracket. */
static const char *advise_object(const char *text, size_t bytes, enum json_place place)
{
    struct look l;
    size_t first = skip_blank(text, bytes, 1);
    if (*text == '[' && first < bytes && text[first] == '{')
        first = skip_blank(text, bytes, first + 1);
    if (first < bytes && text[first] == '\'')
        return " (a record as Python prints it? " WRITES_JSON ")";
    look_at(text, bytes, &l);
    bool is_line = place != JSON_ELEMENT;
    size_t next = l.end ? skip_blank(text, bytes, l.end) : bytes;
    if (is_line && next < bytes && memchr(text + l.end, '\r', next - l.end)) return carriage;
    if (l.has_infinity) return " (NaN and Infinity are not JSON: write null)";
    if (l.has_python) return " (None, True and False are Python's: " WRITES_JSON ")";
    if (is_line && next < bytes && (text[next] == '{' || text[next] == '['))
        return " (many objects on a line? one a line is needed: jq -c .)";
    if (is_line && next < bytes && text[next] == ',')
        return " (an array without its brackets? objects stand on lines without commas)";
    if (!is_line && next < bytes && (text[next] == '{' || text[next] == '['))
        return " (a comma missing between elements?)";
    if (is_line && l.is_open) return many_lines;
    if (l.has_comma) return " (a comma behind the last value?)";
    bool has_key = first == bytes || text[first] == '"' || text[first] == '}' || *text == '[';
    return has_key ? "" : " (keys and texts of JSON stand in double quotes)";
}

/* Advises on a table, by the separator in its header. */
static const char *advise_table(const char *text, size_t bytes)
{
    if (memchr(text, '\t', bytes)) return TABLE(", sep='\\t'");
    return memchr(text, ',', bytes) ? TABLE("") : TABLE(", sep=';'");
}

/* Is the first line a table's header: "id,question,answer", with or without quotes, or with
 * tabs? */
static bool is_table(const char *text, size_t bytes)
{
    enum { NAME_MAX = 40 };
    size_t length = 0, names = 1;
    if (memchr(text, '\t', bytes)) return true;
    for (size_t i = 0; i < bytes; i++) {
        bool ends = text[i] == ',' || text[i] == ';';
        length = ends ? 0 : length + 1;
        names += ends;
        if (length > NAME_MAX || text[i] == '.' || (ends && i + 1 < bytes && text[i + 1] == ' '))
            return false;
    }
    return names > 1;
}

/* Is the text YAML, such as "---", "- role: user", "messages:" or "text: a"? A word that begins
 * with a capital letter before the colon ("Note: a") is taken for prose. */
static bool is_yaml(const char *text, size_t bytes)
{
    size_t at = 0;
    if (*text == '%' || begins(text, bytes, 0, "---")) return true;
    bool is_item = bytes > 2 && text[0] == '-' && text[1] == ' ';
    if (is_item) at = skip_blank(text, bytes, 1);
    size_t start = at;
    bool has_capital = false;
    for (; at < bytes && (isalnum((unsigned char)text[at]) || text[at] == '_' || text[at] == '-');
         at++)
        has_capital |= isupper((unsigned char)text[at]) != 0;
    if (at == start || at == bytes || text[at] != ':') return false;
    bool is_key = at + 1 == bytes || text[at + 1] == ' ';
    at = skip_blank(text, bytes, at + 1);
    return is_key && (is_item || at == bytes || !has_capital);
}

/* Advises on a text that begins with a quote: a table's first column name, or a key of an object
 * that is spread over several lines. */
static const char *advise_quote(const char *text, size_t bytes, enum json_place place)
{
    const char *end = memchr(text + 1, '"', bytes - 1);
    size_t next = end ? skip_blank(text, bytes, (size_t)(end - text) + 1) : bytes;
    if (place == JSON_ELEMENT || next == bytes) return "";
    if (text[next] == ':') return many_lines;
    bool is_row = text[next] == ',' || text[next] == ';' || end[1] == '\t';
    return is_row ? advise_table(text, bytes) : "";
}

static const char *advise(const char *text, size_t bytes, enum json_place place)
{
    if (!bytes) return "";
    if (*text == '{' || *text == '[') return advise_object(text, bytes, place);
    if (*text == '"') return advise_quote(text, bytes, place);
    if (place == JSON_ELEMENT) return "";
    if (*text == '}' || *text == ']') return many_lines;
    if (place == JSON_LATER_LINE) return "";
    if (*text == '<') return " (a web page? a download that failed may have left it)";
    if (is_yaml(text, bytes)) return yaml;
    return is_table(text, bytes) ? advise_table(text, bytes) : " (plain text? --format text)";
}

void json_advise(const char *text, size_t bytes, enum json_place place, char *advice, size_t size)
{
    size_t first = skip_blank(text, bytes, 0);
    while (bytes > first && is_blank(text[bytes - 1]))
        bytes--;
    snprintf(advice, size, "%s", advise(text + first, bytes - first, place));
}
