/* Lists the trained parameters of a model: their places in the flat arrays, and the sections. */
#include "model/model_internal.h"

#include "lib/common/arithmetic.h"

/* A matrix begins at a multiple of this many values, which are 64 bytes. */
enum { MATRIX_ALIGNMENT = 16 };

static int64_t rounded_to(int64_t count, int64_t multiple)
{
    return ceil_div(count, multiple) * multiple;
}

/* Begins a section unless the tensor belongs to the present one. */
static void add_to_section(struct parameters *p, const struct tensor *t)
{
    const struct tensor *before = p->at_count ? p->at[p->at_count - 1].tensor : NULL;
    if (before && (before == t || (t->layer >= 0 && before->layer == t->layer))) return;
    p->count = rounded_to(p->count, SECTION_ALIGNMENT);
    p->section[p->section_count++] = (struct section){ .first = p->count, .layer = t->layer };
}

static void add_trainable(struct parameters *p, const struct tensor *t, enum trained kind,
                          int64_t rows, int64_t cols)
{
    add_to_section(p, t);
    p->at[p->at_count++] =
        (struct trainable){ t, kind, p->count, rows, cols, p->section_count - 1 };
    p->count += rounded_to(rows * cols, MATRIX_ALIGNMENT);
    struct section *s = &p->section[p->section_count - 1];
    s->count = p->count - s->first;
}

int parameters_list(struct model *m, struct fail *why)
{
    struct parameters *p = &m->params;
    p->at = calloc((size_t)m->tensor_count * 3, sizeof *p->at);
    /* There are at most as many sections as tensors. */
    p->section = calloc((size_t)m->tensor_count, sizeof *p->section);
    m->places = calloc((size_t)m->tensor_count, sizeof *m->places);
    m->section_of_layer = malloc((size_t)m->config.layers * sizeof *m->section_of_layer);
    if (!p->at || !p->section || !m->places || !m->section_of_layer)
        return fail(why, "out of memory");
    for (int64_t i = 0; i < m->tensor_count; i++) {
        const struct tensor *t = &m->table[i];
        if (placement_is_trained(m, t)) add_trainable(p, t, TRAINED_WEIGHT, t->rows, t->cols);
        int64_t rank = model_adapted(m, t)->rank;
        if (!rank) continue;
        if (t->role == ROLE_EMBEDDING) {
            add_trainable(p, t, TRAINED_LORA_A, t->rows, rank);
            add_trainable(p, t, TRAINED_LORA_B, t->cols, rank);
            continue;
        }
        add_trainable(p, t, TRAINED_LORA_A, rank, t->cols);
        add_trainable(p, t, TRAINED_LORA_B, t->rows, rank);
    }
    for (int64_t i = 0; i < m->config.layers; i++)
        m->section_of_layer[i] = -1;
    for (int64_t i = 0; i < p->section_count; i++)
        if (p->section[i].layer >= 0) m->section_of_layer[p->section[i].layer] = i;
    parts_list(m);
    return 0;
}
