/* S2-Attn over the ranks of a sample, by whole groups between neighbours.
 *
 * In one half of the heads groups of G rows begin at multiples of G, in the other half at odd
 * multiples of G/2. Each rank has a multiple of G/2 rows. So at the border of two ranks, one half
 * of the heads has a group that lies on both of them, with G/2 rows on either side:
 *
 *     rank            0       |       1
 *     low heads    [ group ]  |  [ group ]
 *     high heads   ..] [    group    ] [..
 *
 * The left rank computes that group. The right one sends its rows of these heads, and gets the
 * results. All other groups lie on one rank. If G/2 is a multiple of ATTENTION_UNIT, the kernels
 * compute the same bits as for all rows and heads together.
 *
 *     forward    q, k, v to the left, o back
 *     backward   q, k, v, o to the left unless they were just recomputed; dout to the left; dq, dk,
 *                dv back
 *
 * lse stays with the rank that computes a row. Batches with full attention go by heads.c. */
#include "model/model_internal.h"

#include "lib/common/arithmetic.h"

enum { Q, K, V, O, DOUT, TICKET = RANKS_TICKETS - 1 };
enum { LOW, HIGH };
enum direction { LEFT, BACK };

/* ---- columns and rows ---- */

static int64_t half_group(const struct model *m) { return m->setup.exchange_group / 2; }

/* Returns the columns of a half of the heads in one of the matrices. */
static int64_t width_of(const struct model *m, int matrix)
{
    bool is_kv = matrix == K || matrix == V;
    return (is_kv ? m->config.kv_heads : m->config.heads) / 2 * m->config.head_dim;
}

static int64_t stride_of(const struct model *m, int matrix)
{
    return (width_of(m, matrix) + 7) / 8 * 8;
}

static int64_t number_of(const struct model *m) { return m->setup.part % m->segments.ranks; }

/* Returns which half of the heads has a group on both sides of this rank's left border, or of its
 * right one. */
static int half_at(const struct model *m, bool is_right)
{
    int64_t border = (number_of(m) + is_right) * m->setup.rows;
    return border / half_group(m) % 2 ? LOW : HIGH;
}

/* Returns how many of this rank's first rows the left neighbour computes for a half of the
 * heads. */
static int64_t rows_to_left(const struct model *m)
{
    return number_of(m) ? min_i64(m->rows, half_group(m)) : 0;
}

/* Returns how many rows of the right neighbour this rank computes. */
static int64_t rows_of_right(const struct model *m)
{
    int64_t first, right = number_of(m) + 1;
    if (right == m->segments.ranks) return 0;
    return min_i64(segments_rows_of(m, right, &first), half_group(m));
}

/* The largest number of rows in a call for a half of the heads. */
static int64_t max_rows(const struct model *m)
{
    return 2 * m->k->attention_margin + m->setup.rows + half_group(m);
}

bool neighbours_are_used(const struct model *m) { return m->neighbours.is_used; }

/* ---- memory ---- */

uint64_t neighbours_bytes(const struct model *m)
{
    int64_t rows = (m->segments.ranks - 1) * half_group(m);
    return (uint64_t)(rows * 6 * (stride_of(m, Q) + stride_of(m, K)) * m->k->act_bytes);
}

static size_t bytes_of(const struct model *m, int matrix, int64_t rows)
{
    return (size_t)(rows * stride_of(m, matrix) * m->k->act_bytes);
}

static int64_t lists_of(const struct model *m) { return has_windows(m) ? 16 : 8; }

void neighbours_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                     void *(*alloc_host)(struct model *, enum memory, size_t))
{
    struct neighbours *n = &m->neighbours;
    size_t bytes = 0, starts = (size_t)max_rows(m) * sizeof *n->starts;
    m->plan.of_attention = neighbours_bytes(m);
    for (int i = 0; i < NEIGHBOURS_MATRICES; i++) {
        size_t border = bytes_of(m, i, half_group(m));
        n->joined[i].at = alloc(m, MEMORY_ACTIVATIONS, bytes_of(m, i, max_rows(m)));
        n->left[i].at = alloc(m, MEMORY_ACTIVATIONS, border);
        n->right[i].at = alloc(m, MEMORY_ACTIVATIONS, border);
        n->joined[i].stride = n->left[i].stride = n->right[i].stride = stride_of(m, i);
        bytes += border;
    }
    n->starts = alloc(m, MEMORY_INPUTS, (size_t)lists_of(m) * starts);
    if (m->k->attention_margin)
        n->lse = alloc(m, MEMORY_ACTIVATIONS,
                       (size_t)(m->config.heads / 2 * max_rows(m)) * sizeof *n->lse);
    n->host_starts = (m->k->is_host ? alloc : alloc_host)(m, MEMORY_INPUTS, starts);
    if (exchange_is_direct(m)) return;
    n->host_out = alloc_host(m, MEMORY_ACTIVATIONS, bytes);
    n->host_in = alloc_host(m, MEMORY_ACTIVATIONS, bytes);
}

/* ---- the rows of each half of the heads ---- */

/* Uploads the starts of rows [first, end), counted from the first of these rows. */
static const int32_t *put_starts(struct model *m, int list, const int32_t *all, int64_t first,
                                 int64_t end)
{
    struct neighbours *n = &m->neighbours;
    int32_t *to = n->starts + list * max_rows(m);
    for (int64_t t = first; t < end; t++)
        n->host_starts[t - first] = all[t] > first ? (int32_t)(all[t] - first) : 0;
    m->k->upload(m->dev, to, n->host_starts, (size_t)(end - first) * sizeof *to);
    return to;
}

/* Finds the rows for which this rank computes a half of the heads. `all` has the starts of all
 * rows, in the host's memory. */
static void set_half_rows(struct model *m, struct half_rows *s, int half,
                          struct attention_starts all, int list)
{
    int64_t heads = m->config.heads / 2, own = m->segments.first_row;
    *s = (struct half_rows){ .first = own, .end = own + m->rows };
    if (half_at(m, false) == half) s->first += rows_to_left(m);
    if (half_at(m, true) == half) s->end += rows_of_right(m);
    if (s->first == s->end) return;
    int64_t from = s->first, to = s->end, split = half == LOW ? heads : 0;
    m->k->attention_extent(all, m->segments.batch_rows, &from, &to);
    s->before = s->first - from;
    s->after = to - s->end;
    must(s->before <= m->k->attention_margin && s->after <= m->k->attention_margin);
    s->forward =
        (struct attention_starts){ put_starts(m, list, all.low_heads, s->first, s->end),
                                   put_starts(m, list + 1, all.high_heads, s->first, s->end),
                                   split };
    s->backward =
        (struct attention_starts){ put_starts(m, list + 2, all.low_heads, from, to),
                                   put_starts(m, list + 3, all.high_heads, from, to), split };
}

void neighbours_take(struct model *m, const struct batch *b)
{
    struct neighbours *n = &m->neighbours;
    int64_t group = m->setup.exchange_group;
    n->is_used = false;
    if (!segments_are_shared(m) || !group) return;
    n->is_used = b->group == group;
    must(n->is_used || m->setup.also_by_heads);
    if (!n->is_used) return;
    must(half_group(m) % ATTENTION_UNIT == 0 && m->setup.rows % half_group(m) == 0 &&
         m->config.kv_heads % 2 == 0);
    int lists = has_windows(m) ? 2 : 1;
    for (int windowed = 0; windowed < lists; windowed++)
        for (int half = LOW; half <= HIGH; half++) {
            struct attention_starts all = { b->low_starts, b->high_starts, 0 };
            if (windowed) all.low_heads = m->host_starts;
            if (windowed) all.high_heads = m->host_starts + b->rows;
            set_half_rows(m, &n->half_rows[windowed][half], half, all, 4 * (2 * windowed + half));
        }
}

/* Returns the rows of both halves of the heads, in a layer with these starts. */
static const struct half_rows *half_rows_of(const struct model *m, struct attention_starts starts)
{
    return m->neighbours.half_rows[starts.low_heads != m->low_starts];
}

/* ---- copies and messages ---- */

static void copy(struct model *m, int matrix, struct mat to, struct mat from, int64_t rows)
{
    if (rows) m->k->copy_rows(m->dev, to, from, rows, width_of(m, matrix));
}

/* The columns of a half of the heads, of this rank's rows. */
struct half_columns {
    struct mat at[NEIGHBOURS_MATRICES];
};

static struct half_columns columns_of(const struct model *m, int half, struct heads h, struct mat o)
{
    struct half_columns c = { { h.q, h.k, h.v, o, m->dout } };
    for (int i = 0; i < NEIGHBOURS_MATRICES; i++)
        if (c.at[i].at) c.at[i] = mat_columns(m->k, c.at[i], half * width_of(m, i));
    return c;
}

/* Appends messages for rows of the matrices [from, to). If they are not direct, they lie at
 * `host`. */
static int list_messages(struct model *m, struct ranks_message *list, int peer,
                         const struct mat *at, int from, int to, int64_t rows, char *host)
{
    int count = 0;
    for (int i = from; i < to && rows; i++) {
        size_t bytes = bytes_of(m, i, rows);
        list[count++] = exchange_message(m, peer, host ? (void *)host : at[i].at, bytes);
        if (host) host += bytes;
    }
    return count;
}

/* Begins to send the matrices [from, to): this rank's rows to the left neighbour, or the results
 * for the right neighbour's rows back. */
static void begin(struct model *m, int from, int to, enum direction d)
{
    struct neighbours *n = &m->neighbours;
    int part = (int)m->setup.part, left = part - 1, right = part + 1;
    struct ranks_message *in = m->segments.messages, *out = in + NEIGHBOURS_MATRICES;
    int64_t to_left = rows_to_left(m), of_right = rows_of_right(m);
    int in_count = d == LEFT ? list_messages(m, in, right, n->right, from, to, of_right, n->host_in)
                             : list_messages(m, in, left, n->left, from, to, to_left, n->host_in);
    int out_count = d == LEFT
                        ? list_messages(m, out, left, n->left, from, to, to_left, n->host_out)
                        : list_messages(m, out, right, n->right, from, to, of_right, n->host_out);
    for (int i = 0; i < out_count && !exchange_is_direct(m); i++)
        m->k->download(m->dev, out[i].at, (d == LEFT ? n->left : n->right)[from + i].at,
                       out[i].bytes);
    exchange_begin_messages(m, TICKET, in, in_count, out, out_count);
}

/* Waits for what `begin` began to receive. */
static void end(struct model *m, int from, int to, enum direction d)
{
    struct neighbours *n = &m->neighbours;
    int64_t rows = d == LEFT ? rows_of_right(m) : rows_to_left(m);
    const char *host = n->host_in;
    exchange_wait(m, TICKET);
    for (int i = from; i < to && rows && !exchange_is_direct(m); i++) {
        size_t bytes = bytes_of(m, i, rows);
        m->k->upload(m->dev, (d == LEFT ? n->right : n->left)[i].at, host, bytes);
        host += bytes;
    }
}

/* Sends the matrices [from, to) of the group at the left border to the left neighbour. */
static void begin_left(struct model *m, const struct half_columns *local, int from, int to)
{
    for (int i = from; i < to; i++)
        copy(m, i, m->neighbours.left[i], local->at[i], rows_to_left(m));
    begin(m, from, to, LEFT);
}

/* ---- one half of the heads ---- */

/* The rows of a half of the heads: `count` of them are this rank's, and begin at its row `first`.
 * `of_right` of them are the right neighbour's. */
struct half_parts {
    int64_t first, count, of_right;
};

static struct half_parts half_parts_of(const struct model *m, const struct half_rows *s)
{
    int64_t own_end = m->segments.first_row + m->rows;
    return (struct half_parts){ s->first - m->segments.first_row, own_end - s->first,
                                s->end - own_end };
}

/* Returns the joined matrix from its first row on, without the margin before it. */
static struct mat joined_rows(const struct model *m, int matrix)
{
    return mat_rows(m->k, m->neighbours.joined[matrix], m->k->attention_margin);
}

/* Joins this rank's rows of the matrices [from, to) with the right neighbour's. */
static void join(struct model *m, const struct half_rows *s, const struct half_columns *local,
                 int from, int to)
{
    struct half_parts own = half_parts_of(m, s);
    for (int i = from; i < to; i++) {
        copy(m, i, joined_rows(m, i), mat_rows(m->k, local->at[i], own.first), own.count);
        copy(m, i, mat_rows(m->k, joined_rows(m, i), own.count), m->neighbours.right[i],
             own.of_right);
    }
}

/* Copies results to this rank's columns, and those of the right neighbour's rows to `right`. */
static void divide(struct model *m, const struct half_rows *s, int matrix, struct mat local,
                   struct mat right)
{
    struct half_parts own = half_parts_of(m, s);
    copy(m, matrix, mat_rows(m->k, local, own.first), joined_rows(m, matrix), own.count);
    copy(m, matrix, right, mat_rows(m->k, joined_rows(m, matrix), own.count), own.of_right);
}

/* lse has the rows that this rank computes for the low heads, then those for the high heads. */
static float *lse_of(const struct model *m, const struct half_rows *all, int half, float *lse)
{
    return lse + (half == LOW ? 0 : m->config.heads / 2 * (all[LOW].end - all[LOW].first));
}

static void attend_half(struct model *m, const struct half_rows *s,
                        const struct half_columns *local, float *lse)
{
    const struct config *c = &m->config;
    if (s->first == s->end) return;
    join(m, s, local, Q, O);
    m->k->attention_fwd(m->dev, joined_rows(m, O), lse, joined_rows(m, Q), joined_rows(m, K),
                        joined_rows(m, V), s->forward, s->end - s->first, c->heads / 2,
                        c->kv_heads / 2, c->head_dim, (float)c->attention_scale);
    divide(m, s, O, local->at[O], m->neighbours.right[O]);
}

/* Makes the margins before and after the joined rows zero. */
static void clear_margins(struct model *m, const struct half_rows *s)
{
    for (int i = 0; i < NEIGHBOURS_MATRICES; i++) {
        struct mat after = mat_rows(m->k, joined_rows(m, i), s->end - s->first);
        struct mat before = mat_rows(m->k, joined_rows(m, i), -s->before);
        if (s->before) m->k->zero(m->dev, before.at, bytes_of(m, i, s->before));
        if (s->after) m->k->zero(m->dev, after.at, bytes_of(m, i, s->after));
    }
}

/* Returns lse with zeros in the margins. Only a CPU has margins. */
static const float *lse_with_margins(struct model *m, const struct half_rows *s, const float *lse)
{
    int64_t rows = s->end - s->first, all = s->before + rows + s->after;
    if (all == rows) return lse;
    must(m->k->is_host);
    memset(m->neighbours.lse, 0, (size_t)(m->config.heads / 2 * all) * sizeof *lse);
    for (int64_t h = 0; h < m->config.heads / 2; h++)
        memcpy(m->neighbours.lse + h * all + s->before, lse + h * rows, (size_t)rows * sizeof *lse);
    return m->neighbours.lse;
}

static void attend_half_backward(struct model *m, const struct half_rows *s,
                                 const struct half_columns *local, const float *lse)
{
    const struct config *c = &m->config;
    struct neighbours *n = &m->neighbours;
    struct mat at[NEIGHBOURS_MATRICES];
    if (s->first == s->end) return;
    join(m, s, local, Q, NEIGHBOURS_MATRICES);
    clear_margins(m, s);
    for (int i = 0; i < NEIGHBOURS_MATRICES; i++)
        at[i] = mat_rows(m->k, joined_rows(m, i), -s->before);
    m->k->attention_bwd(m->dev, at[O], at[K], at[V], at[DOUT], at[O], lse_with_margins(m, s, lse),
                        at[Q], at[K], at[V], s->backward, s->before + s->end - s->first + s->after,
                        c->heads / 2, c->kv_heads / 2, c->head_dim, (float)c->attention_scale);
    divide(m, s, O, local->at[O], n->right[Q]);
    divide(m, s, K, local->at[K], n->right[K]);
    divide(m, s, V, local->at[V], n->right[V]);
}

/* ---- attention ---- */

void neighbours_attend(struct model *m, struct mat o, float *lse, struct heads h,
                       struct attention_starts starts)
{
    const struct half_rows *all = half_rows_of(m, starts);
    const struct half_columns local[] = { columns_of(m, LOW, h, o), columns_of(m, HIGH, h, o) };
    int left = half_at(m, false), right = half_at(m, true), other = 1 - right;
    begin_left(m, &local[left], Q, O);
    attend_half(m, &all[other], &local[other], lse_of(m, all, other, lse));
    end(m, Q, O, LEFT);
    attend_half(m, &all[right], &local[right], lse_of(m, all, right, lse));
    begin(m, O, DOUT, BACK);
    end(m, O, DOUT, BACK);
    copy(m, O, local[left].at[O], m->neighbours.left[O], rows_to_left(m));
}

void neighbours_attend_backward(struct model *m, struct mat o, const float *lse, struct heads h,
                                struct attention_starts starts, bool is_recomputed)
{
    const struct half_rows *all = half_rows_of(m, starts);
    const struct half_columns local[] = { columns_of(m, LOW, h, o), columns_of(m, HIGH, h, o) };
    int left = half_at(m, false), right = half_at(m, true), other = 1 - right;
    int from = is_recomputed ? DOUT : Q;
    float *all_lse = (float *)lse;
    begin_left(m, &local[left], from, NEIGHBOURS_MATRICES);
    attend_half_backward(m, &all[other], &local[other], lse_of(m, all, other, all_lse));
    end(m, from, NEIGHBOURS_MATRICES, LEFT);
    attend_half_backward(m, &all[right], &local[right], lse_of(m, all, right, all_lse));
    begin(m, Q, O, BACK);
    end(m, Q, O, BACK);
    /* dq is written over o. */
    copy(m, Q, local[left].at[O], m->neighbours.left[Q], rows_to_left(m));
    copy(m, K, local[left].at[K], m->neighbours.left[K], rows_to_left(m));
    copy(m, V, local[left].at[V], m->neighbours.left[V], rows_to_left(m));
}
