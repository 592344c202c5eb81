/* python_pattern.h - matches ASCII names with regular expressions in the syntax of Python's re.
 *
 * PEFT's adapter_config.json contains such patterns. They are matched with PCRE2. Syntax that PCRE2
 * and Python 3.11 interpret differently, or that only one of them knows, is refused, and the
 * message names it. Source: the manual of Python's module re.
 */
#ifndef LONGQLORA_PYTHON_PATTERN_H
#define LONGQLORA_PYTHON_PATTERN_H

#include "lib/common/fail.h"

#include <stdbool.h>

enum { PYTHON_PATTERN_MAX = 64 << 10 }; /* bytes of a pattern */

struct python_pattern;

/* Compiles a pattern. whole: it must match a whole name, as re.fullmatch; otherwise it must match
 * at a name's beginning, as re.match. Messages begin with the pattern. The caller closes *p. */
int python_pattern_open(struct python_pattern **p, const char *text, bool whole,
                        struct fail *why) MUST_USE;
/* p may be NULL. */
void python_pattern_close(struct python_pattern *p);

/* Returns 1 if the name matches, 0 if it does not. Fails if matching takes too many steps. */
int python_pattern_match(struct python_pattern *p, const char *name, struct fail *why) MUST_USE;
/* The number in the group called `group` of the last match; -1 if that group is no number, or one
 * of 2^63 or more. */
long long python_pattern_number(const struct python_pattern *p, const char *group);

#endif
