/* beside.h - what the files beside a tokenizer say; for tokenizer*.c only. */
#ifndef LONGQLORA_TOKENIZER_BESIDE_H
#define LONGQLORA_TOKENIZER_BESIDE_H

#include "lib/tokenizer/tokenizer_internal.h"

/* ---- the tokens that are named (named.c) ---- */

struct named_tokens {
    json_t *names; /* bos_token and the like: a text, or an object with its content */
    json_t *own;   /* by other names that end in _token */
    json_t *extra; /* a list, null, or NULL */
    json_t *early; /* the same before additional_special_tokens of the map stands in for it */
};

/* map: special_tokens_map.json, or NULL where it is not read. Fails where transformers raises.
 * Release it in either case. */
int named_read(struct named_tokens *n, const json_t *config, const json_t *map, struct fail *why);
void named_release(struct named_tokens *n);
/* The text of a token, which is a text or an object; NULL: it has none. */
const char *named_content(const json_t *value);
const json_t *named_value(const struct named_tokens *n, const char *key);
/* Is a token of added_tokens.json special, since it is named? */
bool named_has(const struct named_tokens *n, const char *text);
/* Each of them in transformers' order; has_name: not of the list. */
typedef int named_visit(void *of, const json_t *value, bool has_name, struct fail *why);
int named_each(const struct named_tokens *n, named_visit *visit, void *of, struct fail *why);

/* ---- the class that transformers makes of a tokenizer.json (class.c) ---- */

/* Does transformers make of these files what tokenizer.json says? A difference is remembered as the
 * tokenizer's remark; one that a key of tokenizer_config.json asks for fails. file_tokens: of the
 * added tokens so many are tokenizer.json's own. folder: ends with a slash, or is empty. */
int class_check(struct tokenizer *t, const char *folder, const json_t *config,
                const struct named_tokens *named, size_t file_tokens, struct fail *why);

#endif
