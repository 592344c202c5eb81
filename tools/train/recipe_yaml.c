/* Reads recipes as YAML: one document, one flat mapping. Also reads one value of the command
 * line. */
#include "lib/common/file.h"
#include "lib/common/file_kind.h"
#include "lib/common/program.h"
#include "tools/train/recipe_inside.h"

#include <unistd.h>

/* ---- the text, within its limits ---- */

static int read_text(const char *path, char **text, size_t *bytes, struct fail *why)
{
    int fd = file_open_text(path, why);
    if (fd < 0) return -1;
    int status = file_read_rest(fd, path, RECIPE_BYTES_MAX, text, bytes, why);
    close(fd);
    return status > 0
               ? fail_usage(why, "%s: longer than %d bytes: not a recipe", path, RECIPE_BYTES_MAX)
               : status;
}

static bool begins(const char *text, size_t bytes, const char *with)
{
    return bytes >= strlen(with) && !memcmp(text, with, strlen(with));
}

/* Recognises files that are not recipes, because for most of them libyaml would only say that a
 * character is not allowed. */
static int check_kind(const char *path, const char *text, size_t bytes, struct fail *why)
{
    enum file_kind kind = file_kind_of(text, bytes < FILE_KIND_HEAD ? bytes : FILE_KIND_HEAD);
    bool has_mark = begins(text, bytes, "\xff\xfe") || begins(text, bytes, "\xfe\xff");
    bool has_more = memmem(text, bytes, "}\n{", 3) || memmem(text, bytes, "}\r\n{", 4);
    if (begins(text, bytes, "{") && has_more)
        return fail_usage(why,
                          "%s: JSON lines, where a recipe is needed: %s and %s make samples of "
                          "them, for train_file",
                          path, program_of("tokenize"), program_of("pack"));
    switch (kind) {
    case FILE_KIND_OTHER:
        return 0;
    case FILE_KIND_UTF16:
        if (has_mark) return 0; /* libyaml handles UTF-16 with a byte order mark */
        break;
    case FILE_KIND_ZSTD:
        return fail_usage(
            why, "%s: zstd, where a recipe is needed: samples are named by train_file", path);
    case FILE_KIND_GZIP:
    case FILE_KIND_XZ:
    case FILE_KIND_UTF32:
    case FILE_KIND_HTML:
    case FILE_KIND_XML:
        break;
    default:
        return fail_usage(why, "%s: %s, where a recipe is needed: lines of 'key: value'", path,
                          file_kind_words(kind));
    }
    return fail_usage(why, "%s: %s, where a recipe is needed: %s", path, file_kind_words(kind),
                      file_kind_way_to_text(kind));
}

struct count {
    int depth, values, documents;
};

static const yaml_char_t *tag_of(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT           ? e->data.scalar.tag
           : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
           : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.tag
                                                  : NULL;
}

/* Updates the depth and the number of values with the next event. Aliases count as values. */
static int count_event(const yaml_event_t *e, struct count *n, struct fail *why)
{
    bool opens = e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT;
    n->depth += opens;
    n->depth -= e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT;
    n->values += opens || e->type == YAML_SCALAR_EVENT || e->type == YAML_ALIAS_EVENT;
    n->documents += e->type == YAML_DOCUMENT_START_EVENT;
    if (n->depth > RECIPE_DEPTH_MAX)
        return fail_usage(why, "nested deeper than %d", RECIPE_DEPTH_MAX);
    if (n->values > RECIPE_VALUES_MAX)
        return fail_usage(why, "more than %d keys and values", RECIPE_VALUES_MAX);
    if (n->documents > 1)
        return fail_usage(why, "a second document begins here, but a recipe is one document");
    if (tag_of(e))
        return fail_usage(why, "the tag %.60s: tags are not read: write the value alone",
                          (const char *)tag_of(e));
    return 0;
}

/* Puts the place of an error before the message. `path` is the name of the file; NULL: there is no
 * file. */
static int blame(const char *path, yaml_mark_t mark, struct fail *why)
{
    char place[300];
    if (!path) return fail_status();
    snprintf(place, sizeof place, "%.240s:%zu:%zu", path, mark.line + 1, mark.column + 1);
    return fail_in(why, place);
}

/* Returns the beginning of a line, which is counted from 0, or NULL. */
static const char *line_of(const char *text, size_t bytes, size_t line)
{
    const char *at = text, *end = text + bytes;
    for (size_t i = 0; at && i < line; i++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at) at++;
    }
    return at;
}

/* Returns the place of a text behind the first character, or the beginning. */
static yaml_mark_t place_of(const char *text, size_t bytes, const char *wanted)
{
    yaml_mark_t mark = { 0 };
    const char *at = bytes ? memmem(text + 1, bytes - 1, wanted, strlen(wanted)) : NULL;
    for (const char *c = text; at && c < at; c++)
        mark.line += *c == '\n';
    return mark;
}

/* Looks for an invisible character in the lines from one to another. Reports it and returns true if
 * there is one. */
static bool blame_invisible(const char *path, const char *text, size_t bytes, size_t from,
                            size_t to, struct fail *why)
{
    char what[RECIPE_INVISIBLE];
    for (yaml_mark_t mark = { .line = from }; mark.line <= to; mark.line++) {
        const char *line = line_of(text, bytes, mark.line);
        if (!line) return false;
        size_t rest = (size_t)(text + bytes - line);
        const char *end = memchr(line, '\n', rest);
        size_t length = end ? (size_t)(end - line) : rest;
        /* A byte order mark may begin the file. */
        size_t skipped = !mark.line && begins(text, bytes, "\xef\xbb\xbf") ? 3 : 0;
        if (!recipe_invisible_find(line + skipped, length - skipped, &mark.column, what)) continue;
        fail_usage(why, "%s, where YAML wants a space or nothing", what);
        (void)blame(path, mark, why);
        return true;
    }
    return false;
}

/* Reports libyaml's message about invalid YAML. Some of its messages are hard to understand, and
 * are replaced: about tabs, about invisible characters, and about text that follows the end of the
 * recipe. */
static int fail_parser(const yaml_parser_t *parser, const char *path, const char *text,
                       size_t bytes, struct fail *why)
{
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR && parser->problem_value == 0xfeff)
        mark = place_of(text, bytes, "\xef\xbb\xbf");
    size_t from = parser->context ? parser->context_mark.line : mark.line;
    const char *line = line_of(text, bytes, mark.line);
    if (parser->error == YAML_MEMORY_ERROR) return fail(why, "out of memory");
    if (line && mark.column < (size_t)(text + bytes - line) && line[mark.column] == '\t')
        fail_usage(why, "a tab, where YAML wants spaces");
    else if (blame_invisible(path, text, bytes, from, mark.line, why))
        return -1;
    else if (parser->problem && !strcmp(parser->problem, "did not find expected <document start>"))
        fail_usage(why, "%s ends before this: check indentation, brackets and quotes",
                   path ? "the recipe" : "the value");
    else
        fail_usage(why, "%s", parser->problem ? parser->problem : "not YAML");
    return blame(path, mark, why);
}

/* Refuses an invisible character in a text without quotes. Somebody copied it with the recipe from
 * a page, and it would become a part of a key or of a value. */
static int check_invisible(const yaml_event_t *e, const char *path, struct fail *why)
{
    char what[RECIPE_INVISIBLE];
    size_t column;
    yaml_mark_t mark = e->start_mark;
    if (e->type != YAML_SCALAR_EVENT || e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
        !recipe_invisible_find((const char *)e->data.scalar.value, e->data.scalar.length, &column,
                               what))
        return 0;
    mark.column += column;
    fail_usage(why, "%s: write a space or nothing, or put the text in quotes if this belongs to it",
               what);
    return blame(path, mark, why);
}

/* Reads all events, and checks the limits. libyaml builds the first document without looking at
 * what follows its end, so invalid YAML there would be ignored if it were not found here. */
static int check_events(yaml_parser_t *parser, const char *path, const char *text, size_t bytes,
                        struct fail *why)
{
    struct count n = { 0 };
    int status = 0;
    for (bool is_end = false; !is_end && !status;) {
        yaml_event_t e;
        if (!yaml_parser_parse(parser, &e)) return fail_parser(parser, path, text, bytes, why);
        is_end = e.type == YAML_STREAM_END_EVENT;
        status = count_event(&e, &n, why);
        if (status)
            (void)blame(path, e.start_mark, why);
        else
            status = check_invisible(&e, path, why);
        yaml_event_delete(&e);
    }
    return status;
}

static int load_document(yaml_document_t *doc, const char *path, const char *text, size_t bytes,
                         struct fail *why)
{
    yaml_parser_t parser;
    const unsigned char *input = (const unsigned char *)text;
    if (!yaml_parser_initialize(&parser)) return fail(why, "out of memory");
    yaml_parser_set_input_string(&parser, input, bytes);
    int status = check_events(&parser, path, text, bytes, why);
    yaml_parser_delete(&parser);
    if (status) return -1;
    if (!yaml_parser_initialize(&parser)) return fail(why, "out of memory");
    yaml_parser_set_input_string(&parser, input, bytes);
    if (!yaml_parser_load(&parser, doc)) status = fail_parser(&parser, path, text, bytes, why);
    yaml_parser_delete(&parser);
    return status;
}

/* ---- values ---- */

/* Joins scalars to one text, "a,b,c". */
static int join_list(yaml_document_t *doc, const yaml_node_t *node, char list[RECIPE_LIST],
                     struct fail *why)
{
    size_t used = 0;
    list[0] = 0;
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top;
         i++) {
        yaml_node_t *item = yaml_document_get_node(doc, *i);
        if (!item || item->type != YAML_SCALAR_NODE || !item->data.scalar.length)
            return fail_usage(why, "a list of plain words is needed");
        const char *value = (const char *)item->data.scalar.value;
        if (strchr(value, ',') &&
            node->data.sequence.items.top - node->data.sequence.items.start > 1)
            return fail_usage(
                why, "'%.100s': an item of a list cannot contain a comma: rename the file", value);
        int n = snprintf(list + used, RECIPE_LIST - used, "%s%s", used ? "," : "", value);
        if (n < 0 || (size_t)n >= RECIPE_LIST - used)
            return fail_usage(why, "the list is longer than %d bytes", RECIPE_LIST - 1);
        used += (size_t)n;
    }
    return 0;
}

/* Joins the keys of a mapping to one text, "a,b,c". A key that is no scalar becomes "?". */
static void join_keys(yaml_document_t *doc, const yaml_node_t *node, char list[RECIPE_LIST])
{
    size_t used = 0;
    list[0] = 0;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(doc, p->key);
        bool is_word = key && key->type == YAML_SCALAR_NODE && key->data.scalar.length;
        used += (size_t)snprintf(list + used, RECIPE_LIST - used, "%s%.60s", used ? "," : "",
                                 is_word ? (const char *)key->data.scalar.value : "?");
        if (used >= RECIPE_LIST) return;
    }
}

/* Reads a value; node NULL means that there is none. A list is joined to one text only if
 * wants_list. */
static int value_of_node(yaml_document_t *doc, const yaml_node_t *node, bool wants_list,
                         struct recipe_value *v, char list[RECIPE_LIST], struct fail *why)
{
    *v = (struct recipe_value){ .text = "" };
    if (!node) return 0;
    if (node->type == YAML_SCALAR_NODE) {
        v->text = (const char *)node->data.scalar.value;
        v->is_quoted = node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        if (strlen(v->text) < node->data.scalar.length)
            return fail_usage(why, "the value has a NUL character");
        return 0;
    }
    bool is_list = node->type == YAML_SEQUENCE_NODE;
    bool is_empty = is_list ? node->data.sequence.items.start == node->data.sequence.items.top
                            : node->data.mapping.pairs.start == node->data.mapping.pairs.top;
    v->shape = is_list ? VALUE_LIST : VALUE_MAPPING;
    v->text = is_empty ? "" : is_list ? "[...]" : "{...}";
    if (!is_list) {
        join_keys(doc, node, list);
        v->keys = list;
    }
    if (!is_list || !wants_list) return 0;
    v->text = list;
    return join_list(doc, node, list, why);
}

int recipe_parse_value(const char *key, const char *text, struct recipe_value *v,
                       char list[RECIPE_LIST], yaml_document_t *document, struct fail *why)
{
    size_t bytes = strlen(text);
    if (bytes > RECIPE_VALUE_MAX)
        return fail_usage(why, "%s: longer than %d bytes", key, RECIPE_VALUE_MAX);
    if (load_document(document, NULL, text, bytes, why)) return fail_in(why, key);
    if (!value_of_node(document, yaml_document_get_root_node(document), true, v, list, why))
        return 0;
    yaml_document_delete(document);
    return fail_in(why, key);
}

/* ---- the mapping ---- */

struct file {
    struct recipe *r;
    yaml_document_t doc;
    const char *path;
    bool seen[RECIPE_KEYS_MAX]; /* keys that this file has set */
    void (*ignored)(const char *, const char *);
    void (*faulty)(const struct fail *); /* NULL: reading stops at the first fault */
};

/* Some keys have two names, such as max_seq_length and model_max_length, or lora_r and lora_rank.
 * This function marks both names as set, and fails if the other name has set another value. */
static int check_others(struct file *f, const struct recipe *before, const char *name,
                        struct fail *why)
{
    for (int i = 0; i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        if (k->kind == IGNORED) continue;
        if (f->seen[i] && !recipe_same_value(before, f->r, k))
            return fail_usage(
                why, "%s sets %s to another value than an earlier key: keep one of the two", name,
                k->name);
        if (f->r->origins[i] != before->origins[i]) f->seen[i] = true;
    }
    return 0;
}

static int read_value(struct file *f, const char *name, yaml_node_t *node, struct fail *why)
{
    const struct recipe_key *k = recipe_find_key(name);
    const struct foreign_key *other = k ? NULL : recipe_foreign_find(name);
    const struct recipe before = *f->r;
    struct recipe_value v;
    char list[RECIPE_LIST], origin[300];
    bool wants_list =
        k ? k->kind == NAMES || k->kind == WORDS || k->kind == PATHS : other->kind == SAME_AS;
    if (value_of_node(&f->doc, node, wants_list, &v, list, why)) return fail_in(why, name);
    const struct recipe_key *target = k                        ? k
                                      : other->kind == SAME_AS ? recipe_find_key(other->ours)
                                                               : NULL;
    /* A null does not reset a value that was set by its other name. */
    if (target && recipe_is_null(&v) && f->seen[target - recipe_keys]) return 0;
    snprintf(origin, sizeof origin, "%.240s:%zu", f->path, node->start_mark.line + 1);
    if (k ? recipe_set(f->r, k, &v, origin, f->ignored, why)
          : recipe_foreign_set(f->r, other, &v, origin, f->ignored, why))
        return -1;
    return check_others(f, &before, name, why);
}

static const char *name_of(const struct file *f, const yaml_node_pair_t *pair)
{
    const yaml_node_t *node = yaml_document_get_node((yaml_document_t *)&f->doc, pair->key);
    return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

/* True if the same key stands before this node. */
static bool stands_before(const struct file *f, const yaml_node_t *root,
                          const yaml_node_pair_t *pair)
{
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < pair; p++) {
        const char *name = name_of(f, p);
        if (name && !strcmp(name, name_of(f, pair))) return true;
    }
    return false;
}

static int read_pair(struct file *f, const yaml_node_t *root, const yaml_node_pair_t *pair,
                     struct fail *why)
{
    yaml_node_t *key = yaml_document_get_node(&f->doc, pair->key);
    yaml_node_t *value = yaml_document_get_node(&f->doc, pair->value);
    const char *name = name_of(f, pair);
    int status = 0;
    if (!name || strlen(name) < key->data.scalar.length)
        status = fail_usage(why, "a key is not a word");
    else if (!strcmp(name, "<<"))
        status = fail_usage(why, "the merge key << is not supported: write its keys out");
    else if (!recipe_find_key(name) && !recipe_foreign_find(name))
        status = recipe_unknown_key(name, why);
    else if (stands_before(f, root, pair))
        status = fail_usage(why, "key '%s' occurs twice", name);
    if (status) return blame(f->path, key->start_mark, why);
    return read_value(f, name, value, why) ? blame(f->path, value->start_mark, why) : 0;
}

static int read_pairs(struct file *f, const yaml_node_t *root, struct fail *why)
{
    enum { FAULTS_MAX = 20 };
    int faults = 0;
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++) {
        struct fail fault;
        if (!read_pair(f, root, p, &fault)) continue;
        if (faults) f->faulty(why);
        *why = fault;
        if (!f->faulty || fault.status != STATUS_USAGE || ++faults == FAULTS_MAX) return -1;
    }
    return faults ? -1 : 0;
}

static int read_document(struct file *f, struct fail *why)
{
    const yaml_node_t *root = yaml_document_get_root_node(&f->doc);
    if (!root || (root->type == YAML_SCALAR_NODE && !root->data.scalar.length)) return 0;
    if (root->type != YAML_MAPPING_NODE)
        return fail_usage(why,
                          "%s: not a list of 'key: value' lines (key=value is for the command "
                          "line)",
                          f->path);
    return read_pairs(f, root, why);
}

int recipe_read_all(struct recipe *r, const char *path, void (*ignored)(const char *, const char *),
                    void (*faulty)(const struct fail *), struct fail *why)
{
    struct file f = { .r = r, .path = path, .ignored = ignored, .faulty = faulty };
    char *text;
    size_t bytes;
    if (read_text(path, &text, &bytes, why)) return -1;
    int status = check_kind(path, text, bytes, why);
    if (!status) status = load_document(&f.doc, path, text, bytes, why);
    if (!status) {
        status = read_document(&f, why);
        yaml_document_delete(&f.doc);
    }
    free(text);
    return status;
}

int recipe_read(struct recipe *r, const char *path, void (*ignored)(const char *, const char *),
                struct fail *why)
{
    return recipe_read_all(r, path, ignored, NULL, why);
}
