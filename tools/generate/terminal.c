/* terminal.c - holds a conversation on the terminal. */
#include "lib/cli/die.h"
#include "lib/common/message.h"
#include "lib/common/signals.h"
#include "lib/common/utf8.h"
#include "tools/generate/talk.h"

#include <langinfo.h>
#include <locale.h>
#include <unistd.h>
#if defined(HAVE_LIBEDIT)
#include <editline/readline.h>
#endif

static volatile sig_atomic_t is_answering, was_interrupted;

const volatile int *talk_interrupted(void) { return &was_interrupted; }

static void interrupt(int number)
{
    if (is_answering && !was_interrupted) {
        was_interrupted = 1;
        return;
    }
    die_by_signal(number);
}

/* Reads a line that the terminal's own editing made. The caller frees it. NULL: end of input. */
static char *plain_line(void)
{
    char *line = NULL;
    size_t capacity = 0;
    message_write("> ", 2);
    ssize_t n = getline(&line, &capacity, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    if (n && line[n - 1] == '\n') line[n - 1] = 0;
    return line;
}

#if defined(HAVE_LIBEDIT)
/* libedit drops every character that LC_CTYPE's encoding lacks. So the locale of the environment is
 * used, and C.UTF-8 if there is none, or if it knows only ASCII. Returns false if there is no such
 * locale. */
static bool set_encoding(void)
{
    static const char ascii[] = "ANSI_X3.4-1968";
    if (setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), ascii) != 0) return true;
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL;
}

static char *edited_line(void)
{
    /* The typed line is shown on standard error, unless standard output is the terminal too. */
    if (!isatty(STDOUT_FILENO)) rl_outstream = stderr;
    rl_inhibit_completion = 1; /* a tab is text, and names no file */
    char *line = readline("> ");
    if (line && *line) add_history(line);
    return line;
}

/* Reads the next line, which the caller frees. NULL: end of input. The locale is C everywhere else,
 * so that no other text depends on it. */
static char *ask_user(void)
{
    char *line = set_encoding() ? edited_line() : plain_line();
    setlocale(LC_CTYPE, "C");
    return line;
}
#else
static char *ask_user(void) { return plain_line(); }
#endif

static int one_turn(struct talk *t, const char *prompt, struct answer *a, bool shows_ids,
                    struct fail *why)
{
    size_t dropped;
    int64_t most = t->g->max_tokens, quarter = t->context / 4;
    if (utf8_valid_prefix(prompt, strlen(prompt)) < strlen(prompt)) {
        warn("invalid UTF-8: not answered (does the terminal have another encoding?)");
        return 0;
    }
    if (talk_ask(t, prompt, most < quarter ? most : quarter, &dropped, why)) {
        if (why->status != STATUS_INPUT) return -1;
        warn("%s", why->text);
        return 0;
    }
    if (dropped) note("the context is full: the oldest %zu turns are forgotten", dropped);
    if (shows_ids) generator_note_ids("ids", t->ids.ids, (int64_t)t->ids.count);
    is_answering = 1;
    was_interrupted = 0;
    int status = generator_answer(t->g, t->ids.ids, (int64_t)t->ids.count, a, why);
    is_answering = 0;
    if (status || generator_check_model(t->g, why)) return -1;
    if (write(1, "\n", 1) != 1) return fail(why, "standard output: cannot write: %m");
    if (a->ending == END_INTERRUPTED && !a->count) {
        talk_drop(t, t->count - 1, 1);
        note("stopped before the answer began: the question is forgotten");
        return 0;
    }
    if (a->ending == END_CONTEXT) note("the context of %lld tokens is full", (long long)t->context);
    return talk_answered(t, a, why);
}

int talk_on_terminal(struct talk *t, struct answer *a, bool shows_ids, struct fail *why)
{
    /* With SA_RESTART a write to a slow terminal is completed after ^C, not lost. */
    signal_handle(SIGINT, interrupt, true);
    int status = 0;
    for (char *line; !status && (line = ask_user());) {
        if (!talk_is_blank(line)) status = one_turn(t, line, a, shows_ids, why);
        free(line);
    }
    if (!status) message_write("\n", 1);
    return status;
}
