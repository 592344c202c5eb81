/* conversations.h - carries what an adapter learned from conversations into the result: the token
 * at which it ends an answer, and warnings where the result has another chat template.
 */
#ifndef LONGQLORA_MERGE_CONVERSATIONS_H
#define LONGQLORA_MERGE_CONVERSATIONS_H

#include "tools/merge/options.h"

/* Adds the tokens at which the adapters' templates end an answer to the result's end tokens: those
 * of l->config.json and of the generation_config.json among the companions. Prints what was added.
 * Dies if it fails. */
void conversations_add_ends(const struct options *o, struct loaded *l, const struct parts *parts,
                            struct companions *companions);
/* Warns if an adapter was trained with another template than a further adapter, or than the
 * chat_template that the result gets, or if the result gets none. */
void conversations_compare(const struct options *o, const struct parts *parts);

#endif
