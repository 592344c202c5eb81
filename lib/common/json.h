/* json.h - reads and writes JSON files with jansson. Reading is strict: a repeated key, too large
 * or too deep a file, or a tree that takes too much memory is an error. Getters name the key that
 * is wrong. */
#ifndef LONGQLORA_JSON_H
#define LONGQLORA_JSON_H

#include "lib/common/fail.h"

#include <jansson.h>
#include <stdint.h>

enum {
    JSON_FILE_MAX = 64 << 20,
    JSON_DEPTH_MAX = 512,
    /* The tree of a text may take JSON_TREE_TIMES as many bytes as the text, or JSON_TREE_MIN
     * bytes if that is more. */
    JSON_TREE_TIMES = 32,
    JSON_TREE_MIN = 16 << 20,
};

/* Sets the function to call when memory runs out while JSON is built (not read). It must not
 * return, because an object that lacks a value must never be written. */
void json_on_out_of_memory(void (*handler)(void));

/* Each returns a new reference that the caller decrefs, or NULL with *why. `name` is used in
 * messages. A whole number of more than 64 bits is read as a real number. */
json_t *json_read_file(const char *path, struct fail *why);
json_t *json_read_text(const char *text, size_t bytes, const char *name, struct fail *why);
/* Reads one line of a file. The message does not name the place; the caller adds it. `flags` are
 * jansson's; a repeated key is an error in any case. */
json_t *json_read_line(const char *text, size_t bytes, size_t flags, struct fail *why);
/* Like json_read_line, for a user's data. A whole number of more than 64 bits, or a real number
 * that overflows, is read as an object, so that it is neither a number nor a text. *has_large
 * becomes true if there is one. */
json_t *json_read_data(const char *text, size_t bytes, size_t flags, bool *has_large,
                       struct fail *why);
/* Returns the text of a value of json_read_data without white space, with these numbers as they
 * were. The caller frees it; NULL means out of memory. */
char *json_data_text(const json_t *value, bool has_large);
/* Like json_read_line, but reads every number as a real number. A number that is too large for one
 * becomes 9e307, because it may belong to a key that is not used. */
json_t *json_read_line_of_reals(const char *text, size_t bytes, size_t flags, struct fail *why);

/* Returns the text with two-space indentation, keys in insertion order and a final newline. The
 * caller frees it. NULL means out of memory. */
char *json_text(const json_t *value);
/* Writes the text of json_text to a file, which is complete or absent. */
int json_write_file(const json_t *value, const char *path, struct fail *why) MUST_USE;

/* Each reads the value of a key. If the key is absent, *value stays as it is. A wrong type, or a
 * number out of range, fails. A count is an integer from 0 to `max`. For a real number or a flag,
 * null counts as absent; for a count, null is a wrong type. */
int json_get_count(const json_t *object, const char *key, int64_t max, int64_t *value,
                   struct fail *why) MUST_USE;
int json_get_real(const json_t *object, const char *key, double *value, struct fail *why) MUST_USE;
int json_get_flag(const json_t *object, const char *key, bool *value, struct fail *why) MUST_USE;

/* Returns the text under a key, or "" if there is none. */
const char *json_get_text(const json_t *object, const char *key);

/* Finds the value at a path such as "meta.set". Each part of the path is a key, or several parts
 * joined by dots are one key; a value that is nested deeper is preferred. NULL if there is none. */
const json_t *json_at_path(const json_t *object, const char *path);

enum { JSON_WHOLE_TEXT = 24 };
/* Writes the value of number[bytes], a number in JSON's syntax, into text[JSON_WHOLE_TEXT]: all its
 * digits, without point and exponent. Returns false if the value is no whole number, or is not from
 * -2^63 to 2^64 - 1. */
bool json_whole_text(const char *number, size_t bytes, char *text);

/* Returns the first key whose value is a list that begins with an object of which `is_record` is
 * true, because these objects are probably the file's records. Returns NULL if there is no such
 * key. */
const char *json_key_of_records(const json_t *object, bool (*is_record)(const json_t *element));

#endif
