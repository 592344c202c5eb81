/* fail.h - tells why a call failed, in words that can be printed.
 *
 * Library functions return 0 (or more) on success and -1 (or NULL) on failure. On failure the text
 * names the input, the place in it and what is wrong. Only code in tools/ and lib/cli prints or
 * exits.
 */
#ifndef LONGQLORA_FAIL_H
#define LONGQLORA_FAIL_H

#include "lib/common/compiler.h"

/* Exit statuses of every program. */
enum status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_INPUT = 3, /* an input is damaged or does not fit */
};

struct fail {
    char text[480];
    enum status status; /* the exit status of a tool that gives up because of this failure */
};

/* Each writes the text and returns -1, so that a check fits on one line:
 *     if (!count) return fail_input(why, "%s: it has no tokens", path);
 * Use fail when the system fails (status 1), fail_input when data are damaged or do not fit (3),
 * and fail_usage when a command or a recipe is wrong (2). */
#define fail(why, ...) (fail_with((why), STATUS_FAILED, __VA_ARGS__), fail_status())
#define fail_input(why, ...) (fail_with((why), STATUS_INPUT, __VA_ARGS__), fail_status())
#define fail_usage(why, ...) (fail_with((why), STATUS_USAGE, __VA_ARGS__), fail_status())

/* Puts "prefix: " before the text of *why and returns -1. */
#define fail_in(why, prefix) (fail_prefix((why), (prefix)), fail_status())

/* The functions behind the macros: fail_with writes the text and the status, fail_prefix puts
 * "prefix: " before the text. A text that is too long is shortened by fail_fit. */
void fail_with(struct fail *why, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
void fail_prefix(struct fail *why, const char *prefix);
/* Replaces the first `from` in the text by `to`, because the user may know a file or option by
 * another name than the code that failed. */
void fail_rename(struct fail *why, const char *from, const char *to);
/* Copies `whole` into text[size]. If `whole` is too long, whole characters are cut out of its
 * middle, because a message begins with a place, which may be long. The message ends with the
 * reason, which must stay. */
void fail_fit(char *text, size_t size, const char *whole);
/* This function is inline so that compilers and static analysers see that a failure returns -1. */
static inline int fail_status(void) { return -1; }

/* Asserts a condition that only a bug of this program can violate. If the condition is false,
 * prints it and its place in the source, and aborts. The check stays active in release builds. */
#define must(condition) ((condition) ? (void)0 : fail_must(#condition, __FILE__, __LINE__))
void fail_must(const char *expression, const char *file, int line) NORETURN;

#endif
