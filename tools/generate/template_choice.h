/* template_choice.h - chooses the chat template for --chat, and compares it with the one that the
 * adapter was trained with. Only run.c includes it.
 */
#ifndef LONGQLORA_GENERATE_TEMPLATE_CHOICE_H
#define LONGQLORA_GENERATE_TEMPLATE_CHOICE_H

#include "lib/tokenizer/chat_template.h"
#include "lib/tokenizer/end_tokens.h"
#include "tools/generate/run.h"

/* Opens the template that --chat names. "auto" is the template that the adapter was trained with,
 * if the adapter names one. Otherwise it is the template that belongs to the tokenizer of
 * --tokenizer, to the adapter's folder, or to the model. Prints which template it is, and warns if
 * it is not the adapter's. Dies if no template fits the tokenizer. */
void template_choice_make(struct chat_template *t, const struct options *o, const struct loaded *l,
                          const struct tokenizer *tokenizer);

/* Prints that the adapter was trained on conversations, if --chat is absent. */
void template_choice_remark(const struct loaded *l);
/* Adds the token at which the adapter's template ends an answer, as merge adds it to the end tokens
 * of a merged model. Adds nothing if the tokenizer does not have the template's tokens. */
void template_choice_add_end(struct end_tokens *ends, const struct loaded *l,
                             const struct tokenizer *tokenizer);

#endif
