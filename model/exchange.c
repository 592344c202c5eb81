/* What the ranks of a run send each other, except for attention (heads.c), as in ZeRO (Rajbhandari
 * et al. 2020). The gradients of a block of batches go to the owners of their parts
 * (reduce-scatter), squares and new values to all ranks (all-gather), and moments to the rank that
 * writes files (gather). Messages only move bytes. The owner of a part adds what the ranks sent, in
 * the order of the blocks, so that the sum does not depend on the number of ranks.
 *
 * Messages of gradients, values and attention are direct if the device's memory is the host's, or
 * if the ranks have a transport for the device's memory (device_messages.c). Otherwise they are
 * downloaded, sent, and uploaded. Signals, squares and moments are always in the host's memory.
 *
 * With its gradients each rank also sends the signal by which it was asked to stop. So all ranks
 * know the same signals at the end of an exchange, and leave the backward there. Ranks that compute
 * samples in segments send no signals, because they stop between two passes. */
#include "model/device_messages.h"
#include "model/model_internal.h"

#include <stdarg.h>
#include <string.h>

/* Keeps the first failure, which the next function that can fail reports. */
static void keep_failure(struct model *m, int status, const struct fail *why)
{
    if (!status || m->has_failed) return;
    m->failed = *why;
    m->has_failed = true;
}

int exchange_status(struct model *m, struct fail *why)
{
    if (m->has_failed) *why = m->failed;
    return m->has_failed ? -1 : 0;
}

/* Returns the number of values of the section's longest part. */
static int64_t longest_part(const struct model *m, const struct section *s)
{
    int64_t parts = parts_count(m), longest = 0;
    for (int64_t r = 0; r < parts; r++) {
        int64_t count = parts_of(s, r, parts).count;
        if (count > longest) longest = count;
    }
    return longest;
}

/* Returns the largest number of values of a part that one exchange has: the longest part of a
 * layer, or, if no layer is trained, the longest part of a table, but at most OF_TABLES. */
static int64_t slice_capacity(const struct model *m)
{
    enum { OF_TABLES = 1 << 20 };
    int64_t layer = 0, table = 0;
    for (int64_t i = 0; i < m->params.section_count; i++) {
        const struct section *s = &m->params.section[i];
        int64_t count = longest_part(m, s), *max = s->layer >= 0 ? &layer : &table;
        if (count > *max) *max = count;
    }
    return layer ? layer : table < OF_TABLES ? table : OF_TABLES;
}

bool exchange_is_direct(const struct model *m)
{
    return m->k->is_host || (m->setup.ranks && device_messages_are_used(m->setup.ranks, m->k));
}

struct ranks_message exchange_message(const struct model *m, int64_t peer, void *at, size_t bytes)
{
    bool is_on_device = !m->k->is_host && exchange_is_direct(m);
    return (struct ranks_message){ (int)peer, at, bytes, is_on_device ? m->dev : NULL };
}

void exchange_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                   void *(*alloc_host)(struct model *, enum memory, size_t))
{
    if (!parts_are_shared(m)) return;
    m->slice = slice_capacity(m);
    m->plan.sent = exchange_bytes(m);
    size_t bytes = (size_t)(m->slice * parts_count(m)) * sizeof(float);
    for (int b = 0; b < EXCHANGES; b++) {
        struct exchange *e = &m->exchange[b];
        e->section = -1;
        e->received = alloc(m, MEMORY_BATCH_GRADIENTS, bytes);
        bool is_direct = exchange_is_direct(m);
        e->in = is_direct ? e->received : alloc_host(m, MEMORY_BATCH_GRADIENTS, bytes);
        e->out = is_direct ? NULL : alloc_host(m, MEMORY_BATCH_GRADIENTS, bytes);
    }
}

struct owned exchange_slice_of(const struct model *m, const struct section *s, int64_t rank,
                               int64_t offset)
{
    struct owned p = parts_of(s, rank, parts_count(m));
    int64_t left = p.count - offset;
    p.first += offset;
    p.count = left < 0 ? 0 : left < m->slice ? left : m->slice;
    return p;
}

/* The first values are stored, because 0 + (−0) would lose the sign of −0. */
void exchange_add(struct model *m, float *sum, const float *from, int64_t count, bool is_first)
{
    if (is_first)
        m->k->narrow_sum(m->dev, sum, DTYPE_F32, from, 1, NULL, count);
    else
        m->k->fold(m->dev, sum, from, count);
}

/* Lists messages in m->messages: first those that come in, then those that go out. */
struct list {
    struct ranks_message *in, *out;
    int in_count, out_count;
};

static struct list list_of(struct model *m)
{
    return (struct list){ m->messages, m->messages + 2 * m->setup.parts, 0, 0 };
}

static void add_in(const struct model *m, struct list *l, int64_t rank, float *at, int64_t count)
{
    if (count) l->in[l->in_count++] = exchange_message(m, rank, at, (size_t)count * sizeof *at);
}

static void add_out(const struct model *m, struct list *l, int64_t rank, float *at, int64_t count)
{
    if (count) l->out[l->out_count++] = exchange_message(m, rank, at, (size_t)count * sizeof *at);
}

/* The same for the host's memory. */
static void add_host_in(struct list *l, int64_t rank, void *at, size_t bytes)
{
    if (bytes) l->in[l->in_count++] = (struct ranks_message){ (int)rank, at, bytes, NULL };
}

static void add_host_out(struct list *l, int64_t rank, void *at, size_t bytes)
{
    if (bytes) l->out[l->out_count++] = (struct ranks_message){ (int)rank, at, bytes, NULL };
}

/* Sends all ranks the signal by which this one was asked to stop, and receives theirs. */
static void add_signals(struct model *m, struct list *l, int number)
{
    int own = (int)m->setup.part, parts = (int)m->setup.parts, *all = m->signals + number * parts;
    memset(all, 0, (size_t)parts * sizeof *all);
    all[own] = m->setup.stop ? *m->setup.stop : 0;
    for (int r = 0; r < parts; r++) {
        if (r == own) continue;
        add_host_in(l, r, &all[r], sizeof *all);
        add_host_out(l, r, &all[own], sizeof *all);
    }
}

void exchange_begin_messages(struct model *m, int ticket, const struct ranks_message *in,
                             int in_count, const struct ranks_message *out, int out_count)
{
    struct fail why;
    float none;
    /* A GPU may still have to read what arrived in the same memory before. A download waits for all
     * that is queued. Direct messages wait for it themselves (messages_begin). */
    if (!exchange_is_direct(m)) m->k->download(m->dev, &none, m->block.at, 0);
    if (!m->has_failed)
        keep_failure(m, ranks_begin(m->setup.ranks, ticket, in, in_count, out, out_count, &why),
                     &why);
}

static void begin(struct model *m, int ticket, const struct list *l)
{
    exchange_begin_messages(m, ticket, l->in, l->in_count, l->out, l->out_count);
}

static void wait(struct model *m, int ticket)
{
    struct fail why;
    if (!m->has_failed) keep_failure(m, ranks_wait(m->setup.ranks, ticket, &why), &why);
}

/* ---- gradients, to their owners ---- */

int64_t exchange_active(const struct model *m)
{
    int64_t left = m->setup.batches - m->batches, parts = parts_count(m) / m->segments.ranks;
    int64_t blocks = (left + m->setup.block - 1) / m->setup.block;
    return blocks < parts ? blocks : parts;
}

void exchange_begin(struct model *m, int64_t index, int number, int64_t offset)
{
    const struct section *s = &m->params.section[index];
    if (segments_are_several(m)) {
        segments_send(m, index, number, offset);
        return;
    }
    struct exchange *e = &m->exchange[number];
    struct list l = list_of(m);
    int64_t active = exchange_active(m), own = m->setup.part;
    int64_t own_count = exchange_slice_of(m, s, own, offset).count;
    must(e->section < 0);
    e->section = index;
    e->offset = offset;
    for (int64_t r = 0; r < m->setup.parts; r++) {
        struct owned p = exchange_slice_of(m, s, r, offset);
        if (r == own) continue;
        if (r < active) add_in(m, &l, r, e->in + r * m->slice, own_count);
        if (own >= active || !p.count) continue;
        float *from = gradients_sum(m, index) + (p.first - s->first);
        if (!exchange_is_direct(m)) {
            m->k->download(m->dev, e->out + r * m->slice, from, (size_t)p.count * sizeof *from);
            from = e->out + r * m->slice;
        }
        add_out(m, &l, r, from, p.count);
    }
    add_signals(m, &l, number);
    begin(m, number, &l);
}

void exchange_end(struct model *m, int number)
{
    struct exchange *e = &m->exchange[number];
    if (e->section < 0) return;
    if (segments_are_several(m)) {
        segments_add(m, number);
        return;
    }
    const struct section *s = &m->params.section[e->section];
    int64_t active = exchange_active(m), own = m->setup.part;
    struct owned p = exchange_slice_of(m, s, own, e->offset);
    float *to = m->params.gradient + s->own.at + e->offset;
    wait(m, number);
    for (int64_t r = 0; r < m->setup.parts && !m->agreed; r++)
        m->agreed = m->signals[number * m->setup.parts + r];
    bool is_valid = !m->agreed && !m->has_failed;
    for (int64_t r = 0; r < active && p.count && is_valid; r++) {
        float *from = e->received + r * m->slice;
        if (r == own)
            from = gradients_sum(m, e->section) + (p.first - s->first);
        else if (!exchange_is_direct(m))
            m->k->upload(m->dev, from, e->in + r * m->slice, (size_t)p.count * sizeof *from);
        exchange_add(m, to, from, p.count, !m->batches && !r);
    }
    e->section = -1;
}

/* Sends the gradients of a tensor outside of the layers, one slice after the other. */
void exchange_table(struct model *m, int64_t index)
{
    const struct section *s = &m->params.section[index];
    int64_t end = longest_part(m, s);
    for (int64_t offset = 0; offset < end && !m->agreed; offset += m->slice) {
        exchange_begin(m, index, 0, offset);
        exchange_end(m, 0);
    }
}

/* Each block's gradients, or each segment's, go to their owners, except the part that the rank
 * which computed them owns itself. New values and squares go to all other ranks, and so does a
 * signal in each exchange. */
uint64_t exchange_bytes(const struct model *m)
{
    const struct segments *g = &m->segments;
    int64_t parts = parts_count(m), groups = parts / g->ranks, floats = 0, exchanges = 0;
    int64_t blocks = (m->setup.batches + m->setup.block - 1) / m->setup.block;
    must(groups > 0);
    int64_t rounds = (blocks + groups - 1) / groups;
    for (int64_t i = 0; i < m->params.section_count; i++) {
        const struct section *s = &m->params.section[i];
        for (int64_t r = 0; r < parts; r++) {
            int64_t of_rank = blocks / groups + (r / g->ranks < blocks % groups);
            floats += g->own * of_rank * (s->count - parts_of(s, r, parts).count);
        }
        floats += (parts - 1) * s->count;
        must(m->slice > 0);
        exchanges += (longest_part(m, s) + m->slice - 1) / m->slice;
    }
    int64_t squares = (parts - 1) * parts_all_pieces(m);
    int64_t signals = segments_are_several(m) ? 0 : rounds * exchanges * parts * (parts - 1);
    return (uint64_t)floats * sizeof(float) + (uint64_t)squares * sizeof(double) +
           (uint64_t)signals * sizeof *m->signals;
}

/* ---- values, to all ---- */

/* Begins to send the slice of this rank's values to all, and to receive theirs. */
static void begin_values(struct model *m, int64_t index, int number, int64_t offset)
{
    const struct section *s = &m->params.section[index];
    struct exchange *e = &m->exchange[number];
    struct list l = list_of(m);
    struct owned own = exchange_slice_of(m, s, m->setup.part, offset);
    bool is_direct = exchange_is_direct(m);
    float *out = is_direct ? m->params.value + own.first : e->out;
    must(e->section < 0);
    e->section = index;
    e->offset = offset;
    if (!is_direct && own.count)
        m->k->download(m->dev, out, m->params.value + own.first, (size_t)own.count * sizeof *out);
    for (int64_t r = 0; r < m->setup.parts; r++) {
        struct owned p = exchange_slice_of(m, s, r, offset);
        if (r == m->setup.part) continue;
        float *to = is_direct ? m->params.value + p.first : e->in + r * m->slice;
        add_in(m, &l, r, to, p.count);
        add_out(m, &l, r, out, own.count);
    }
    begin(m, number, &l);
}

static void end_values(struct model *m, int number)
{
    struct exchange *e = &m->exchange[number];
    if (e->section < 0) return;
    wait(m, number);
    for (int64_t r = 0; r < m->setup.parts && !exchange_is_direct(m); r++) {
        struct owned p = exchange_slice_of(m, &m->params.section[e->section], r, e->offset);
        float *from = e->in + r * m->slice;
        if (r != m->setup.part && p.count)
            m->k->upload(m->dev, m->params.value + p.first, from, (size_t)p.count * sizeof *from);
    }
    e->section = -1;
}

/* All-gather in slices. While the messages of one slice move, the next slice is begun. */
int model_allgather_values(struct model *m, struct fail *why)
{
    int number = 0;
    if (!parts_are_shared(m)) return 0;
    for (int64_t i = 0; i < m->params.section_count; i++)
        for (int64_t offset = 0, end = longest_part(m, &m->params.section[i]); offset < end;
             offset += m->slice) {
            end_values(m, number);
            begin_values(m, i, number, offset);
            number = (number + 1) % EXCHANGES;
        }
    for (int i = 0; i < EXCHANGES; i++)
        end_values(m, (number + i) % EXCHANGES);
    return exchange_status(m, why);
}

/* ---- squares, to all ---- */

int exchange_squares(struct model *m, double *all, struct fail *why)
{
    struct list l = list_of(m);
    double *own = all;
    for (int64_t r = 0; r < m->setup.part; r++)
        own += parts_pieces(m, r);
    size_t own_bytes = (size_t)parts_pieces(m, m->setup.part) * sizeof *own;
    m->k->download(m->dev, own, m->squares, own_bytes);
    if (!parts_are_shared(m)) return 0;
    double *at = all;
    for (int64_t r = 0; r < m->setup.parts; r++) {
        size_t bytes = (size_t)parts_pieces(m, r) * sizeof *at;
        if (r != m->setup.part) {
            add_host_in(&l, r, at, bytes);
            add_host_out(&l, r, own, own_bytes);
        }
        at += parts_pieces(m, r);
    }
    begin(m, 0, &l);
    wait(m, 0);
    return exchange_status(m, why);
}

/* ---- other messages ---- */

void exchange_wait(struct model *m, int ticket) { wait(m, ticket); }

/* ---- moments, to the rank that writes files ---- */

/* Returns the values of a part that are in [first, first + count). */
static struct owned within(struct owned p, int64_t first, int64_t count)
{
    int64_t begin = p.first > first ? p.first : first;
    int64_t p_end = p.first + p.count, end = first + count < p_end ? first + count : p_end;
    return (struct owned){ begin, end > begin ? end - begin : 0, p.at + begin - p.first };
}

int model_gather_moment(struct model *m, const float *own, int64_t first, int64_t count,
                        float *host, struct fail *why)
{
    if (!parts_are_shared(m)) {
        m->k->download(m->dev, host, own + first, (size_t)count * sizeof *host);
        return 0;
    }
    memset(host, 0, (size_t)count * sizeof *host);
    for (int64_t i = 0; i < m->params.section_count; i++) {
        const struct section *s = &m->params.section[i];
        struct list l = list_of(m);
        struct owned mine = within(s->own, first, count);
        if (mine.count)
            m->k->download(m->dev, host + mine.first - first, own + mine.at,
                           (size_t)mine.count * sizeof *host);
        if (m->setup.part)
            add_host_out(&l, 0, host + mine.first - first, (size_t)mine.count * sizeof *host);
        for (int64_t r = 1; r < m->setup.parts && !m->setup.part; r++) {
            struct owned p = within(parts_of(s, r, m->setup.parts), first, count);
            add_host_in(&l, r, host + p.first - first, (size_t)p.count * sizeof *host);
        }
        begin(m, 0, &l);
        wait(m, 0);
    }
    return exchange_status(m, why);
}

void model_set_moment(struct model *m, float *own, int64_t first, int64_t count, const float *host)
{
    for (int64_t i = 0; i < m->params.section_count; i++) {
        struct owned p = within(m->params.section[i].own, first, count);
        if (p.count)
            m->k->upload(m->dev, own + p.at, host + p.first - first,
                         (size_t)p.count * sizeof *host);
    }
}

int model_agreed(const struct model *m) { return m->agreed; }

void model_at(struct model *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(m->where, sizeof m->where, format, args);
    va_end(args);
    if (m->setup.ranks) ranks_at(m->setup.ranks, "%s", m->where);
}

void model_at_step(struct model *m, int64_t step) { model_at(m, "step %lld", (long long)step); }
