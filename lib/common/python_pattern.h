/* python_pattern.h - regular expressions as Python's re means them, over names of ASCII.
 *
 * PEFT's adapter_config.json has such patterns. They are matched with PCRE2; what PCRE2 and
 * Python 3.11 take otherwise, and what only one of them knows, is refused by name. Python's manual
 * of re is the reference.
 */
#ifndef LONGQLORA_PYTHON_PATTERN_H
#define LONGQLORA_PYTHON_PATTERN_H

#include "lib/common/fail.h"

#include <stdbool.h>

enum { PYTHON_PATTERN_MAX = 64 << 10 }; /* bytes of a pattern */

struct python_pattern;

/* whole: the pattern must match all of a name, as re.fullmatch; else only its beginning, as
 * re.match. The messages begin with the pattern. */
int python_pattern_open(struct python_pattern **p, const char *text, bool whole,
                        struct fail *why) MUST_USE;
/* NULL is allowed. */
void python_pattern_close(struct python_pattern *p);

/* 1: it matches, 0: it does not. Fails for a pattern that takes too many steps. */
int python_pattern_match(struct python_pattern *p, const char *name, struct fail *why) MUST_USE;
/* The number that the last match's group `name` holds; -1 if it holds none. */
long long python_pattern_number(const struct python_pattern *p, const char *group);

#endif
