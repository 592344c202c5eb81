/* update.h - what the adapters do to one tensor: their matrices, ready to be multiplied. */
#ifndef LONGQLORA_UPDATE_H
#define LONGQLORA_UPDATE_H

#include "tools/merge/merger.h"

/* change = scale · b · turned_aᵀ */
struct change {
    float *turned_a; /* [cols, rank] */
    float *b;        /* [rows, rank] */
    int64_t rank;
    float scale;
};

struct update {
    struct change at[MERGE_ADAPTERS_MAX];
    int count;
    float *own;       /* [rows, cols] in place of the base's; NULL: none */
    float *magnitude; /* DoRA's, [rows], or of an embedding [cols]; NULL: none */
    float *norm;      /* of an embedding's columns, [cols], to be filled */
};

/* Do the adapters go together? Fails, naming the two and the tensor. */
int update_check_parts(const struct merger *m, struct fail *why) MUST_USE;
/* The caller releases it, also on failure. */
int update_read(struct merger *m, int64_t index, struct update *u, struct fail *why) MUST_USE;
void update_release(struct update *u);

#endif
