/* sample_ranks.h - how many ranks may share a sample (setup.sample_parts) if they exchange heads.
 * That number divides the ranks, the segments of a sample and the model's key/value heads.
 */
#ifndef LONGQLORA_MODEL_SAMPLE_RANKS_H
#define LONGQLORA_MODEL_SAMPLE_RANKS_H

#include "model/model.h"

/* A segment has a multiple of this many rows, so that each is aligned as the first one is. */
enum { SEGMENT_UNIT = 16, SEGMENTS_MAX = 1024 };

struct sample_ranks {
    int64_t ranks, segments, kv_heads;
    const char *option; /* what sets the number of segments, for messages: "context_segments" */
};

/* Returns the largest number of ranks that may share a sample. */
int64_t sample_ranks_max(const struct sample_ranks *s);
/* A number that the ranks of a sample must divide, and what it counts, for messages. */
struct sample_ranks_divided {
    const char *what;
    int64_t number;
};
/* Fails if the value of --sample-ranks does not divide each number. */
int sample_ranks_divide(const struct sample_ranks_divided *each, size_t count, int64_t asked,
                        struct fail *why) MUST_USE;
/* Fails if this number of ranks, the value of --sample-ranks, does not divide all three. */
int sample_ranks_check(const struct sample_ranks *s, int64_t asked, struct fail *why) MUST_USE;

/* Returns the smallest number of rows, not below `rows`, that is cut into `segments` equal segments
 * of a multiple of SEGMENT_UNIT rows. With one segment it returns `rows`. */
int64_t sample_ranks_rows(int64_t rows, int64_t segments);

#endif
