#include "tools/merge/biases.h"

enum block { ATTENTION, MLP, BLOCKS };

static enum block block_of(const struct tensor *t)
{
    return t->part == PART_GATE || t->part == PART_UP || t->part == PART_DOWN ? MLP : ATTENTION;
}

static bool has_bias(const struct merge_adapter *p, int64_t index)
{
    return p->adapter->has_bias && index < p->fit->count && p->fit->each[index].rank;
}

int64_t biases_list(const struct merge_adapter *parts, int part_count, const struct tensor *table,
                    int64_t count, struct bias **list, struct fail *why)
{
    bool has[BLOCKS] = { false };
    int64_t n = 0;
    *list = calloc((size_t)count + 1, sizeof **list);
    if (!*list) return fail(why, "out of memory");
    for (int64_t i = 0; i < count; i++)
        for (int p = 0; p < part_count && table[i].role == ROLE_LINEAR; p++)
            if (has_bias(&parts[p], i)) has[block_of(&table[i])] = true;
    for (int64_t i = 0; i < count; i++) {
        const struct tensor *t = &table[i];
        if (t->role != ROLE_LINEAR || !has[block_of(t)]) continue;
        struct bias *b = &(*list)[n++];
        *b = (struct bias){ .of = t, .index = i };
        snprintf(b->name, sizeof b->name, "%.*s.bias", (int)(strlen(t->name) - strlen(".weight")),
                 t->name);
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

int bias_compute(struct merger *m, const struct bias *b, struct fail *why)
{
    int64_t rows = b->of->rows;
    enum dtype dtype = m->dtypes[b->index];
    must(rows <= m->capacity);
    memset(m->wide, 0, (size_t)rows * sizeof *m->wide);
    for (int i = 0; i < m->part_count; i++) {
        const struct merge_adapter *p = &m->parts[i];
        if (!has_bias(p, b->index)) continue;
        float *values = adapter_values(p->adapter, b->of, STORED_BIAS, rows, 1, why);
        if (!values) return fail_in(why, p->path);
        float scale = (float)(p->weight * p->fit->each[b->index].scale);
        for (int64_t r = 0; r < rows; r++)
            m->wide[r] += scale * values[r];
        free(values);
    }
    m->k->narrow_sum(m->dev, m->narrow, dtype, m->wide, 0, NULL, rows);
    return 0;
}
