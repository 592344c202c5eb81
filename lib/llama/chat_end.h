/* chat_end.h - adds the token that ends the answers of conversations to a model's end tokens.
 *
 * A model that is trained on conversations ends its answers at the token at which their template
 * ends them. The base may end answers at another token. For example, a base that is trained with
 * chatml has only </s> as eos_token_id, but ends its answers at <|im_end|>. Other programs read
 * the end tokens from the model's files, and without this token they write past the end.
 */
#ifndef LONGQLORA_LLAMA_CHAT_END_H
#define LONGQLORA_LLAMA_CHAT_END_H

#include "lib/llama/companions.h"
#include "lib/stream/template_record.h"

#include <jansson.h>

struct chat_end_job {
    const struct template_record *template; /* of the conversations; may have no name */
    const char *tokenizer; /* the directory or GGUF file of the model's tokenizer; NULL: none */
    json_t *config;        /* the content of the model's config.json */
    /* The files that are copied with it; may be NULL. The eos_token_id of a generation_config.json
     * among them replaces that of `config`. */
    struct companions *companions;
};

/* What the user should know, or "". */
struct chat_end_notes {
    char added[160]; /* the id and the text of the token that was added */
    char lack[500];  /* why the token is not known, so that nothing was added */
};

/* Adds the token to the eos_token_id of config.json, and of generation_config.json if there is one,
 * unless the model has it already. Does nothing if the template has no name. */
int chat_end_add(const struct chat_end_job *job, struct chat_end_notes *notes,
                 struct fail *why) MUST_USE;

#endif
