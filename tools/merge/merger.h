/* merger.h - merges adapters: computes W + Σ wᵢ sᵢ BᵢAᵢ in f32 and rounds once. A piece is some
 * rows of a tensor, few enough for the cache. Here wᵢ is the adapter's weight on the command line
 * and sᵢ its scale (LoRA: Hu et al. 2021, equation 3).
 *
 * DoRA (Liu et al. 2024): m ∘ (W + s·B·A) / ‖W + s·B·A‖, where m is the trained magnitude. The norm
 * is taken over a row of a linear layer's weight, or over a column of an embedding.
 */
#ifndef LONGQLORA_MERGER_H
#define LONGQLORA_MERGER_H

#include "lib/llama/base_digest.h"
#include "lib/llama/model_directory.h"
#include "model/loaded.h"

enum { MERGE_ADAPTERS_MAX = 64 };

/* One of the adapters that are merged. The pointers belong to the caller. */
struct merge_adapter {
    const struct adapter *adapter;
    const struct fit *fit; /* how the adapter applies to the base */
    double weight;
    const char *path; /* for messages */
};

struct bias;

struct merger {
    const struct weights *base;
    /* [count] The tensors of the result. The table may have a head although the base's head is
     * tied. The table may also have rows for tokens that the base lacks. */
    const struct tensor *table;
    int64_t count;
    const struct merge_adapter *parts;
    int part_count;
    const char *base_path; /* for messages; the caller sets it after merger_open */
    const struct kernels *k;
    struct device *dev;
    const enum dtype *dtypes;       /* [count] types of the results */
    float *wide, *change;           /* the rows in f32, and B·A for them */
    void *narrow;                   /* the rows in the result's type */
    int64_t capacity;               /* how many elements each of the three buffers holds */
    double squares, change_squares; /* ‖W‖² and ‖ΔW‖² of the adapted tensors */
    int64_t merged, replaced;       /* numbers of tensors */
    const struct bias *biases; /* the biases, which are produced after the tensors of the table */
    /* Computes the base's digest while the base is read; NULL if the digest is not checked. */
    struct base_reading *reading;
    bool keeps_heads;
};

struct merger_job {
    const struct weights *base;
    const struct tensor *table;
    int64_t count;
    const struct merge_adapter *parts;
    int part_count;
    const enum dtype *dtypes;
    const struct bias *biases; /* from biases_list; NULL: none */
    /* Checks, when the last tensor is produced, that every adapter was trained on this base. All
     * other tensors must be produced before it, in order. */
    bool checks_base;
    int threads;
    /* The pieces of q and k that merger_make produces consist of whole heads, so that the rows of
     * each head can be reordered. */
    bool keeps_heads;
};

/* Fails if the adapters cannot be merged together. Allocates buffers for a piece of any tensor.
 * Everything that the job points to must outlive the merger. */
int merger_open(struct merger *m, const struct merger_job *job, struct fail *why) MUST_USE;
void merger_close(struct merger *m);

/* A function that takes the next piece of a tensor: `count` elements, in whole rows, in the type of
 * the result. */
typedef int merger_put(void *sink, int64_t index, const void *rows, int64_t count,
                       struct fail *why);
/* Computes tensor `index` of the result, and passes it to `put` in pieces. The indexes after the
 * `count` tensors of the table are those of the biases. */
int merger_make(struct merger *m, int64_t index, merger_put *put, void *sink,
                struct fail *why) MUST_USE;
/* Produces one tensor of the output. It is the callback of model_directory_produce; `arg` is a
 * struct merger. */
int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why);

#endif
