/* targets.h - which tokens of a sample are targets: the model learns to predict them, and they
 * count in the loss.
 *
 * A token is a target if it is in one of the sample's ranges of targets, or if the sample has no
 * such ranges. The first token of a sample is never a target, because nothing stands before it. If
 * no token sees another document than its own, the first token of each document is none either.
 */
#ifndef LONGQLORA_STREAM_TARGETS_H
#define LONGQLORA_STREAM_TARGETS_H

#include "lib/stream/tokens.h"

/* A walk over the tokens of a sample, from the first to the last. */
struct target_walk {
    const struct sample *s; /* borrowed */
    bool masks_documents;   /* no token sees another document than its own */
    size_t document, range;
    int64_t document_start, document_end; /* of the document that has the current token */
};

struct target_walk target_walk_begin(const struct sample *s, bool masks_documents);
/* Goes to token t, which must not be before the current one. Returns whether it is a target. */
bool target_walk_to(struct target_walk *w, int64_t t);

/* Has the sample any target? Without one it teaches nothing. */
bool sample_has_target(const struct sample *s, bool masks_documents);
/* Are the documents of these samples masked, unless the user decides otherwise? Best-fit samples
 * join documents that have nothing to do with each other. */
bool sample_info_masks_documents(const struct sample_info *info);

#endif
