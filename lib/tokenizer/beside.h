/* beside.h - reads the files beside a tokenizer: tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json. Only files of lib/tokenizer include it. */
#ifndef LONGQLORA_TOKENIZER_BESIDE_H
#define LONGQLORA_TOKENIZER_BESIDE_H

#include "lib/tokenizer/tokenizer_internal.h"

/* ---- tokens that the files name as special (named.c) ---- */

struct named_tokens {
    /* bos_token, eos_token and so on; each value is a text, or an object with its content */
    json_t *names;
    json_t *own;   /* other keys that end in _token, such as image_token */
    json_t *extra; /* the list extra_special_tokens; a JSON null, or NULL */
    json_t *early; /* the same list before additional_special_tokens of the map replaced it */
};

/* Collects the named tokens. map: special_tokens_map.json, or NULL where transformers does not read
 * it. Fails where transformers raises an error. Call named_release in both cases. */
int named_read(struct named_tokens *n, const json_t *config, const json_t *map, struct fail *why);
void named_release(struct named_tokens *n);
/* The text of a token's value, which is a text or an object with "content". NULL if it has none. */
const char *named_content(const json_t *value);
/* The value of the key ("bos_token"); NULL if it is missing. */
const json_t *named_value(const struct named_tokens *n, const char *key);
/* Is this token named? A token of added_tokens.json is special if it is. */
bool named_has(const struct named_tokens *n, const char *text);
/* Calls visit for each named token, in transformers' order. has_name is false for tokens of the
 * list. */
typedef int named_visit(void *of, const json_t *value, bool has_name, struct fail *why);
int named_each(const struct named_tokens *n, named_visit *visit, void *of, struct fail *why);

/* ---- the tokenizer class that transformers makes from a tokenizer.json (class.c) ---- */

/* Compares tokenizer.json with the tokenizer that transformers makes from the same files. If they
 * differ, the tokenizer's remark says so; if a key of tokenizer_config.json asks for the
 * difference, the call fails. file_tokens: how many of the added tokens are from tokenizer.json.
 * folder: ends with a slash, or is "". */
int class_check(struct tokenizer *t, const char *folder, const json_t *config,
                const struct named_tokens *named, size_t file_tokens, struct fail *why);

#endif
