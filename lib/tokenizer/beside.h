/* beside.h - reads the files beside a tokenizer: tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json. Only files of lib/tokenizer include it. */
#ifndef LONGQLORA_TOKENIZER_BESIDE_H
#define LONGQLORA_TOKENIZER_BESIDE_H

#include "lib/tokenizer/tokenizer_internal.h"

/* ---- tokens that the files call special (named.c) ---- */

struct named_tokens {
    /* bos_token, eos_token and so on; each value is a text, or an object with its content */
    json_t *names;
    json_t *own;   /* other keys that end in _token, such as image_token */
    json_t *extra; /* the list extra_special_tokens; a JSON null, or NULL if the key is missing */
    json_t *early; /* `extra` as it was before additional_special_tokens of the map replaced it */
};

/* Collects the named tokens. `map` is special_tokens_map.json, or NULL if transformers does not
 * read that file. Fails if transformers would raise an error. Call named_release in any case. */
int named_read(struct named_tokens *n, const json_t *config, const json_t *map, struct fail *why);
void named_release(struct named_tokens *n);
/* The text of a token's value, which is a text or an object with "content". NULL if it has none. */
const char *named_content(const json_t *value);
/* Returns the value of the key ("bos_token"), or NULL if the key is missing. */
const json_t *named_value(const struct named_tokens *n, const char *key);
/* Do the files name this token as special? This decides whether a token of added_tokens.json is
 * special. */
bool named_has(const struct named_tokens *n, const char *text);
/* Calls visit for each named token, in transformers' order. has_name is false for the tokens of the
 * list extra_special_tokens. */
typedef int named_visit(void *of, const json_t *value, bool has_name, struct fail *why);
int named_each(const struct named_tokens *n, named_visit *visit, void *of, struct fail *why);

/* ---- a tokenizer.model and a tokenizer.json in one folder (pair.c) ---- */

/* Reads the tokenizer.json in the folder of a tokenizer.model. *json becomes the file without its
 * vocabulary and merges; NULL if there is no such file. The caller releases it. Fails if the two
 * differ in pieces, merges or in what they do to text. `folder` ends with a slash, or is "". */
int pair_read(const struct tokenizer *t, const char *folder, json_t **json, struct fail *why);

/* ---- the tokenizer class that transformers makes from a tokenizer.json (class.c) ---- */

/* Compares tokenizer.json with the tokenizer that transformers makes from the same files. If they
 * differ, the tokenizer's remark says so. If a key of tokenizer_config.json asks for the
 * difference, the call fails. `file_tokens` is the number of added tokens that are from
 * tokenizer.json. `folder` ends with a slash, or is "". */
int class_check(struct tokenizer *t, const char *folder, const json_t *config,
                const struct named_tokens *named, size_t file_tokens, struct fail *why);

#endif
