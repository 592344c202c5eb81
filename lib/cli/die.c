#include "lib/cli/die.h"

#include "lib/common/file.h"
#include "lib/common/json.h"
#include "lib/common/mapped.h"
#include "lib/common/message.h"
#include "lib/common/output.h"
#include "lib/common/output_dir.h"
#include "lib/common/process.h"
#include "lib/common/signals.h"
#include "lib/common/target.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

static const char *tool_name = "longqlora";
static bool is_quiet;
/* note_transient has printed the last line on the terminal. */
static volatile sig_atomic_t shows_transient;
/* Moves to the beginning of the terminal's line and clears it. */
static const char clear_line[] = "\r\033[K";

void note_transient_ends(void)
{
    if (shows_transient) message_write(clear_line, sizeof clear_line - 1);
    shows_transient = 0;
}

/* Writes one line with a single call. Allocates nothing, because signal handlers call it too. */
static void print_line_of(const char *text, bool is_transient)
{
    char line[LINE_BYTES + 64];
    size_t before = 0, columns = is_transient ? message_columns() : 0;
    if (is_transient || shows_transient) {
        before = sizeof clear_line - 1;
        memcpy(line, clear_line, before);
    }
    size_t name = strnlen(tool_name, LINE_BYTES / 4), length = strlen(text);
    memcpy(line + before, tool_name, name);
    memcpy(line + before + name, ": ", 2);
    name += 2;
    if (length > LINE_BYTES - name) length = LINE_BYTES - name;
    memcpy(line + before + name, text, length);
    length = message_mask(line + before, name + length);
    if (columns) length = message_fit(line + before, length, columns - 1);
    length += before;
    if (!is_transient) line[length++] = '\n';
    shows_transient = is_transient;
    message_write(line, length);
}

void die_by_signal(int signal_number)
{
    note_transient_ends();
    output_remove_pending();
    folder_remove_pending();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* Handles SIGBUS. If the address is in a mapped file, the file has become shorter. */
static void end_by_loss(const void *address)
{
    static const char why[] = ": changed while it was read: begin again";
    char text[LINE_BYTES / 2];
    const char *name = mapped_name(address);
    output_remove_pending();
    folder_remove_pending();
    if (!name) {
        print_line_of("a bus error: memory could not be read or allocated", false);
        return;
    }
    fail_fit(text, sizeof text - sizeof why, name);
    memcpy(text + strlen(text), why, sizeof why);
    print_line_of(text, false);
    _exit(STATUS_INPUT);
}

/* Fails at exit if something that was printed through stdio could not be written. */
static void check_standard_output(int status, void *unused)
{
    (void)unused;
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout)) return;
    if (errno)
        warn("standard output: cannot write: %s", strerror(errno));
    else
        warn("standard output: cannot write");
    if (status == STATUS_DONE) _exit(STATUS_FAILED);
}

static void end_without_memory(void) { die(STATUS_FAILED, "out of memory"); }

/* Ends the program when the main thread's stack is too small. On such a stack the program can do
 * little more than print a line. */
static void end_without_stack(size_t limit, size_t needed)
{
    char text[160];
    snprintf(text, sizeof text, "a stack of %zu KiB (ulimit -s) is too small: %zu KiB are needed",
             limit >> 10, needed >> 10);
    print_line_of(text, false);
    _exit(STATUS_FAILED);
}

void die_init(const char *tool, bool quiet)
{
    static bool has_begun;
    tool_name = tool;
    is_quiet = quiet;
    if (has_begun) return;
    has_begun = true;
    size_t limit, needed;
    if (!process_has_stack(&limit, &needed)) end_without_stack(limit, needed);
    process_begin();
    json_on_out_of_memory(end_without_memory);
    signals_handle_ends(die_by_signal, false);
    signal_handle(SIGPIPE, die_by_signal, false); /* nobody reads standard output any more */
    signals_handle_bus(mapped_fill, end_by_loss);
    on_exit(check_standard_output, NULL);
}

static void print_message(const char *format, va_list args, bool is_transient)
{
    char text[LINE_BYTES - 64];
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(text, sizeof text, format, args);
    char *whole = length >= (int)sizeof text ? malloc((size_t)length + 1) : NULL;
    if (whole) {
        vsnprintf(whole, (size_t)length + 1, format, again);
        fail_fit(text, sizeof text, whole);
        free(whole);
    }
    va_end(again);
    print_line_of(text, is_transient);
}

static unsigned seconds_to_wait;

void die_waits(unsigned seconds) { seconds_to_wait = seconds; }

void die(enum status status, const char *format, ...)
{
    va_list args;
    if (seconds_to_wait) sleep(seconds_to_wait);
    va_start(args, format);
    print_message(format, args, false);
    va_end(args);
    output_remove_pending();
    folder_remove_pending();
    exit(status);
}

void die_fail(const struct fail *why) { die(why->status, "%s", why->text); }

void die_usage(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) die(STATUS_FAILED, "out of memory");
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
    print_message(format, args, false);
    va_end(args);
}

void note(const char *format, ...)
{
    if (is_quiet) return;
    va_list args;
    va_start(args, format);
    print_message(format, args, false);
    va_end(args);
}

void note_in_handler(const char *text)
{
    if (!is_quiet) print_line_of(text, false);
}

void note_transient(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_message(format, args, true);
    va_end(args);
}

/* Is the path a terminal? The driver number of the device tells it (consoles, /dev/tty, serial
 * lines, pseudo terminals; see the kernel's devices.txt). The device is not opened, because opening
 * it may have effects. */
static bool is_terminal(const char *path)
{
    enum { CONSOLES = 4, TTY = 5, FIRST_PTS = 136, LAST_PTS = 143 };
    struct stat st;
    if (stat(path, &st) || !S_ISCHR(st.st_mode)) return false;
    unsigned driver = major(st.st_rdev);
    return driver == CONSOLES || driver == TTY || (driver >= FIRST_PTS && driver <= LAST_PTS);
}

void die_if_terminal(const char *output)
{
    if (!strcmp(output, "-") && isatty(STDOUT_FILENO))
        die_usage("standard output is a terminal: name a file with -o, or pipe");
    if (is_terminal(output)) die_usage("%s is a terminal: name a file with -o", output);
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

bool warn_of_links(const char *path)
{
    struct fail ignored;
    struct target t;
    if (!strcmp(path, "-") || target_find(&t, path, &ignored) || t.kind != TARGET_FILE ||
        !t.exists || t.st.st_nlink < 2)
        return false;
    warn("%s: has another name too (a hard link), which keeps the old content: to change both, "
         "write another file and copy it over this one with cp",
         path);
    return true;
}

void warn_of_links_in(const char *folder)
{
    DIR *dir = opendir(folder);
    bool is_told = false;
    for (const char *name; dir && !is_told && (name = file_next_name(dir));) {
        char path[4096 + 256];
        snprintf(path, sizeof path, "%.3800s/%s", folder, name);
        is_told = warn_of_links(path);
    }
    if (dir) closedir(dir);
}

void die_unless_writable(const char *option, const char *path)
{
    struct fail why;
    or_die(output_declare(option, path, &why), &why);
    (void)warn_of_links(path);
}
