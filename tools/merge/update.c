#include "tools/merge/update.h"

#include "lib/cli/die.h"
#include "tools/merge/biases.h"

static const struct adapted none;

/* Returns how the adapter changes a tensor of the result. Returns `none` for a head that the
 * adapter keeps tied to the embedding. */
static const struct adapted *adapted_of(const struct merge_adapter *p, int64_t index)
{
    return index < p->fit->count ? &p->fit->each[index] : &none;
}

/* ---- adapters that are merged together ---- */

/* Does the adapter add to the tensor: LoRA's product, or to a bias what lora_bias adds? */
static bool adds_to(const struct merger *m, const struct merge_adapter *p, int64_t index)
{
    if (m->table[index].role == ROLE_BIAS)
        return bias_is_changed(p, tensor_biased(m->table, index));
    return adapted_of(p, index)->rank;
}

static int check_pair(const struct merger *m, const struct merge_adapter *p,
                      const struct merge_adapter *q, struct fail *why)
{
    for (int64_t i = 0; i < m->count; i++) {
        const struct adapted *a = adapted_of(p, i), *b = adapted_of(q, i);
        if (!a->is_saved_whole || !(b->is_saved_whole || adds_to(m, q, i))) continue;
        /* Merged into the result of the first, the second would put this copy in its place. */
        bool has_copy = adapter_find(q->adapter, &m->table[i], STORED_BASE);
        return fail_usage(why, "%.150s replaces %s, which %.150s %s too: %s", p->path,
                          m->table[i].name, q->path, b->is_saved_whole ? "replaces" : "changes",
                          has_copy ? "leave one out, because the second stores the tensor that it "
                                     "was trained with, too"
                                   : "merge one after the other");
    }
    bool has_tied = adapted_of(q, 0)->is_saved_whole && !q->fit->unties;
    if (p->fit->unties && has_tied)
        return fail_usage(why,
                          "%.150s unties the head from the embedding, %.150s replaces both as one: "
                          "merge one after the other",
                          p->path, q->path);
    if (p->fit->grows && (adapted_of(q, 0)->rank || adapted_of(q, m->count - 1)->rank))
        return fail_usage(why,
                          "%.150s has tokens that the base lacks, and %.150s changes the rows of "
                          "the base's tokens: merge one after the other",
                          p->path, q->path);
    return 0;
}

static int check_weight(const struct merger *m, const struct merge_adapter *p, struct fail *why)
{
    if (p->weight == 1) return 0;
    for (int64_t i = 0; i < m->count; i++)
        if (adapted_of(p, i)->is_saved_whole)
            return fail_usage(why,
                              "%.200s replaces %s completely (modules_to_save), so it can have no "
                              "weight: leave the weight out",
                              p->path, m->table[i].name);
    return 0;
}

/* PEFT takes the copy of the base's embedding or head that an adapter stores. If it differs from
 * the base's, what was trained or merged there is lost. */
static int warn_of_copy(const struct merger *m, const struct merge_adapter *p, struct fail *why)
{
    struct fail differs = { 0 };
    if (!adapter_check_copies(p->adapter, p->fit, m->base, "and replaces it, as in PEFT", &differs))
        return 0;
    if (differs.status != STATUS_INPUT) {
        *why = differs;
        return -1;
    }
    warn("%s: %s", p->path, differs.text);
    return 0;
}

int update_check_parts(const struct merger *m, struct fail *why)
{
    for (int i = 0; i < m->part_count; i++) {
        const struct merge_adapter *p = &m->parts[i];
        if (p->adapter->is_dora && (m->part_count > 1 || p->weight != 1))
            return fail_usage(why,
                              "%.200s: a DoRA adapter cannot be added to others: merge this one "
                              "alone, then the others into the result",
                              p->path);
        if (check_weight(m, p, why) || warn_of_copy(m, p, why)) return -1;
        for (int j = 0; j < m->part_count; j++)
            if (i != j && check_pair(m, p, &m->parts[j], why)) return -1;
    }
    return 0;
}

/* ---- one tensor ---- */

void update_release(struct update *u)
{
    for (int i = 0; i < u->count; i++) {
        free(u->at[i].a_transposed);
        free(u->at[i].b);
    }
    free(u->bias);
    free(u->magnitude);
    free(u->norm);
}

static int read_linear(const struct adapter *a, const struct tensor *t, struct change *c,
                       struct fail *why)
{
    float *lora_a = adapter_values(a, t, TRAINED_LORA_A, c->rank, t->cols, why);
    if (!lora_a) return -1;
    c->b = adapter_values(a, t, TRAINED_LORA_B, t->rows, c->rank, why);
    c->a_transposed = adapter_transposed(lora_a, c->rank, t->cols, why);
    free(lora_a);
    return c->b && c->a_transposed ? 0 : -1;
}

/* PEFT stores the matrices of an embedding transposed, so the change is AᵀBᵀ. */
static int read_embedding(const struct adapter *a, const struct tensor *t, struct change *c,
                          struct fail *why)
{
    float *lora_a = adapter_values(a, t, STORED_EMBEDDING_A, c->rank, t->rows, why);
    if (!lora_a) return -1;
    c->a_transposed = adapter_values(a, t, STORED_EMBEDDING_B, t->cols, c->rank, why);
    c->b = adapter_transposed(lora_a, c->rank, t->rows, why);
    free(lora_a);
    return c->b && c->a_transposed ? 0 : -1;
}

static int read_change(const struct merge_adapter *p, const struct tensor *t,
                       const struct adapted *own, struct update *u, struct fail *why)
{
    struct change *c = &u->at[u->count++];
    bool is_embedding = t->role == ROLE_EMBEDDING;
    c->rank = own->rank;
    c->scale = (float)(p->weight * own->scale);
    if (is_embedding ? read_embedding(p->adapter, t, c, why) : read_linear(p->adapter, t, c, why))
        return -1;
    if (!p->adapter->is_dora) return 0;
    u->magnitude =
        adapter_values(p->adapter, t, STORED_MAGNITUDE, is_embedding ? t->cols : t->rows, 1, why);
    return u->magnitude ? 0 : -1;
}

/* Makes the update begin with rows that the adapter stores, instead of the base's. Fails unless
 * they have the shape [rows, cols of own->t]. */
static int set_own_rows(struct update *u, const struct own_rows *own, int64_t rows,
                        struct fail *why)
{
    u->own = *own;
    return adapter_check_shape(own->adapter, own->t, own->kind, rows, own->t->cols, why);
}

/* Uses the copy of the base's matrix that PEFT may store for an adapted embedding or head. If the
 * two are tied, one stored matrix serves for both. */
static int use_stored_copy(const struct merger *m, const struct merge_adapter *p, int64_t index,
                           struct update *u, struct fail *why)
{
    const struct tensor *t = &m->table[index],
                        *other = index ? &m->table[0] : &m->table[m->count - 1];
    if (t->role != ROLE_EMBEDDING && t->role != ROLE_HEAD) return 0;
    if (!adapter_find(p->adapter, t, STORED_BASE)) {
        if (!p->fit->unties || !adapter_find(p->adapter, other, STORED_BASE)) return 0;
        /* Another adapter replaces this one of the two, and does not change the other. */
        if (u->own.adapter) return 0;
        t = other;
    }
    const struct own_rows own = {
        .adapter = p->adapter, .t = t, .kind = STORED_BASE, .rounds = true
    };
    return set_own_rows(u, &own, t->rows, why);
}

/* Reads what lora_bias adds to a bias of the base. */
static int read_bias(const struct merger *m, const struct merge_adapter *p, int64_t index,
                     struct update *u, struct fail *why)
{
    int64_t linear = tensor_biased(m->table, index);
    if (!bias_is_changed(p, linear)) return 0;
    if (!u->bias) u->bias = calloc((size_t)m->table[index].rows, sizeof *u->bias);
    if (!u->bias) return fail(why, "out of memory");
    return bias_add(p, &m->table[linear], linear, u->bias, why);
}

static int read_part(struct merger *m, const struct merge_adapter *p, int64_t index,
                     struct update *u, struct fail *why)
{
    const struct tensor *t = &m->table[index];
    const struct adapted *own = adapted_of(p, index);
    struct own_rows whole = { .adapter = p->adapter, .t = t, .kind = TRAINED_WEIGHT };
    if (!index && p->fit->tokens) {
        whole.kind = STORED_TOKENS;
        whole.tokens = p->fit->tokens;
        return set_own_rows(u, &whole, (int64_t)json_array_size(whole.tokens), why);
    }
    if (own->is_saved_whole && set_own_rows(u, &whole, t->rows, why)) return -1;
    /* With lora_bias the bias of B is added to the trained bias that the adapter stores. */
    if (t->role == ROLE_BIAS) return read_bias(m, p, index, u, why);
    if (own->is_saved_whole) return 0;
    if (use_stored_copy(m, p, index, u, why)) return -1;
    return own->rank ? read_change(p, t, own, u, why) : 0;
}

int update_read(struct merger *m, int64_t index, struct update *u, struct fail *why)
{
    *u = (struct update){ 0 };
    for (int i = 0; i < m->part_count; i++)
        if (read_part(m, &m->parts[i], index, u, why)) return fail_in(why, m->parts[i].path);
    m->merged += u->count > 0;
    m->replaced += u->own.adapter && !u->count;
    return 0;
}
