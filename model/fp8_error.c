/* Measures how far products in fp8 are from the usual ones, in one forward of a training. */
#include "model/model_internal.h"

#include <math.h>

static const char *const group_names[] = {
    [SLOT_QKV] = "q, k, v", [SLOT_O] = "o", [SLOT_GATE_UP] = "gate, up", [SLOT_DOWN] = "down"
};

/* Returns the largest number of outputs that a group of a layer has. */
static int64_t widest_group(const struct model *m)
{
    const struct config *c = &m->config;
    int64_t qkv = (c->heads + 2 * c->kv_heads) * c->head_dim, gate_up = 2 * c->ffn;
    int64_t widest = qkv > gate_up ? qkv : gate_up;
    return widest > c->dim ? widest : c->dim;
}

void fp8_error_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t))
{
    struct fp8_compared *f = &m->fp8;
    int64_t stride = (widest_group(m) + 7) / 8 * 8;
    if (!m->setup.fp8) return;
    f->values = FP8_ERROR_ROWS * stride;
    f->y.stride = stride;
    f->y.at = alloc(m, MEMORY_CHUNK, (size_t)(f->values * m->k->act_bytes));
    f->f32 = alloc(m, MEMORY_CHUNK, 2 * (size_t)f->values * sizeof *f->f32);
}

int fp8_error_open(struct model *m, struct fail *why)
{
    if (!m->setup.fp8) return 0;
    m->fp8.host = malloc(2 * (size_t)m->fp8.values * sizeof *m->fp8.host);
    return m->fp8.host ? 0 : fail(why, "out of memory");
}

static void add(struct model *m, int64_t layer, int slot, double error)
{
    struct fp8_error *e = &m->fp8.error;
    e->mean += (error - e->mean) / (double)++m->fp8.count;
    if (m->fp8.count > 1 && error <= e->largest) return;
    e->largest = error;
    e->layer = layer;
    e->group = group_names[slot];
}

void fp8_error_compare(struct model *m, int64_t layer, const struct group *g, struct mat x,
                       int64_t rows)
{
    const struct kernels *k = m->k;
    struct fp8_compared *f = &m->fp8;
    struct linear alone[3];
    struct mat none = { NULL, 0 };
    int64_t outs = 0;
    if (!f->is_due || !g->is_fp8) return;
    if (rows > FP8_ERROR_ROWS) rows = FP8_ERROR_ROWS;
    must(g->count <= 3);
    for (int i = 0; i < g->count; i++) {
        alone[i] = g->at[i];
        alone[i].bias = NULL;
        alone[i].rank = 0;
        outs += alone[i].out;
    }
    int64_t count = rows * outs;
    must(count <= f->values);
    for (int in_fp8 = 0; in_fp8 < 2; in_fp8++) {
        struct group products = { alone, g->count, g->slot, in_fp8 };
        k->linear_prepare(m->dev, &products);
        k->linear_fwd(m->dev, f->y, x, &products, none, rows, (struct dropout){ 0 });
        k->cast_out(m->dev, f->f32 + in_fp8 * count, f->y, rows, outs);
    }
    k->linear_prepare(m->dev, g);
    k->download(m->dev, f->host, f->f32, 2 * (size_t)count * sizeof *f->host);
    double squares = 0, error_squares = 0;
    for (int64_t i = 0; i < count; i++) {
        double usual = (double)f->host[i], difference = (double)f->host[count + i] - usual;
        squares += usual * usual;
        error_squares += difference * difference;
    }
    add(m, layer, g->slot, error_squares == 0 ? 0 : sqrt(error_squares / squares));
}

void model_measure_fp8(struct model *m)
{
    m->fp8.is_due = m->setup.fp8;
    m->fp8.count = 0;
    m->fp8.error = (struct fp8_error){ 0 };
}

bool model_fp8_error(const struct model *m, struct fp8_error *e)
{
    *e = m->fp8.error;
    return m->fp8.count > 0 && !m->fp8.is_due;
}
