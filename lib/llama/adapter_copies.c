/* adapter_copies.c - PEFT may store copies of embedding and head beside their LoRA matrices, or
 * because the vocabulary was changed. This file compares these copies with the base's embedding and
 * head. */
#include "lib/llama/adapter.h"

#include "lib/common/bf16.h"

/* Rounds a value to the base's type, as PEFT does when it loads the copy. */
static float rounded(float x, enum dtype type)
{
    return type == DTYPE_BF16  ? bf16_to_float(bf16_from_float(x))
           : type == DTYPE_F16 ? f16_to_float(f16_from_float(x))
                               : x;
}

static float value_at(const void *row, enum dtype type, int64_t i)
{
    const uint16_t *half = row;
    return type == DTYPE_BF16  ? bf16_to_float(half[i])
           : type == DTYPE_F16 ? f16_to_float(half[i])
                               : ((const float *)row)[i];
}

/* Compares the stored copy of the base's tensor `index` with the base. advice: what to do if they
 * differ. */
static int compare(const struct adapter *a, int kind, const struct weights *w, int64_t index,
                   const char *advice, struct fail *why)
{
    const struct tensor *t = &w->table[index];
    enum dtype type = w->at[index].type;
    int status = 0;
    float *row = malloc((size_t)t->cols * sizeof *row);
    void *buffer = malloc((size_t)t->cols * sizeof(float));
    if (!row || !buffer) status = fail(why, "out of memory");
    for (int64_t r = 0; r < t->rows && !status; r++) {
        const void *own = weights_rows(w, index, r, 1, buffer);
        adapter_rows(a, t, kind, t->cols, r, 1, row);
        for (int64_t i = 0; i < t->cols && !status; i++)
            if (rounded(row[i], type) != value_at(own, type, i))
                status = fail_input(why, "its tensor %s differs from the base's, %s",
                                    adapter_find(a, t, kind)->name, advice);
    }
    free(row);
    free(buffer);
    return status;
}

int adapter_check_copies(const struct adapter *a, const struct fit *fit, const struct weights *w,
                         const char *advice, struct fail *why)
{
    for (int64_t i = 0; i < w->count && i < fit->count; i++) {
        const struct tensor *t = &w->table[i];
        if (!fit->each[i].rank || t->role == ROLE_LINEAR || !adapter_find(a, t, STORED_BASE))
            continue;
        if (compare(a, STORED_BASE, w, i, advice, why)) return -1;
    }
    return 0;
}

static const char not_trained[] = "and PEFT would keep it without training it (modules_to_save "
                                  "does not name it): merge the adapter, and train on the merged "
                                  "model";

int adapter_freeze_unlisted(const struct adapter *a, struct fit *fit, const struct weights *w,
                            bool has_data, struct fail *why)
{
    if (!fit->unlisted) return 0;
    if (fit->grows)
        return fail_input(why, "its embedding or head has more rows than the base's, %s",
                          not_trained);
    if (fit->unlisted & a->modules_to_save)
        return fail_input(why, "ensure_weight_tying, but the base's head is not tied to its "
                               "embedding: delete that key");
    for (int64_t i = 0; i < w->count && i < fit->count; i++) {
        const struct tensor *t = &w->table[i];
        if (!(fit->unlisted >> t->part & 1)) continue;
        if (has_data && compare(a, TRAINED_WEIGHT, w, i, not_trained, why)) return -1;
        fit->each[i].is_saved_whole = false;
    }
    return 0;
}
