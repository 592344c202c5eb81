/* json_member.h - finds and replaces one member of a JSON object in its text. No other byte
 * changes, so keys keep their order, and integers of 31 digits keep all their digits. */
#ifndef LONGQLORA_COMMON_JSON_MEMBER_H
#define LONGQLORA_COMMON_JSON_MEMBER_H

#include "lib/common/fail.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Where the value of the key stands: text[at .. at + length). */
struct json_member {
    size_t at, length;
};

/* Finds the member with that key; of several the last one, which counts in Python. Returns 1, 0 if
 * there is none, or -1 if the text is not a JSON object; name is used in the message. */
int json_member_find(const char *text, size_t bytes, const char *key, const char *name,
                     struct json_member *member, struct fail *why) MUST_USE;
/* Reads the value, which must be an object or a list. *value is NULL if there is no such member, or
 * if it is null; otherwise the caller decrefs it. */
int json_member_read(const char *text, size_t bytes, const char *key, const char *name,
                     json_t **value, struct fail *why) MUST_USE;
/* Replaces the value, or appends the member. The text has no NUL byte and at most 1 GiB. Both the
 * old *text and the new one are memory from malloc. */
int json_member_set(char **text, size_t *bytes, const char *key, const char *name,
                    const json_t *value, struct fail *why) MUST_USE;

#endif
