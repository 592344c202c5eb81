/* adapter_copies.c - PEFT may store copies of embedding and head beside their LoRA matrices. This
 * file compares these copies with the base's embedding and head. */
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

static int compare(const struct adapter *a, const struct tensor *t, const struct weights *w,
                   int64_t index, float *row, void *buffer, struct fail *why)
{
    enum dtype type = w->at[index].type;
    for (int64_t r = 0; r < t->rows; r++) {
        const void *own = weights_rows(w, index, r, 1, buffer);
        adapter_rows(a, t, STORED_BASE, t->cols, r, 1, row);
        for (int64_t i = 0; i < t->cols; i++)
            if (rounded(row[i], type) != value_at(own, type, i))
                return fail_input(why,
                                  "its tensor %s differs from the base's, which PEFT replaces by "
                                  "it: merge the adapter first, and name the merged model",
                                  adapter_find(a, t, STORED_BASE)->name);
    }
    return 0;
}

int adapter_check_copies(const struct adapter *a, const struct fit *fit, const struct weights *w,
                         struct fail *why)
{
    int status = 0;
    for (int64_t i = 0; i < w->count && i < fit->count && !status; i++) {
        const struct tensor *t = &w->table[i];
        if (!fit->each[i].rank || t->role == ROLE_LINEAR || !adapter_find(a, t, STORED_BASE))
            continue;
        float *row = malloc((size_t)t->cols * sizeof *row);
        void *buffer = malloc((size_t)t->cols * sizeof(float));
        status = row && buffer ? compare(a, t, w, i, row, buffer, why) : fail(why, "out of memory");
        free(row);
        free(buffer);
    }
    return status;
}
