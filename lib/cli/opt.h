/* opt.h - one table gives parsing, --help and the OPTIONS of the manual page.
 *
 * The same table makes the shell's completion: --help-completion prints a line for each option,
 * "--name", "--name ARGUMENT" or "--name ARGUMENT word|word", which packaging/completion reads.
 *
 * Long names are the interface: --name VALUE or --name=VALUE, in any order, "--"
 * ends them. Unknown options, missing or odd values are usage errors (exit 2).
 */
#ifndef LONGQLORA_CLI_OPT_H
#define LONGQLORA_CLI_OPT_H

#include "lib/common/compiler.h"

#include <stdbool.h>
#include <stdint.h>

enum opt_kind {
    OPT_END,
    OPT_COUNT, /* int64_t, 0 to OPT_COUNT_MOST, or to .words */
    OPT_REAL,  /* double */
    OPT_FLAG,  /* bool: the option makes it true */
    OPT_TEXT,  /* const char *: a path or any text; .words, if there are, where none is said */
    OPT_WORD,  /* const char *: one of .words, "a|b|c" */
    OPT_LIST,  /* struct opt_list: may be given many times */
};

/* What the largest count is unless the table says otherwise: small enough that sums of counts, and
 * a thousand times one, are numbers still. Seeds may be any number. */
#define OPT_COUNT_MOST 1000000000000000
#define OPT_ANY_COUNT "9223372036854775807"

struct opt_list {
    const char **at;
    int count;
};

struct opt {
    const char *name;
    char letter;
    enum opt_kind kind;
    void *value; /* holds the default on entry */
    const char *argument, *help;
    const char *words; /* OPT_COUNT: the largest, in digits; NULL: OPT_COUNT_MOST */
};

struct opt_program {
    const char *name, *summary;  /* "pack", "cut documents into training samples" */
    const char *usage, *example; /* printed first by --help */
    const char *details;         /* printed last by --help; may be NULL */
    bool no_operands;
    struct opt *table; /* ends with a zeroed entry */
    /* Prints the operands that --help-completion is to know, as it prints options; may be NULL. */
    void (*list_operands)(void);
};

/* What comes before parsing: names the program, makes the process a good one (die_init), and
 * refuses to say anything into a file that the command line names. opt_parse does it. */
void opt_begin(int argc, char **argv, const struct opt_program *program);

/* Parses, handles --help, --help-man, --help-completion and --version, and returns the operands
 * (borrowed from argv, NULL at the end). Exits on a usage error. */
const char **opt_parse(int argc, char **argv, const struct opt_program *program);

/* Is the value one of words, "a|b|c"? */
bool opt_word_in(const char *words, const char *value);

/* The options every tool has; bound to the global below. */
struct opt_standard {
    int64_t threads;
    bool quiet;
    const char *progress;
};
extern struct opt_standard opt_standard;
/* Versions of clang-format lay it out differently. */
/* clang-format off */
#define OPT_STANDARD                                                                               \
    { "threads", 0, OPT_COUNT, &opt_standard.threads, "N", "threads; 0: one a CPU", "1024" },      \
        { "quiet", 0, OPT_FLAG, &opt_standard.quiet, 0, "say only what went wrong", 0 },           \
    {                                                                                              \
        "progress", 0, OPT_WORD, &opt_standard.progress, "HOW",                                    \
            "bar on a terminal, a line now and then elsewhere, or none", "auto|bar|line|none"      \
    }
/* clang-format on */

#endif
