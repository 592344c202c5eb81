/* fail.h - why a call failed, in words fit to print.
 *
 * Library functions return 0 (or more) on success and -1 (or NULL) on failure;
 * on failure the text names the input, the place in it and what was wrong.
 * Nothing below tools/ prints or exits.
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
    enum status status; /* what a tool that gives up exits with */
};

/* Writes the text and returns -1, so that a check fits on one line:
 *     if (id >= vocab) return fail_input(why, "token %u, vocabulary %u", id, vocab);
 * fail is for the world (status 1), fail_input for damaged or unfit data (3),
 * fail_usage for a wrong command or recipe (2).
 */
#define fail(why, ...) (fail_with((why), STATUS_FAILED, __VA_ARGS__), fail_status())
#define fail_input(why, ...) (fail_with((why), STATUS_INPUT, __VA_ARGS__), fail_status())
#define fail_usage(why, ...) (fail_with((why), STATUS_USAGE, __VA_ARGS__), fail_status())

/* Puts "prefix: " before the text that is there; returns -1. */
#define fail_in(why, prefix) (fail_prefix((why), (prefix)), fail_status())

void fail_with(struct fail *why, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
void fail_prefix(struct fail *why, const char *prefix);
/* Puts `to` in the place of `from`, where that stands in the text: the name that the user knows
 * for one that only we do. */
void fail_rename(struct fail *why, const char *from, const char *to);
/* Copies what fits. Where it does not, the middle gives way, in whole characters: a message begins
 * with a place, which may be long, and ends with the reason. */
void fail_fit(char *text, size_t size, const char *whole);
/* In sight, so that compilers and analysers know what a failure returns. */
static inline int fail_status(void) { return -1; }

/* Our own mistake: prints expression and place, aborts; stays on in release. */
#define must(condition) ((condition) ? (void)0 : fail_must(#condition, __FILE__, __LINE__))
void fail_must(const char *expression, const char *file, int line) NORETURN;

#endif
