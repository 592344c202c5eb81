/* Attention over the ranks of a sample, by heads (DeepSpeed-Ulysses, Jacobs et al. 2023).
 *
 * Each rank has some rows of all heads. Before attention the ranks of a group exchange columns, so
 * that each has all rows of its heads, and of the key/value heads that these read (all-to-all).
 * Attention of a head reads nothing of other heads. So the kernels compute the same bits as for all
 * heads together. Then the outputs, or in the backward the gradients, go back to the ranks that
 * have their rows.
 *
 *     forward    q, k, v to heads; o to rows
 *     backward   q, k, v, o to heads unless they were just recomputed; dout to heads;
 *                dq, dk, dv to rows
 *
 * lse stays with the heads. With a cache, each rank caches the keys and values of its heads.
 * Batches with S2-Attn may go by groups instead (neighbours.c). */
#include "model/model_internal.h"

/* A matrix of this rank's rows, which has `width` columns for each rank of the group, and a matrix
 * of all rows of this rank's columns. */
struct columns {
    struct mat local, whole;
    int64_t width;
};

enum { MATRICES = HEADS_MATRICES, TICKET = RANKS_TICKETS - 1 };
/* TO_HEADS: from some rows of all heads to all rows of some heads. TO_ROWS: the reverse. */
enum direction { TO_HEADS, TO_ROWS };

static int64_t width_of(const struct model *m, int64_t heads)
{
    return heads / m->segments.ranks * m->config.head_dim;
}

static int64_t stride_of(int64_t width) { return (width + 7) / 8 * 8; }

/* Returns how many bytes the ranks send each other for one layer and the longest sample. They send
 * q, k, v and o in the forward, and in the backward q, k, v and o again, then dout, dq, dk and dv.
 * A rank sends the columns of other ranks once, and keeps its own. */
static uint64_t bytes_sent(const struct model *m)
{
    int64_t q = stride_of(width_of(m, m->config.heads));
    int64_t kv = stride_of(width_of(m, m->config.kv_heads));
    int64_t rows = m->segments.whole_rows * (m->segments.ranks - 1);
    return (uint64_t)(rows * 6 * (q + kv) * m->k->act_bytes);
}

static struct mat alloc_whole(struct model *m, int64_t width,
                              void *(*alloc)(struct model *, enum memory, size_t))
{
    int64_t stride = stride_of(width), rows = m->segments.ranks * m->setup.rows;
    size_t bytes = (size_t)(rows * stride * m->k->act_bytes);
    return (struct mat){ alloc(m, MEMORY_ACTIVATIONS, bytes), stride };
}

void heads_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                void *(*alloc_host)(struct model *, enum memory, size_t))
{
    struct shared_heads *h = &m->heads;
    int64_t q = width_of(m, m->config.heads), kv = width_of(m, m->config.kv_heads);
    if (!segments_are_shared(m)) return;
    m->plan.of_attention = bytes_sent(m);
    h->q = alloc_whole(m, q, alloc);
    h->k = alloc_whole(m, kv, alloc);
    h->v = alloc_whole(m, kv, alloc);
    h->o = alloc_whole(m, q, alloc);
    if (m->setup.is_training) h->dout = alloc_whole(m, q, alloc);
    if (m->setup.context) h->kv = alloc_whole(m, 2 * kv, alloc);
    /* One exchange has at most q, k and v, or o and dout. */
    int64_t stride = h->q.stride + (h->q.stride > 2 * h->k.stride ? h->q.stride : 2 * h->k.stride);
    size_t bytes = (size_t)(m->segments.ranks * m->setup.rows * stride * m->k->act_bytes);
    h->packed = alloc(m, MEMORY_ACTIVATIONS, bytes);
    if (exchange_is_direct(m)) return;
    h->host_out = alloc_host(m, MEMORY_ACTIVATIONS, bytes);
    h->host_in = alloc_host(m, MEMORY_ACTIVATIONS, bytes);
}

/* ---- messages ---- */

/* What two ranks exchange of one matrix: this rank's rows of the other's columns, in place (local)
 * and packed (block), and the other's rows of this rank's columns (whole). */
struct transfer {
    int peer;
    struct mat local, block, whole;
    int64_t width, rows; /* rows: the other's */
};

/* Bytes of a message in memory. */
struct region {
    void *at;
    size_t bytes;
};

static struct region region_of(const struct model *m, struct mat x, int64_t rows)
{
    return (struct region){ x.at, (size_t)(rows * x.stride * m->k->act_bytes) };
}

static struct region outgoing(const struct model *m, const struct transfer *p, enum direction d)
{
    return d == TO_HEADS ? region_of(m, p->block, m->rows) : region_of(m, p->whole, p->rows);
}

static struct region incoming(const struct model *m, const struct transfer *p, enum direction d)
{
    return d == TO_HEADS ? region_of(m, p->whole, p->rows) : region_of(m, p->block, m->rows);
}

/* Returns transfer number `i` of an exchange; *packed moves on by its block. */
static struct transfer transfer_of(const struct model *m, const struct columns *all, int count,
                                   int i, char **packed)
{
    const struct columns *c = &all[i % count];
    int own = (int)(m->setup.part % m->segments.ranks), number = i / count;
    int64_t first, rows;
    number += number >= own;
    rows = segments_rows_of(m, number, &first);
    struct transfer p = { .peer = (int)m->setup.part - own + number,
                          .local = mat_columns(m->k, c->local, number * c->width),
                          .block = { (struct act *)(void *)*packed, c->whole.stride },
                          .whole = mat_rows(m->k, c->whole, first),
                          .width = c->width,
                          .rows = rows };
    *packed += region_of(m, p.block, m->rows).bytes;
    return p;
}

static void copy(struct model *m, struct mat to, struct mat from, int64_t cols)
{
    if (m->rows) m->k->copy_rows(m->dev, to, from, m->rows, cols);
}

/* Copies this rank's rows of its own columns. */
static void copy_own(struct model *m, const struct columns *c, enum direction d)
{
    int64_t own = m->setup.part % m->segments.ranks;
    struct mat local = mat_columns(m->k, c->local, own * c->width);
    struct mat whole = mat_rows(m->k, c->whole, m->segments.first_row);
    copy(m, d == TO_HEADS ? whole : local, d == TO_HEADS ? local : whole, c->width);
}

/* Appends a message, if it has bytes. If it is not direct, it lies at *host, which moves on.
 * Returns its place. */
static void *append(const struct model *m, struct ranks_message *list, int *count, int peer,
                    struct region region, char **host)
{
    void *at = exchange_is_direct(m) ? region.at : *host;
    if (region.bytes) list[(*count)++] = exchange_message(m, peer, at, region.bytes);
    if (!exchange_is_direct(m)) *host += region.bytes;
    return at;
}

static void begin(struct model *m, const struct columns *all, int count, enum direction d)
{
    int transfers = count * (int)(m->segments.ranks - 1), in_count = 0, out_count = 0;
    struct ranks_message *in = m->segments.messages, *out = in + transfers;
    char *packed = m->heads.packed, *host_in = m->heads.host_in, *host_out = m->heads.host_out;
    for (int i = 0; i < transfers; i++) {
        struct transfer p = transfer_of(m, all, count, i, &packed);
        struct region from = outgoing(m, &p, d);
        if (d == TO_HEADS) copy(m, p.block, p.local, p.width);
        void *at = append(m, out, &out_count, p.peer, from, &host_out);
        if (at != from.at && from.bytes) m->k->download(m->dev, at, from.at, from.bytes);
        append(m, in, &in_count, p.peer, incoming(m, &p, d), &host_in);
    }
    exchange_begin_messages(m, TICKET, in, in_count, out, out_count);
}

static void end(struct model *m, const struct columns *all, int count, enum direction d)
{
    int transfers = count * (int)(m->segments.ranks - 1);
    char *packed = m->heads.packed, *host_in = m->heads.host_in;
    exchange_wait(m, TICKET);
    for (int i = 0; i < transfers; i++) {
        struct transfer p = transfer_of(m, all, count, i, &packed);
        struct region to = incoming(m, &p, d);
        if (!exchange_is_direct(m) && to.bytes) m->k->upload(m->dev, to.at, host_in, to.bytes);
        host_in += exchange_is_direct(m) ? 0 : to.bytes;
        if (d == TO_ROWS) copy(m, p.local, p.block, p.width);
    }
}

/* TO_HEADS: `whole` becomes all rows of this rank's columns. TO_ROWS: `local` becomes all columns
 * of this rank's rows. */
static void exchange(struct model *m, const struct columns *all, int count, enum direction d)
{
    must(count <= MATRICES);
    begin(m, all, count, d);
    for (int i = 0; i < count; i++)
        copy_own(m, &all[i], d);
    end(m, all, count, d);
}

/* ---- attention ---- */

/* Returns the starts of this rank's heads. */
static struct attention_starts own_starts(const struct model *m, struct attention_starts starts)
{
    int64_t heads = m->config.heads / m->segments.ranks;
    starts.split -= m->setup.part % m->segments.ranks * heads;
    if (starts.split < 0) starts.split = 0;
    if (starts.split > heads) starts.split = heads;
    return starts;
}

static void exchange_heads(struct model *m, struct heads h)
{
    int64_t q = width_of(m, m->config.heads), kv = width_of(m, m->config.kv_heads);
    const struct columns to_heads[] = { { h.q, m->heads.q, q },
                                        { h.k, m->heads.k, kv },
                                        { h.v, m->heads.v, kv } };
    exchange(m, to_heads, 3, TO_HEADS);
}

/* Appends the keys and values of this rank's heads to the cache, and attends to all of it. */
static void attend_to_cache(struct model *m, const struct cache *cache, float *lse,
                            struct attention_starts starts)
{
    const struct shared_heads *w = &m->heads;
    int64_t rows = m->segments.batch_rows, width = width_of(m, m->config.kv_heads);
    m->k->copy_rows(m->dev, w->kv, w->k, rows, width);
    m->k->copy_rows(m->dev, mat_columns(m->k, w->kv, width), w->v, rows, width);
    m->k->cache_rows(m->dev, cache, m->cached, w->kv, rows);
    m->k->attention_decode(m->dev, w->o, lse, w->q, cache, starts, m->cached, rows,
                           m->config.heads / m->segments.ranks, (float)m->config.attention_scale);
}

void heads_attend(struct model *m, struct mat o, float *lse, struct heads h,
                  const struct cache *cache, struct attention_starts starts)
{
    const struct shared_heads *w = &m->heads;
    const struct config *c = &m->config;
    int64_t ranks = m->segments.ranks;
    if (neighbours_are_used(m)) {
        neighbours_attend(m, o, lse, h, starts);
        return;
    }
    const struct columns to_rows = { o, w->o, width_of(m, c->heads) };
    exchange_heads(m, h);
    if (cache)
        attend_to_cache(m, cache, lse, own_starts(m, starts));
    else
        m->k->attention_fwd(m->dev, w->o, lse, w->q, w->k, w->v, own_starts(m, starts),
                            m->segments.batch_rows, c->heads / ranks, c->kv_heads / ranks,
                            c->head_dim, (float)c->attention_scale);
    exchange(m, &to_rows, 1, TO_ROWS);
}

void heads_attend_backward(struct model *m, struct mat o, const float *lse, struct heads h,
                           struct attention_starts starts, bool is_recomputed)
{
    const struct shared_heads *w = &m->heads;
    const struct config *c = &m->config;
    int64_t ranks = m->segments.ranks, q = width_of(m, c->heads), kv = width_of(m, c->kv_heads);
    if (neighbours_are_used(m)) {
        neighbours_attend_backward(m, o, lse, h, starts, is_recomputed);
        return;
    }
    const struct columns to_heads[] = { { m->dout, w->dout, q }, { o, w->o, q } };
    const struct columns to_rows[] = { { o, w->o, q }, { h.k, w->k, kv }, { h.v, w->v, kv } };
    if (!is_recomputed) exchange_heads(m, h);
    exchange(m, to_heads, is_recomputed ? 1 : 2, TO_HEADS);
    m->k->attention_bwd(m->dev, w->o, w->k, w->v, w->dout, w->o, lse, w->q, w->k, w->v,
                        own_starts(m, starts), m->segments.batch_rows, c->heads / ranks,
                        c->kv_heads / ranks, c->head_dim, (float)c->attention_scale);
    exchange(m, to_rows, 3, TO_ROWS);
}
