#include "die.h"

#include "folder.h"
#include "json.h"
#include "output.h"
#include "signals.h"

#include <stdarg.h>
#include <unistd.h>

static const char *tool_name = "longqlora";
static bool is_quiet;
static volatile sig_atomic_t is_passing; /* the last line is a passing one */

/* Goes to the beginning of the terminal's line and clears it. */
static const char clear_line[] = "\r\033[K";

void note_passing_ends(void)
{
    if (is_passing && write(STDERR_FILENO, clear_line, sizeof clear_line - 1) < 0) return;
    is_passing = 0;
}

static void end_by_signal(int signal_number)
{
    note_passing_ends();
    output_remove_pending();
    folder_remove_pending();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* jansson's: an object that lost a value for want of a few bytes is never written. */
static void *memory_or_die(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory) die(STATUS_FAILED, "out of memory");
    return memory;
}

void die_init(const char *tool, bool quiet)
{
    tool_name = tool;
    is_quiet = quiet;
    json_set_alloc_funcs(memory_or_die, free);
    signal_handle(SIGINT, end_by_signal, false);
    signal_handle(SIGTERM, end_by_signal, false);
    signal_handle(SIGHUP, end_by_signal, false);
}

static void say(const char *format, va_list args, bool passes)
{
    char line[1024];
    const char *before = passes || is_passing ? clear_line : "";
    int used = snprintf(line, sizeof line, "%s%s: ", before, tool_name);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    size_t length = (size_t)used + (more > 0 ? (size_t)more : 0);
    if (length > sizeof line - 2) length = sizeof line - 2;
    for (size_t i = strlen(before); i < length; i++)
        if ((unsigned char)line[i] < 32 || line[i] == 127) line[i] = '?';
    if (!passes) line[length++] = '\n';
    is_passing = passes;
    if (write(STDERR_FILENO, line, length) < 0) return; /* nobody to tell */
}

void die(enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args, false);
    va_end(args);
    output_remove_pending();
    folder_remove_pending();
    exit(status);
}

void die_fail(const struct fail *why) { die(why->status, "%s", why->text); }

void die_usage(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    die(STATUS_USAGE, "%s (see %s --help)", text, tool_name);
}

int or_die(int status, const struct fail *why)
{
    if (status < 0) die_fail(why);
    return status;
}

void warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args, false);
    va_end(args);
}

void note(const char *format, ...)
{
    if (is_quiet) return;
    va_list args;
    va_start(args, format);
    say(format, args, false);
    va_end(args);
}

void note_passing(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args, true);
    va_end(args);
}

void die_if_terminal(const char *output)
{
    if (!strcmp(output, "-") && isatty(STDOUT_FILENO))
        die_usage("standard output is a terminal: name a file with -o, or pipe");
}

void die_if_typed(const char *input, const char *what)
{
    if (!strcmp(input, "-") && isatty(STDIN_FILENO))
        die_usage("%s: standard input is a terminal: name a file, or pipe", what);
}

void note_if_typed(const char *input, const char *what)
{
    if (!strcmp(input, "-") && isatty(STDIN_FILENO))
        note("reading %s from the terminal, up to the end (^D on a line of its own)", what);
}
