#include "tools/merge/biases.h"

enum block { ATTENTION, MLP, BLOCKS };

static enum block block_of(const struct tensor *t)
{
    bool is_of_mlp = t->part == PART_GATE || t->part == PART_UP || t->part == PART_DOWN ||
                     t->part == PART_GATE_UP;
    return is_of_mlp ? MLP : ATTENTION;
}

bool bias_is_changed(const struct merge_adapter *p, int64_t index)
{
    return p->adapter->has_bias && index < p->fit->count && p->fit->each[index].rank;
}

int64_t biases_list(const struct merge_adapter *parts, int part_count, const struct tensor *table,
                    int64_t count, const struct config *base, struct bias **list, struct fail *why)
{
    bool has[BLOCKS] = { false };
    int64_t n = 0;
    *list = calloc((size_t)count + 1, sizeof **list);
    if (!*list) return fail(why, "out of memory");
    for (int64_t i = 0; i < count; i++)
        for (int p = 0; p < part_count && table[i].role == ROLE_LINEAR; p++)
            if (bias_is_changed(&parts[p], i) && !tensor_has_bias(base, &table[i]))
                has[block_of(&table[i])] = true;
    for (int64_t i = 0; i < count; i++) {
        const struct tensor *t = &table[i];
        if (t->role != ROLE_LINEAR || !has[block_of(t)] || tensor_has_bias(base, t)) continue;
        struct bias *b = &(*list)[n++];
        *b = (struct bias){ .of = t, .index = i };
        char module[64];
        tensor_module(t, module);
        snprintf(b->name, sizeof b->name, "%.57s.bias", module);
    }
    return n;
}

struct tensor_header bias_header(const struct bias *b, enum dtype dtype)
{
    return (struct tensor_header){ b->name, dtype, 1, { b->of->rows } };
}

int biases_to_config(const struct bias *list, int64_t count, json_t *config, struct fail *why)
{
    static const char *const keys[BLOCKS] = { "attention_bias", "mlp_bias" };
    for (int64_t i = 0; i < count; i++)
        if (json_object_set_new(config, keys[block_of(list[i].of)], json_true()))
            return fail(why, "out of memory");
    return 0;
}

int bias_add(const struct merge_adapter *p, const struct tensor *linear, int64_t index,
             float *values, struct fail *why)
{
    if (!bias_is_changed(p, index)) return 0;
    float *own = adapter_values(p->adapter, linear, STORED_BIAS, linear->rows, 1, why);
    if (!own) return -1;
    float scale = (float)(p->weight * p->fit->each[index].scale);
    for (int64_t r = 0; r < linear->rows; r++)
        values[r] += scale * own[r];
    free(own);
    return 0;
}

int bias_compute(struct merger *m, const struct bias *b, struct fail *why)
{
    int64_t rows = b->of->rows;
    enum dtype dtype = m->dtypes[b->index];
    must(rows <= m->capacity);
    memset(m->wide, 0, (size_t)rows * sizeof *m->wide);
    for (int i = 0; i < m->part_count; i++)
        if (bias_add(&m->parts[i], b->of, b->index, m->wide, why))
            return fail_in(why, m->parts[i].path);
    m->k->narrow_sum(m->dev, m->narrow, dtype, m->wide, 0, NULL, rows);
    return 0;
}
