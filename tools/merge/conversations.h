/* conversations.h - carries what an adapter learned from conversations into the result: the token
 * at which it ends an answer.
 */
#ifndef LONGQLORA_MERGE_CONVERSATIONS_H
#define LONGQLORA_MERGE_CONVERSATIONS_H

#include "tools/merge/options.h"

/* Adds the tokens at which the adapters' templates end an answer to the result's end tokens: those
 * of l->config.json and of the generation_config.json among the companions. Prints what was added.
 * Dies if it fails. */
void conversations_add_ends(const struct options *o, struct loaded *l, const struct parts *parts,
                            struct companions *companions);

#endif
