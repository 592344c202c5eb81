#include "lib/cli/opt.h"

#include "lib/cli/die.h"
#include "lib/common/buffer.h"
#include "lib/common/file_guard.h"
#include "lib/common/nearest.h"
#include "lib/common/program.h"
#include "lib/common/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

#ifndef LONGQLORA_VERSION
#define LONGQLORA_VERSION "unknown"
#endif

struct opt_standard opt_standard = { .progress = "auto" };

enum { OPTIONS_MAX = 64 };

/* The table of options, and which of its rows the command line has. opt_parse sets both. */
static struct opt *parsed;
static bool is_given[OPTIONS_MAX];

static int table_size(const struct opt *table)
{
    int n = 0;
    while (table[n].name)
        n++;
    return n;
}

static struct opt *find(struct opt *table, const char *name, size_t length)
{
    for (struct opt *o = table; o->name; o++)
        if (strlen(o->name) == length && !memcmp(o->name, name, length)) return o;
    return NULL;
}

bool opt_word_in(const char *words, const char *value)
{
    size_t length = strlen(value);
    for (const char *at = words;; at++) {
        size_t n = strcspn(at, "|");
        if (n == length && !memcmp(at, value, n)) return true;
        at += n;
        if (!*at) return false;
    }
}

const char *opt_given(const char *names)
{
    must(parsed);
    for (const char *at = names;; at++) {
        size_t length = strcspn(at, "|");
        const struct opt *o = find(parsed, at, length);
        must(o);
        if (is_given[o - parsed]) return o->name;
        at += length;
        if (!*at) return NULL;
    }
}

static long long count_max(const struct opt *o)
{
    return o->words ? strtoll(o->words, NULL, 10) : OPT_COUNT_MAX;
}

static void set_value(struct opt *o, const char *value)
{
    char *end = NULL;
    size_t bytes = strlen(value), valid = utf8_valid_prefix(value, bytes);
    if (valid < bytes && o->argument && !strcmp(o->argument, "TEXT"))
        die_usage("--%s: byte %zu: invalid UTF-8 (" UTF8_ADVICE ")", o->name, valid + 1);
    errno = 0;
    switch (o->kind) {
    case OPT_COUNT: {
        long long n = strtoll(value, &end, 10);
        if (!isdigit((unsigned char)*value) || *end || errno)
            die_usage("--%s: '%s' is %s", o->name, value,
                      errno == ERANGE ? "too large a number" : "not a count");
        if (n > count_max(o)) die_usage("--%s: %s is more than %lld", o->name, value, count_max(o));
        *(int64_t *)o->value = n;
        break;
    }
    case OPT_REAL: {
        double x = strtod(value, &end);
        if (!*value || *end || errno || !isfinite(x))
            die_usage("--%s: '%s' is not a number", o->name, value);
        *(double *)o->value = x;
        break;
    }
    case OPT_WORD:
        if (!opt_word_in(o->words, value))
            die_usage("--%s: '%s' is not one of %s", o->name, value, o->words);
        *(const char **)o->value = value;
        break;
    case OPT_LIST: {
        struct opt_list *list = o->value;
        struct fail why;
        or_die(buffer_extend(&list->at, list->count, &why), &why);
        list->at[list->count++] = value;
        break;
    }
    default:
        *(const char **)o->value = value;
        break;
    }
}

/* Returns an option's help text, the words or the largest number that its value may be, and its
 * default. The caller frees the text. */
static char *option_text(const struct opt *o)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) die(STATUS_FAILED, "out of memory");
    fputs(o->help, to);
    bool is_limit = o->kind == OPT_COUNT || o->kind == OPT_WORD;
    if (o->words && is_limit && strcmp(o->words, OPT_ANY_COUNT) != 0)
        fprintf(to, o->kind == OPT_COUNT ? ", at most %s" : ": %s", o->words);
    switch (o->kind) {
    case OPT_COUNT:
        if (*(int64_t *)o->value) fprintf(to, " (%lld)", (long long)*(int64_t *)o->value);
        break;
    case OPT_REAL:
        if (*(double *)o->value != 0) fprintf(to, " (%g)", *(double *)o->value);
        break;
    case OPT_TEXT:
    case OPT_WORD:
    case OPT_OFFERED:
        if (*(const char **)o->value) fprintf(to, " (%s)", *(const char **)o->value);
        break;
    default:
        break;
    }
    if (fclose(to)) die(STATUS_FAILED, "out of memory");
    return text;
}

enum { HELP_INDENT = 31, HELP_COLUMNS = 80 };

/* Prints text in lines from column HELP_INDENT to HELP_COLUMNS. A longer word has a line of its
 * own. */
static void print_filled(const char *text)
{
    size_t column = HELP_INDENT;
    for (const char *at = text; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (at != text && column + 1 + length > HELP_COLUMNS) {
            printf("\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (at != text) {
            putchar(' ');
            column++;
        }
        fwrite(at, 1, length, stdout);
        column += length;
        at += length;
    }
    putchar('\n');
}

static void help(const struct opt_program *program)
{
    char example[8192], usage[8192];
    program_command(program->example, example, sizeof example);
    program_command(program->usage, usage, sizeof usage);
    printf("%s - %s\n\nExample:\n  %s\n\nUsage: %s\n\nOptions, with defaults in parentheses:\n",
           program_name(), program->summary, example, usage);
    for (const struct opt *o = program->table; o->name; o++) {
        char left[80], *text = option_text(o);
        char letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        printf("%-*s ", HELP_INDENT - 1, left);
        print_filled(text);
        free(text);
    }
    printf("      --help                   print this\n"
           "      --version                print the version\n");
    if (program->details) printf("\n%s", program->details);
}

/* Prints the OPTIONS section of the manual page in mdoc. */
static void help_man(const struct opt_program *program)
{
    printf(".Bl -tag -width Ds\n");
    for (const struct opt *o = program->table; o->name; o++) {
        printf(".It ");
        if (o->letter) printf("Fl %c , ", o->letter);
        printf("Fl \\-%s", o->name);
        if (o->argument) printf(" Ar %s", o->argument);
        char *text = option_text(o);
        printf("\n%c%s.\n", toupper((unsigned char)*text), text + 1);
        free(text);
    }
    printf(".It Fl \\-help , Fl \\-version\nPrint a summary, or the version, and exit.\n.El\n");
}

static void print_completion(const struct opt *o)
{
    if (o->argument) printf(" %s", o->argument);
    if (o->kind == OPT_WORD || o->kind == OPT_OFFERED) printf(" %s", o->words);
    putchar('\n');
}

/* Prints what a shell needs to complete a command line; see opt.h. */
static void help_completion(const struct opt_program *program)
{
    for (const struct opt *o = program->table; o->name; o++) {
        printf("--%s", o->name);
        print_completion(o);
        if (!o->letter) continue;
        printf("-%c", o->letter);
        print_completion(o);
    }
    printf("--help\n--version\n");
    if (program->list_operands) program->list_operands();
}

/* Options here, and what other programs call them. The first row counts whose option this program
 * has. */
static const struct {
    const char *ours, *theirs;
} elsewhere[] = {
    { "max-new-tokens", "max_length|max_tokens|n_predict|num_predict" },
    { "context", "max_length|max_seq_length|max_seq_len|max_model_len|seq_length|seq_len|"
                 "sequence_len|block_size|ctx_size|n_ctx" },
    { "model", "model_name_or_path|model_path|base_model|pretrained" },
    { "base", "model_name_or_path|model_path|base_model|pretrained|model" },
    { "tokenizer", "tokenizer_path" },
    { "model", "tokenizer|tokenizer_path" },
    { "adapter", "adapter_name_or_path|lora|lora_path|lora_model|peft_model|peft_model_path" },
    { "data", "dataset|data_path" },
    { "output", "output_dir|output_path|save_dir|outfile|out" },
    { "to", "outtype" },
    { "temperature", "temp" },
    { "threads", "num_threads|num_workers|workers|num_proc" },
    { "strategy", "packing|sample_packing|eval_sample_packing|neat_packing|packing_strategy" },
};

/* Keys of train's recipe that belong to no option here, although one could expect them. `beside`:
 * an option of the programs that one could expect them of. */
static const struct {
    const char *beside, *keys, *advice;
} recipe_keys[] = {
    { "strategy", "document_mask",
      "it is a key of train's recipe, because samples keep where their documents begin; auto masks "
      "the documents of --strategy best-fit" },
};

static bool has_option(const struct opt_program *program, const char *name)
{
    for (const struct opt *o = program->table; o->name; o++)
        if (!strcmp(o->name, name)) return true;
    return false;
}

/* Returns the option that another program's option means here, or NULL. Dies if `typed` is a key of
 * train's recipe that means no option here. */
static const char *meant_by(const struct opt_program *program, const char *typed)
{
    char name[64];
    snprintf(name, sizeof name, "%s", typed);
    for (char *c = name; *c; c++)
        if (*c == '-') *c = '_';
    for (size_t i = 0; i < sizeof recipe_keys / sizeof *recipe_keys; i++)
        if (opt_word_in(recipe_keys[i].keys, name) && has_option(program, recipe_keys[i].beside))
            die_usage("unknown option --%s: %s", typed, recipe_keys[i].advice);
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (opt_word_in(elsewhere[i].theirs, name) && has_option(program, elsewhere[i].ours))
            return elsewhere[i].ours;
    return NULL;
}

NORETURN static void unknown(const struct opt_program *program, const char *typed)
{
    const char *names[OPTIONS_MAX];
    int count = table_size(program->table);
    for (int i = 0; i < count; i++)
        names[i] = program->table[i].name;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
    const char *near = meant_by(program, name);
    if (!near) near = nearest_word(name, names, count);
    if (near) die_usage("unknown option --%s: did you mean --%s?", name, near);
    die_usage("unknown option --%s", name);
}

static void parse_long(const struct opt_program *program, char **argv, int argc, int *at)
{
    const char *name = argv[*at] + 2;
    size_t length = strcspn(name, "=");
    if (!strcmp(name, "help")) {
        help(program);
        exit(fflush(stdout) ? STATUS_FAILED : STATUS_DONE);
    }
    if (!strcmp(name, "help-man")) {
        help_man(program);
        exit(fflush(stdout) ? STATUS_FAILED : STATUS_DONE);
    }
    if (!strcmp(name, "help-completion")) {
        help_completion(program);
        exit(fflush(stdout) ? STATUS_FAILED : STATUS_DONE);
    }
    if (!strcmp(name, "version")) {
        printf("%s (longqlora) %s\n", program_name(), LONGQLORA_VERSION);
        exit(fflush(stdout) ? STATUS_FAILED : STATUS_DONE);
    }
    struct opt *o = find(program->table, name, length);
    if (!o) unknown(program, name);
    is_given[o - program->table] = true;
    if (o->kind == OPT_FLAG) {
        if (name[length]) die_usage("--%s takes no value", o->name);
        *(bool *)o->value = true;
        return;
    }
    /* Some options may be given without a value, such as --chat in "--chat --system TEXT". Such an
     * option then gets the value in `words` of its row. */
    bool is_last = *at + 1 >= argc;
    if (!name[length] && o->kind == OPT_TEXT && o->words && (is_last || argv[*at + 1][0] == '-')) {
        set_value(o, o->words);
        return;
    }
    if (!name[length] && is_last) die_usage("--%s needs a value: %s", o->name, o->argument);
    set_value(o, name[length] ? name + length + 1 : argv[++*at]);
}

/* Refuses "-model x", which would otherwise be -m with the value "odel". */
static void check_dashes(const struct opt_program *program, const char *given)
{
    size_t length = strcspn(given + 1, "=");
    struct opt *o = length > 1 ? find(program->table, given + 1, length) : NULL;
    if (o) die_usage("'%s': write two dashes: --%s", given, o->name);
}

static void parse_short(const struct opt_program *program, char **argv, int argc, int *at)
{
    char letter = argv[*at][1];
    check_dashes(program, argv[*at]);
    for (struct opt *o = program->table; o->name; o++) {
        if (o->letter != letter) continue;
        is_given[o - program->table] = true;
        if (o->kind == OPT_FLAG) {
            if (argv[*at][2]) die_usage("-%c takes no value", letter);
            *(bool *)o->value = true;
            return;
        }
        if (!argv[*at][2] && *at + 1 >= argc)
            die_usage("-%c needs a value: %s", letter, o->argument);
        if (argv[*at][2] == '=')
            die_usage("'%s': a short option takes its value without '=': write -%c %s", argv[*at],
                      letter, argv[*at] + 3);
        set_value(o, argv[*at][2] ? argv[*at] + 2 : argv[++*at]);
        return;
    }
    if (letter == 'h') {
        help(program);
        exit(fflush(stdout) ? STATUS_FAILED : STATUS_DONE);
    }
    die_usage("unknown option -%c", letter);
}

void opt_begin(int argc, char **argv, const struct opt_program *program)
{
    program_begin(argv[0], program->name);
    die_init(program_name(), false);
    const char *messages = file_guard_messages(argc, argv);
    if (messages)
        die_usage(
            "standard error is %s, into which messages would be written: redirect them elsewhere",
            messages);
}

const char **opt_parse(int argc, char **argv, const struct opt_program *program)
{
    opt_begin(argc, argv, program);
    must(table_size(program->table) <= OPTIONS_MAX);
    parsed = program->table;
    static const char **operands; /* not freed, because tools may exit at any point */
    operands = calloc((size_t)argc + 1, sizeof *operands);
    if (!operands) die(STATUS_FAILED, "out of memory");
    int count = 0;
    bool ended = false;
    for (int at = 1; at < argc; at++) {
        /* A word processor has turned two hyphens into an en dash or em dash. */
        if (!ended &&
            (!strncmp(argv[at], "\xe2\x80\x93", 3) || !strncmp(argv[at], "\xe2\x80\x94", 3)))
            die_usage("'%s' begins with a dash that is not a hyphen: write --%s", argv[at],
                      argv[at] + 3 + strspn(argv[at] + 3, "-"));
        if (ended || argv[at][0] != '-' || !argv[at][1])
            operands[count++] = argv[at];
        else if (!strcmp(argv[at], "--"))
            ended = true;
        else if (argv[at][1] == '-')
            parse_long(program, argv, argc, &at);
        else
            parse_short(program, argv, argc, &at);
    }
    if (program->no_operands && count) {
        char usage[8192];
        program_command(program->usage, usage, sizeof usage);
        die_usage("unexpected operand '%s': each input is named by an option: %s", operands[0],
                  usage);
    }
    die_init(program_name(), opt_standard.quiet);
    return operands;
}
