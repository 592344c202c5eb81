/* segments.h - a sample in segments, which several ranks may share. A part of model_internal.h.
 *
 * A sample of at most `positions` tokens is cut into segments of positions / segments rows. A
 * shorter sample has fewer segments, and its last one may have fewer rows. Each sum over rows (the
 * gradient of a weight or of a gain, the loss) is computed for each segment from zero, and the
 * segments are added in their order. So P ranks, each with the rows of segments / P neighbouring
 * segments, compute the sums that one rank computes. Only attention reads rows of other segments
 * (heads.c).
 */
#ifndef LONGQLORA_MODEL_SEGMENTS_H
#define LONGQLORA_MODEL_SEGMENTS_H

#include "model/model.h"

/* The largest number of matrices that heads.c exchanges together, and the matrices that
 * neighbours.c exchanges: q, k, v, o and dout. */
enum { HEADS_MATRICES = 3, NEIGHBOURS_MATRICES = 5 };

struct segments {
    int64_t count, rows; /* segments of a sample, and rows of one */
    int64_t ranks;       /* ranks that share a sample, a group of neighbours */
    int64_t own, first;  /* how many segments this rank has, and the number of its first one */
    int64_t whole_rows;  /* rows of the largest batch on all ranks of the group */
    int64_t batch_rows;  /* rows of the current batch on all ranks of the group */
    int64_t first_row;   /* the number in the batch of this rank's first row */
    /* [groups] rows of the batch that each group has in this round; 0: it has none */
    int64_t *round_rows;
    /* Buffers for each exchange, [parts, own - 1, slice]. Those of struct exchange are for the
     * first segment of each rank, these are for its other segments. */
    float *received[2], *in[2], *out[2];
    struct ranks_message *messages; /* of one exchange of gradients, or of heads */
};

/* Buffers of a whole sample for attention, with the columns of this rank's heads. Only if several
 * ranks share a sample. */
struct shared_heads {
    struct mat q, k, v, o, dout; /* [T, heads / P · c]; k and v [T, kv_heads / P · c] */
    struct mat kv;               /* with a cache: k and v side by side */
    char *packed; /* this rank's rows of the other ranks' columns, one after the other */
    char *host_out, *host_in; /* messages that are not direct */
};

/* The rows [first, end) of the sample for which a rank computes one half of the heads. The backward
 * computes some rows of zeros before and after them, the margins (attention_extent). */
struct half_rows {
    int64_t first, end, before, after;
    struct attention_starts forward, backward;
};

/* What neighbours.c needs. Only if setup.exchange_group is set. */
struct neighbours {
    bool is_used; /* for the current batch */
    /* of layers without and with a window, for the low and for the high heads */
    struct half_rows half_rows[2][2];
    /* Columns of a half of the heads: `joined` has the rows of a struct half_rows, with margins.
     * `left` has the rows that the left neighbour computes, `right` those that this rank computes
     * for the right one. */
    struct mat joined[NEIGHBOURS_MATRICES], left[NEIGHBOURS_MATRICES], right[NEIGHBOURS_MATRICES];
    int32_t *starts, *host_starts; /* the starts of all rows; those of one list on the host */
    float *lse;                    /* lse with zeros in the margins, if there are margins */
    char *host_out, *host_in;      /* messages that are not direct */
};

#endif
