/* wording.h - the template that --chat asks for, and what is known of the one that the adapter was
 * trained with. Used by run.c only.
 */
#ifndef LONGQLORA_GENERATE_WORDING_H
#define LONGQLORA_GENERATE_WORDING_H

#include "lib/tokenizer/chat_template.h"
#include "tools/generate/run.h"

/* "auto" is the template that the adapter was trained with, if it says so, else that of the
 * tokenizer that was named, of the adapter's folder or of the model's. Says which it is, and warns
 * of another one than the adapter's. Dies if there is none that fits the tokenizer. */
void wording_choose(struct chat_template *t, const struct options *o, const struct loaded *l,
                    const struct tokenizer *tokenizer);

/* Where nobody asked for a conversation: says that the adapter knows conversations. */
void wording_remark(const struct loaded *l);

#endif
