/* What the ranks of a sample gather after a forward: the losses of all rows, and the logits of the
 * last row. */
#include "model/model_internal.h"

enum { TICKET = RANKS_TICKETS - 1 };

/* Returns the number of the first rank of the group. */
static int64_t first_rank(const struct model *m)
{
    return m->setup.part - m->setup.part % m->segments.ranks;
}

/* Moves messages of the host's memory. */
static int move(struct model *m, const struct ranks_message *in, int in_count,
                const struct ranks_message *out, int out_count, struct fail *why)
{
    if (ranks_begin(m->setup.ranks, TICKET, in, in_count, out, out_count, why)) return -1;
    return ranks_wait(m->setup.ranks, TICKET, why);
}

int model_gather_losses(struct model *m, float *nll, struct fail *why)
{
    struct ranks_message *in = m->segments.messages, *out = in + m->segments.ranks;
    int64_t first, rows, own = m->setup.part - first_rank(m);
    int in_count = 0, out_count = 0;
    if (!segments_are_shared(m)) return 0;
    /* model_loss wrote this rank's rows at the beginning. */
    if (m->rows) memmove(nll + m->segments.first_row, nll, (size_t)m->rows * sizeof *nll);
    for (int64_t r = 0; r < m->segments.ranks; r++) {
        int peer = (int)(first_rank(m) + r);
        rows = segments_rows_of(m, r, &first);
        if (r != own && rows)
            in[in_count++] =
                (struct ranks_message){ peer, nll + first, (size_t)rows * sizeof *nll, NULL };
        if (r != own && m->rows)
            out[out_count++] = (struct ranks_message){ peer, nll + m->segments.first_row,
                                                       (size_t)m->rows * sizeof *nll, NULL };
    }
    return move(m, in, in_count, out, out_count, why);
}

int model_last_logits(struct model *m, float *logits, struct fail *why)
{
    int64_t owner = 0, first, first_row;
    struct ranks_message message = { .at = logits,
                                     .bytes = (size_t)m->config.vocab * sizeof *logits };
    if (!segments_are_shared(m)) return model_logits(m, 1, logits, why);
    for (int64_t r = 0; r < m->segments.ranks; r++)
        if (segments_rows_of(m, r, &first_row)) owner = r;
    first = first_rank(m);
    if (m->k->sync(m->dev, why) || exchange_status(m, why)) return -1;
    if (m->setup.part == first + owner && model_logits(m, 1, logits, why)) return -1;
    if (!owner) return 0;
    if (m->setup.part == first) {
        message.peer = (int)(first + owner);
        return move(m, &message, 1, NULL, 0, why);
    }
    message.peer = (int)first;
    return m->setup.part == first + owner ? move(m, NULL, 0, &message, 1, why) : 0;
}
