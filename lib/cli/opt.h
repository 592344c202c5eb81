/* opt.h - one table of options is used for parsing, for --help, for the OPTIONS of the manual page
 * and for the shell's completion.
 *
 * For completion, --help-completion prints one line for each option: "--name", "--name ARGUMENT" or
 * "--name ARGUMENT word|word". If the option has a letter, a second line has "-x" in place of
 * "--name". packaging/completion reads these lines.
 *
 * Options are written --name VALUE or --name=VALUE, in any order; "--" ends them. An unknown
 * option, or a missing or invalid value, is a usage error (status 2).
 */
#ifndef LONGQLORA_CLI_OPT_H
#define LONGQLORA_CLI_OPT_H

#include "lib/common/compiler.h"

#include <stdbool.h>
#include <stdint.h>

enum opt_kind {
    OPT_END,
    OPT_COUNT, /* int64_t, from 0 to the number in .words, or to OPT_COUNT_MAX if .words is NULL */
    OPT_REAL,  /* double */
    OPT_FLAG,  /* bool: the option makes it true */
    /* const char *: a path or any text; .words is the value if the option is given without one */
    OPT_TEXT,
    OPT_WORD, /* const char *: one of .words, which has the form "a|b|c" */
    /* const char *: any text. The shell offers .words, which has the form "a|b:|c"; a value that
     * ends with a colon is the beginning of one. */
    OPT_OFFERED,
    OPT_LIST, /* struct opt_list: may be given several times */
};

/* The largest count, unless the table says otherwise. It is so small that sums of counts, and a
 * count times a thousand, do not overflow. A seed may be any number (OPT_ANY_COUNT). */
#define OPT_COUNT_MAX 1000000000000000
#define OPT_ANY_COUNT "9223372036854775807"

struct opt_list {
    const char **at;
    int count;
};

struct opt {
    const char *name;
    char letter;
    enum opt_kind kind;
    void *value; /* where the value goes; it holds the default before parsing */
    const char *argument, *help;
    const char *words; /* its meaning depends on the kind; see above */
};

struct opt_program {
    const char *name, *summary;  /* "pack", "cut documents into training samples" */
    const char *usage, *example; /* printed first by --help */
    const char *details;         /* printed last by --help; may be NULL */
    bool no_operands;
    struct opt *table; /* the last entry is zeroed */
    /* For --help-completion: prints the operands that the shell can complete, in the form that the
     * top of this file describes. May be NULL. */
    void (*list_operands)(void);
};

/* Calls die_init. If standard error is a file that the command line names, redirects messages and
 * ends the program with a usage error. opt_parse calls this function too. */
void opt_begin(int argc, char **argv, const struct opt_program *program);

/* Parses the options; handles --help, --help-man, --help-completion and --version; returns the
 * operands (pointers of argv, NULL at the end). Exits on a usage error. */
const char **opt_parse(int argc, char **argv, const struct opt_program *program);

/* Is `value` one of `words`, which has the form "a|b|c"? */
bool opt_word_in(const char *words, const char *value);

/* `names` has the form "context|seed". Returns the first of these options that the command line
 * has, or NULL if it has none of them. An option counts as given even if its value is the default.
 * Call it after opt_parse. */
const char *opt_given(const char *names);

/* The options that every tool has. Their values go to the global variable below. */
struct opt_standard {
    int64_t threads;
    bool quiet;
    const char *progress;
};
extern struct opt_standard opt_standard;
/* clang-format is off, because its versions format this macro differently. */
/* clang-format off */
#define OPT_STANDARD                                                                               \
    { "threads", 0, OPT_COUNT, &opt_standard.threads, "N", "threads; 0: one per CPU", "1024" },    \
        { "quiet", 0, OPT_FLAG, &opt_standard.quiet, 0, "print only warnings and errors", 0 },     \
    {                                                                                              \
        "progress", 0, OPT_WORD, &opt_standard.progress, "HOW",                                    \
            "bar on a terminal, a line now and then elsewhere, or none", "auto|bar|line|none"      \
    }
/* clang-format on */

#endif
