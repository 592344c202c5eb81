#include "model/adapter_load.h"

void fit_set_up(const struct fit *fit, const struct adapter *a, struct model_setup *setup)
{
    setup->rank = a->rank;
    setup->alpha = a->alpha;
    setup->targets = a->targets;
    setup->modules_to_save = a->modules_to_save;
    setup->each = fit->each;
}

/* Uploads the rows of the tokens in trainable_token_indices. The model already has the base's
 * values in all rows. */
static int load_rows(const struct adapter *a, const json_t *ids, struct model *m,
                     const struct trainable *t, struct fail *why)
{
    size_t i;
    json_t *id;
    float *row = malloc((size_t)t->cols * sizeof *row);
    if (!row) return fail(why, "out of memory");
    json_array_foreach((json_t *)ids, i, id)
    {
        adapter_rows(a, t->tensor, STORED_TOKENS, t->cols, (int64_t)i, 1, row);
        model_kernels(m)->upload(model_device(m),
                                 model_parameters(m)->value + t->offset +
                                     json_integer_value(id) * t->cols,
                                 row, (size_t)t->cols * sizeof *row);
    }
    free(row);
    return 0;
}

/* Returns the matrix's values as the model has them, which the caller frees; NULL on failure. */
static float *values_of(const struct adapter *a, const struct trainable *t, struct fail *why)
{
    int kind = adapter_stored_kind(t->tensor, t->kind);
    bool is_transposed = kind == STORED_EMBEDDING_A;
    int64_t rows = is_transposed ? t->cols : t->rows, cols = is_transposed ? t->rows : t->cols;
    float *stored = adapter_values(a, t->tensor, kind, rows, cols, why);
    if (!stored || !is_transposed) return stored;
    float *values = adapter_transposed(stored, rows, cols, why);
    free(stored);
    return values;
}

int adapter_load(const struct adapter *a, const struct fit *fit, struct model *m, struct fail *why)
{
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        if (fit->tokens && t->tensor->role == ROLE_EMBEDDING) {
            if (load_rows(a, fit->tokens, m, t, why)) return -1;
            continue;
        }
        float *values = values_of(a, t, why);
        if (!values) return -1;
        model_kernels(m)->upload(model_device(m), p->value + t->offset, values,
                                 (size_t)(t->rows * t->cols) * 4);
        free(values);
    }
    return 0;
}
