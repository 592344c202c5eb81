/* merger.h - W + Σ wᵢ sᵢ BᵢAᵢ in f32, rounded once, in pieces of rows that stay in the cache.
 *
 * DoRA (Liu et al. 2024): m ∘ (W + s·B·A) / ‖W + s·B·A‖, by rows of a linear, by columns of an
 * embedding.
 */
#ifndef LONGQLORA_MERGER_H
#define LONGQLORA_MERGER_H

#include "lib/llama/base_digest.h"
#include "lib/llama/model_directory.h"
#include "model/loaded.h"

enum { MERGE_ADAPTERS_MAX = 64 };

/* An adapter of those that are merged. */
struct merge_adapter {
    const struct adapter *adapter;
    const struct fit *fit; /* with the base */
    double weight;
    const char *path; /* for messages */
};

struct bias;

struct merger {
    const struct weights *base;
    const struct tensor *table; /* of the result, [count]: where its head is untied, one more than
                                 * the base may have, and rows of tokens that the base has not */
    int64_t count;
    const struct merge_adapter *parts;
    int part_count;
    const char *base_path; /* for messages; set after merger_open */
    const struct kernels *k;
    struct device *dev;
    const enum dtype *dtypes;       /* of the results, [count] */
    float *wide, *change;           /* rows of the tensor, and what is added to them */
    void *narrow;                   /* the result */
    int64_t capacity;               /* elements of each */
    double squares, change_squares; /* ‖W‖² and ‖ΔW‖² of the adapted tensors */
    int64_t merged, replaced;       /* tensors */
    const struct bias *biases;      /* that come after the table's tensors */
    struct base_reading *reading;   /* the base's digest on the way, if it is to be checked */
};

struct merger_job {
    const struct weights *base;
    const struct tensor *table;
    int64_t count;
    const struct merge_adapter *parts;
    int part_count;
    const enum dtype *dtypes;
    const struct bias *biases; /* biases_list; NULL: none are produced */
    bool checks_base; /* the last tensor fails if the base is not that of every adapter; the others
                       * are to be made before it, in their order */
    int threads;
};

/* Fails for adapters that do not go together. Takes room for any tensor's pieces. What the job
 * points to must outlive the merger. */
int merger_open(struct merger *m, const struct merger_job *job, struct fail *why) MUST_USE;
void merger_close(struct merger *m);

/* arg is a struct merger: one tensor of the output. (model_directory_produce) */
int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why);

#endif
