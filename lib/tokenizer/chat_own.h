/* chat_own.h - which of our templates a model's own chat_template is.
 *
 * Programs that serve a model format prompts by its chat_template. If the model was trained with
 * another template, they should not, and a warning says so.
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_OWN_H
#define LONGQLORA_TOKENIZER_CHAT_OWN_H

#include "lib/common/digest.h"

#include <stdbool.h>

struct chat_own {
    bool is_there;            /* the model has a chat_template */
    char place[4200];         /* the file that has it */
    char name[400];           /* what it is, for messages: "chatml of Qwen/Qwen2-7B-Instruct" */
    char digest[DIGEST_TEXT]; /* of our template for it; "" if there is none */
};

/* Finds the chat_template of a model's directory or GGUF file, which also has its tokenizer. NULL:
 * there is none. A chat_template that cannot be read is none of ours; own->name says why. */
void chat_own_find(struct chat_own *own, const char *place);
/* Is it the template of that digest? */
bool chat_own_is(const struct chat_own *own, const char *digest);

#endif
