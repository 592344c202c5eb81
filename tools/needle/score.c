#include "tools/needle/score.h"

#include "lib/cli/die.h"
#include "lib/common/buffer.h"
#include "lib/common/json_records.h"
#include "lib/common/program.h"
#include "tools/needle/heat.h"
#include "tools/needle/table.h"

#include <math.h>
#include <sys/stat.h>
#include <utf8proc.h>

/* ---- one answer ---- */

/* Unicode's Case_Ignorable: characters that do not separate the letters of a word. */
static bool is_case_ignorable(utf8proc_int32_t c)
{
    static const utf8proc_int32_t marks[] = { '\'',   '.',    ':',    0xb7,   0x387,  0x55f,
                                              0x5f4,  0x2018, 0x2019, 0x2024, 0x2027, 0xfe13,
                                              0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (c == marks[i]) return true;
    utf8proc_category_t kind = utf8proc_category(c);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME ||
           kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
           kind == UTF8PROC_CATEGORY_SK;
}

static bool is_cased(utf8proc_int32_t c)
{
    return utf8proc_isupper(c) || utf8proc_islower(c) ||
           utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
}

/* Is the next letter of the word, from text[bytes] on, a letter with case? */
static bool word_goes_on(const char *text, size_t bytes)
{
    while (bytes) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
        must(n > 0);
        if (!is_case_ignorable(c)) return is_cased(c);
        text += n;
        bytes -= (size_t)n;
    }
    return false;
}

/* Writes the character in small letters, and returns how many bytes it has. is_final: a sigma here
 * would end a word. */
static size_t lower_character(utf8proc_int32_t c, bool is_final, char *to)
{
    enum { SIGMA = 0x3a3, FINAL_SIGMA = 0x3c2, I_WITH_DOT = 0x130 };
    if (c < 0x20) c = '\n';
    if (c == I_WITH_DOT) return (size_t)(stpcpy(to, "i\xcc\x87") - to);
    c = c == SIGMA && is_final ? FINAL_SIGMA : utf8proc_tolower(c);
    return (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)to);
}

/* Returns the text in small letters, as Python's str.lower() makes them, with a newline for each
 * control character, as RULER compares texts; NULL without memory. The caller frees it. */
static char *lowered(const json_t *text)
{
    const char *from = json_string_value(text);
    size_t left = json_string_length(text);
    char *lower = malloc(4 * left + 1), *to = lower; /* a character has up to 4 bytes */
    bool is_in_word = false; /* the last character that is not ignorable has case */
    if (!lower) return NULL;
    while (left) {
        utf8proc_int32_t c;
        utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)from, (utf8proc_ssize_t)left, &c);
        must(bytes > 0); /* JSON was read as UTF-8 */
        from += bytes;
        left -= (size_t)bytes;
        to += lower_character(c, is_in_word && c == 0x3a3 && !word_goes_on(from, left), to);
        if (!is_case_ignorable(c)) is_in_word = is_cased(c);
    }
    *to = '\0';
    return lower;
}

/* Returns the share of the expected texts that occur in the completion, or -1 with *why. */
static double score_of(const json_t *completion, const json_t *answers, struct fail *why)
{
    size_t i, found = 0;
    json_t *one;
    if (!json_is_array(answers) || !json_array_size(answers))
        return fail_input(why, "'needle' has no list 'answers'");
    json_array_foreach((json_t *)answers, i, one) if (!json_string_length(one)) return fail_input(
        why, "'answers' is no list of texts");
    char *text = lowered(completion);
    for (i = 0; text && i < json_array_size(answers); i++) {
        char *answer = lowered(json_array_get(answers, i));
        if (!answer) break;
        found += strstr(text, answer) != NULL;
        free(answer);
    }
    bool is_whole = text && i == json_array_size(answers);
    free(text);
    if (!is_whole) return fail(why, "out of memory");
    return (double)found / (double)json_array_size(answers);
}

static int find_task(struct scores *s, const char *name, size_t *task, struct fail *why)
{
    for (*task = 0; *task < s->task_count; ++*task)
        if (!strcmp(s->tasks[*task], name)) return 0;
    if (buffer_extend(&s->tasks, s->task_count, why)) return -1;
    char *copy = strdup(name);
    if (!copy) return fail(why, "out of memory");
    s->tasks[s->task_count++] = copy;
    return 0;
}

static bool is_same(const struct cell *a, const struct cell *b)
{
    return a->task == b->task && a->tokens == b->tokens && a->depth == b->depth;
}

/* Adds the counts of `more` to the cell with the same task, length and depth. */
static int add_cell(struct cell **cells, size_t *count, const struct cell *more, struct fail *why)
{
    for (size_t i = *count; i-- > 0;) {
        struct cell *c = &(*cells)[i];
        if (!is_same(c, more)) continue;
        c->prompts += more->prompts;
        c->whole += more->whole;
        c->sum += more->sum;
        c->squares += more->squares;
        return 0;
    }
    if (buffer_extend(cells, *count, why)) return -1;
    (*cells)[(*count)++] = *more;
    return 0;
}

/* Adds a depth to the list of depths, unless it is there. */
static int add_depth(struct scores *s, int depth, struct fail *why)
{
    int at = s->depth_count;
    for (int i = 0; i < s->depth_count; i++)
        if (s->depths[i] == depth) return 0;
    if (at == DEPTHS_MAX) return fail_input(why, "more than %d depths", DEPTHS_MAX);
    for (; at && s->depths[at - 1] > depth; at--)
        s->depths[at] = s->depths[at - 1];
    s->depths[at] = depth;
    s->depth_count++;
    return 0;
}

static int read_place(struct scores *s, const json_t *needle, struct cell *c, struct fail *why)
{
    const char *task = json_string_value(json_object_get(needle, "task"));
    int64_t depth = NO_DEPTH;
    c->tokens = 0;
    if (!task || !*task) return fail_input(why, "'needle' has no 'task'");
    if (strlen(task) != json_string_length(json_object_get(needle, "task")))
        return fail_input(why, "'task' holds a NUL character");
    if (json_get_count(needle, "tokens", 1 << 30, &c->tokens, why) ||
        json_get_count(needle, "depth", 100, &depth, why))
        return -1;
    if (!c->tokens) return fail_input(why, "'needle' has no 'tokens'");
    c->depth = (int)depth;
    if (depth != NO_DEPTH && add_depth(s, c->depth, why)) return -1;
    return find_task(s, task, &c->task, why);
}

static int add_digest(struct digests *d, const char *text, size_t bytes, struct fail *why)
{
    if (buffer_extend(&d->at, d->count, why)) return -1;
    d->at[d->count++] = XXH3_128bits(text, bytes);
    return 0;
}

/* Notes which prompt this line answers: its text, and its `needle`, which has the prompt's task,
 * length, depth, number and answers. A line of other programs may lack either of them. */
static int add_prompt(struct scores *s, const json_t *prompt, const json_t *needle,
                      struct fail *why)
{
    bool has_prompt = json_is_string(prompt);
    s->lacks_prompts |= !has_prompt;
    if (has_prompt &&
        add_digest(&s->prompt_texts, json_string_value(prompt), json_string_length(prompt), why))
        return -1;
    if (!json_is_integer(json_object_get(needle, "number"))) return 0;
    char *known = json_dumps(needle, JSON_COMPACT | JSON_SORT_KEYS);
    if (!known) return fail(why, "out of memory");
    int status = add_digest(&s->needles, known, strlen(known), why);
    free(known);
    return status;
}

int scores_add(struct scores *s, const json_t *line, struct fail *why)
{
    const json_t *needle = json_object_get(line, "needle");
    const json_t *completion = json_object_get(line, "completion");
    const char *stop = json_string_value(json_object_get(line, "stop"));
    struct cell c = { .prompts = 1 };
    if (!json_is_object(needle))
        return fail_input(why, "no 'needle', which every prompt of %s make has",
                          program_of("needle"));
    if (!json_is_string(completion))
        return fail_input(why,
                          "no 'completion': the prompt is not answered yet (%s --format jsonl)",
                          program_of("generate"));
    if (read_place(s, needle, &c, why)) return -1;
    c.sum = score_of(completion, json_object_get(needle, "answers"), why);
    if (c.sum < 0) return -1;
    c.squares = c.sum * c.sum;
    c.whole = c.sum >= 1;
    if (add_prompt(s, json_object_get(line, "prompt"), needle, why)) return -1;
    s->prompts++;
    s->cut += stop && !strcmp(stop, "context");
    return add_cell(&s->cells, &s->cell_count, &c, why);
}

/* ---- all answers ---- */

static int by_place(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    if (x->task != y->task) return x->task < y->task ? -1 : 1;
    if (x->tokens != y->tokens) return x->tokens < y->tokens ? -1 : 1;
    return (x->depth > y->depth) - (x->depth < y->depth);
}

int scores_sort(struct scores *s, struct fail *why)
{
    if (s->cell_count) qsort(s->cells, s->cell_count, sizeof *s->cells, by_place);
    for (size_t i = 0; i < s->cell_count; i++) {
        struct cell row = s->cells[i];
        row.depth = NO_DEPTH;
        if (add_cell(&s->rows, &s->row_count, &row, why)) return -1;
    }
    return 0;
}

static int by_digest(const void *a, const void *b) { return XXH128_cmp(a, b); }

uint64_t scores_repeated(struct scores *s)
{
    struct digests *d = s->lacks_prompts ? &s->needles : &s->prompt_texts;
    uint64_t repeated = 0;
    if (d->count) qsort(d->at, d->count, sizeof *d->at, by_digest);
    for (size_t i = 1; i < d->count; i++) {
        bool is_again = XXH128_isEqual(d->at[i], d->at[i - 1]);
        repeated += is_again && (i < 2 || !XXH128_isEqual(d->at[i - 1], d->at[i - 2]));
    }
    return repeated;
}

void scores_release(struct scores *s)
{
    for (size_t i = 0; i < s->task_count; i++)
        free(s->tasks[i]);
    free(s->tasks);
    free(s->cells);
    free(s->rows);
    free(s->prompt_texts.at);
    free(s->needles.at);
    *s = (struct scores){ 0 };
}

double cell_mean(const struct cell *c) { return 100 * c->sum / (double)c->prompts; }

double cell_stderr(const struct cell *c)
{
    double n = (double)c->prompts, mean = c->sum / n;
    return n > 1 ? 100 * sqrt(fmax(c->squares / n - mean * mean, 0) / (n - 1)) : NAN;
}

const struct cell *scores_at(const struct scores *s, const struct cell *row, int depth)
{
    struct cell wanted = { .task = row->task, .tokens = row->tokens, .depth = depth };
    for (size_t i = 0; i < s->cell_count; i++)
        if (is_same(&s->cells[i], &wanted)) return &s->cells[i];
    return NULL;
}

static int add_file(struct scores *s, const char *path, struct fail *why)
{
    struct input *in;
    struct json_records records;
    char *at, place[4200];
    size_t bytes;
    bool has_large;
    int got = 0;
    if (input_open(&in, path, why)) return -1;
    int status = json_records_open(&records, in, why);
    while (!status && (got = json_records_next(&records, &at, &bytes, why)) > 0) {
        json_t *line = json_read_data(at, bytes, JSON_ALLOW_NUL, &has_large, why);
        status = !line                   ? -1
                 : !json_is_object(line) ? fail_input(why, "not a JSON object")
                                         : scores_add(s, line, why);
        json_decref(line);
        if (!status) continue;
        json_records_place(&records, records.number, place, sizeof place);
        (void)fail_in(why, place);
    }
    input_close(in);
    return got < 0 ? -1 : status;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    if (!strcmp(a, b)) return true;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Dies if a file is named twice, because each of its answers would count twice. */
static void refuse_twice(const char **files)
{
    for (const char **file = files; *file; file++)
        for (const char **other = files; other < file; other++)
            if (is_same_file(*other, *file))
                die_usage("%s is named twice%s%s: its answers would count twice", *other,
                          strcmp(*other, *file) ? ", also as " : "",
                          strcmp(*other, *file) ? *file : "");
}

void score(const struct options *o, const char **files)
{
    struct scores s = { 0 };
    struct fail why;
    refuse_twice(files);
    if (*files && !strcmp(*files, "-")) note_if_typed("-", "answers, as JSON lines");
    for (const char **file = files; *file; file++)
        or_die(add_file(&s, *file, &why), &why);
    if (!s.prompts) die(STATUS_INPUT, "no answer to score");
    if (s.cut)
        warn("%llu answers were cut by the end of the context: give %s a longer --context",
             (unsigned long long)s.cut, program_of("generate"));
    uint64_t repeated = scores_repeated(&s);
    if (repeated)
        warn("%llu prompts have several answers, which all count: are the same answers in two "
             "places?",
             (unsigned long long)repeated);
    or_die(scores_sort(&s, &why), &why);
    or_die(table_write(&s, o->to, o->output, &why), &why);
    for (int i = 0; i < o->figures.count; i++)
        or_die(heat_draw(&s, o->figures.at[i], &why), &why);
    scores_release(&s);
}
