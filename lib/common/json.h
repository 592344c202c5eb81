/* json.h - JSON files by jansson, strictly: no duplicate keys, limits on size, depth and the memory
 * of the tree, and getters that fail by name.
 */
#ifndef LONGQLORA_JSON_H
#define LONGQLORA_JSON_H

#include "lib/common/fail.h"

#include <jansson.h>
#include <stdint.h>

enum {
    JSON_FILE_MAX = 64 << 20,
    JSON_DEPTH_MAX = 512,
    /* A tree may take so many times the memory of its text, or so much where that is more. */
    JSON_TREE_TIMES = 32,
    JSON_TREE_LEAST = 16 << 20,
};

/* Calls `lost`, which does not return, when memory is out while a value is made rather than read:
 * an object that lost a value for want of a few bytes must never be written. */
void json_when_memory_is_lost(void (*lost)(void));

/* The caller decrefs what it gets; NULL on failure. name stands in messages. */
json_t *json_read_file(const char *path, struct fail *why);
json_t *json_read_text(const char *text, size_t bytes, const char *name, struct fail *why);
/* All numbers are real ones: in tokenizer_config.json one may have 31 digits. */
json_t *json_read_file_of_reals(const char *path, struct fail *why);
/* A line of a file, which the message has no place in. flags: jansson's, besides that keys must not
 * stand twice. */
json_t *json_read_line(const char *text, size_t bytes, size_t flags, struct fail *why);

/* With two-space indentation, keys in insertion order, and a newline; the caller frees. NULL: out
 * of memory. */
char *json_text(const json_t *value);
/* Writes that, whole or not at all. */
int json_write_file(const json_t *value, const char *path, struct fail *why) MUST_USE;

/* Absent keys leave *value as it is; a wrong type or a value out of range fails. */
int json_get_count(const json_t *object, const char *key, int64_t most, int64_t *value,
                   struct fail *why) MUST_USE;
int json_get_real(const json_t *object, const char *key, double *value, struct fail *why) MUST_USE;
int json_get_flag(const json_t *object, const char *key, bool *value, struct fail *why) MUST_USE;

/* The key of the first list of objects, which may be a file's records; NULL: there is none. */
const char *json_key_of_records(const json_t *object);

#endif
