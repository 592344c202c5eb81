/* update.h - reads the matrices by which the adapters change one tensor of the base.
 */
#ifndef LONGQLORA_UPDATE_H
#define LONGQLORA_UPDATE_H

#include "tools/merge/merger.h"

/* change = scale · b · a_transposedᵀ, [rows, cols] */
struct change {
    float *a_transposed; /* [cols, rank] */
    float *b;            /* [rows, rank] */
    int64_t rank;
    float scale;
};

/* The source of rows that an adapter has in place of the base's rows. The changes are added to
 * these rows. The rows are read piece by piece, because an embedding may be larger than everything
 * else in memory. */
struct own_rows {
    const struct adapter *adapter; /* NULL: the rows come from the base */
    const struct tensor *t;        /* the adapter's tensor that has the rows */
    int kind;
    /* The rows are rounded to the base's type, because PEFT copies them into the base. */
    bool rounds;
    const json_t *tokens; /* the ids whose rows the adapter has; NULL: it has all rows */
};

struct update {
    struct change at[MERGE_ADAPTERS_MAX];
    int count;
    struct own_rows own;
    float *bias;      /* [rows] what lora_bias adds to a bias of the base; NULL: nothing */
    float *magnitude; /* DoRA's magnitude, [rows], or [cols] of an embedding; NULL: none */
    float *norm;      /* [cols] norms of an embedding's columns, filled by find_norms */
};

/* Fails if two adapters cannot be merged together. The message names both and the tensor. */
int update_check_parts(const struct merger *m, struct fail *why) MUST_USE;
/* The caller calls update_release, also after a failure. */
int update_read(struct merger *m, int64_t index, struct update *u, struct fail *why) MUST_USE;
void update_release(struct update *u);

#endif
