/* end_tokens.h - the tokens that end an answer, which a model's files call eos_token_id.
 *
 * generation_config.json may name them. If it does, they replace those of config.json. For example,
 * Qwen2.5-Instruct has one id in config.json, but two in generation_config.json.
 */
#ifndef LONGQLORA_TOKENIZER_END_TOKENS_H
#define LONGQLORA_TOKENIZER_END_TOKENS_H

#include "lib/common/fail.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { END_TOKENS_MAX = 64 };

struct end_tokens {
    uint32_t ids[END_TOKENS_MAX + 1]; /* the last entry is for one more id from elsewhere */
    int count;
};

bool end_tokens_have(const struct end_tokens *e, uint32_t id);
/* Adds an id, unless the list already has it. */
void end_tokens_add(struct end_tokens *e, uint32_t id);
/* Sets *e to the value of eos_token_id: a token number, or a list of these. NULL and null mean that
 * there are none. Fails if the value is something else, or has more than END_TOKENS_MAX items. */
int end_tokens_parse(struct end_tokens *e, const json_t *value, struct fail *why) MUST_USE;
/* Copies the eos_token_id of the folder's generation_config.json into `config`, the content of a
 * config.json. Without this file, or without ids in it, and if `folder` is not a folder, `config`
 * stays as it is. Fails if the file cannot be read, or if its eos_token_id is not valid; the
 * message begins with the file's path. */
int end_tokens_read_generation_config(json_t *config, const char *folder,
                                      struct fail *why) MUST_USE;
/* Returns the ids as a value for eos_token_id: a number if there is one id, else a list. The caller
 * frees it; NULL if memory runs out. */
json_t *end_tokens_json(const struct end_tokens *e);

#endif
