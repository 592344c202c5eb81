/* model.h - a LLaMA: forward, loss and backward, for every backend and every kind of training.
 *
 * model_open plans and allocates all memory; a pass allocates none. A batch has T rows, which are
 * the tokens of one or more samples, one after the other. Operations on single rows run in chunks
 * of rows; only attention sees all T rows.
 *
 * A training:
 *
 *     model_plan(&plan, &setup, NULL, &outline, why)       optional: what model_open will allocate
 *     model_open(&m, &setup, NULL, &weights, seed, why)
 *     adapter_load(&a, &fit, m, why)                       only to train an adapter further
 *     model_forget_weights(m, &weights)                    optional: frees the source on a GPU
 *     for each batch of an update:
 *         model_forward(m, &batch, drop)
 *         model_loss(m, nll, loss_scale / targets, why)  nll [T]
 *         model_backward(m)                              adds to the gradients
 *     optimiser_step(&o, m, done, loss_scale, &norm, why)  applies the gradients and zeroes them
 *     ... further updates ...
 *     model_close(m)
 *
 * A batch's gradients do not depend on the batches before it: they are computed by themselves, and
 * then added to the sum of the update, ((g₀ + g₁) + g₂) + … With blocks of two batches the sum is
 * ((g₀ + g₁) + (g₂ + g₃)) + …
 *
 * `done` is the number of updates before this one. drop.first_row is the number of the batch's
 * first row in the update.
 *
 * One token of a generation, with a model opened with setup.context > 0 and is_training false:
 *
 *     model_forward(m, &batch, (struct dropout){ 0 })    appends the batch's rows to the cache
 *     model_logits(m, 1, logits, why)                    logits [1, V] of the last row
 *
 * Functions that fail return -1 and fill *why. Operations are queued, so the failure of a forward
 * or backward is reported by the next model_loss, model_logits or optimiser_step. A wrong size is a
 * mistake of the caller and aborts (must, lib/common/fail.h).
 */
#ifndef LONGQLORA_MODEL_MODEL_H
#define LONGQLORA_MODEL_MODEL_H

#include "lib/llama/adapted.h"
#include "lib/ranks/ranks.h"
#include "model/memory_plan.h"

#define STORES_ALL INT64_MAX

/* What is trained: nothing, adapters (and modules_to_save), or every tensor. */
enum method { METHOD_FROZEN, METHOD_LORA, METHOD_FULL };

struct model_setup {
    enum method method; /* METHOD_FROZEN with rank > 0: the adapter is applied but not trained */
    bool is_training;   /* allocates gradients and AdamW's moments */
    int64_t rank;
    double alpha, dropout;
    uint32_t targets; /* bit p is set if part p (enum part) carries an adapter */
    /* bit p is set if part p has a full matrix of its own, trained or loaded, beside the
     * adapters */
    uint32_t modules_to_save;
    /* How an existing adapter adapts each tensor of tensors_list. This overrides targets and
     * modules_to_save, and the caller loads the adapter's values with adapter_load. NULL: a new
     * adapter. Borrowed until the model is open. */
    const struct adapted *each;
    /* How many of the last layers store their activations. The backward recomputes the activations
     * of the other layers. STORES_ALL: every layer. */
    int64_t stored_layers;
    /* How many of the recomputed layers store the output of attention. They are the last ones. */
    int64_t stored_attention;
    int64_t positions; /* tokens of the longest sample */
    /* Batches of an update; 0 means 1. From two on, training takes memory for a batch's gradients
     * of one layer, the tables and the final norm. */
    int64_t batches;
    /* Batches of a block. The gradients of these batches are summed first, and then their sum is
     * added to the update's sum. In each round every rank computes one block. The last block may
     * have fewer batches. 0 means 1. If blocks have several batches, training takes memory for one
     * more gradient when an update has several blocks, or when several ranks share it. */
    int64_t block;
    /* parts: how many ranks share an update's batches; 0 means 1. part: the number of this rank.
     * Each rank owns a part of the gradients and moments. `ranks` carries their messages; it is
     * borrowed, and NULL for a plan or for one rank. */
    int64_t parts, part;
    struct ranks *ranks;
    /* From 2 on, a batch is one sample, which is cut into this many segments of rows. A sum over
     * rows is then computed for each segment, and these sums are added in the order of the
     * segments. 0 means 1. */
    int64_t segments;
    /* The number of neighbouring ranks that share a sample. Each has the rows of segments /
     * sample_parts segments. 0 means 1. This number divides parts and segments, and the key/value
     * heads if heads are exchanged. */
    int64_t sample_parts;
    /* How the ranks of a sample exchange what attention needs. 0: by heads. G: batches of S2-Attn
     * with groups of G rows are exchanged by whole groups. G/2 is a multiple of ATTENTION_UNIT and
     * divides the rows of a rank, and the number of key/value heads is even. also_by_heads: there
     * are batches with full attention, too. None of this changes a bit of the result. */
    int64_t exchange_group;
    bool also_by_heads;
    /* rows: rows of the largest batch (0: as many as a chunk has). chunk: rows of a chunk (0: the
     * number that the device prefers). */
    int64_t rows, chunk;
    /* Capacity of the KV cache in tokens; 0: no cache. Each batch is appended to the cache. */
    int64_t context;
    bool exact_cache; /* the cache has the type of the activations, not 16 bits */
    /* the layers' inputs are offloaded to the host's memory until the backward needs them */
    bool inputs_on_host;
    /* The outputs of attention in recomputed layers are offloaded as well. stored_attention must be
     * 0. */
    bool outputs_on_host;
    bool moments_on_host; /* AdamW's moments are in the host's memory */
    /* In training: the layers' products with frozen weights are computed in fp8 (fp8.h). Groups of
     * linear layers with a trained weight, embedding and head are not. */
    bool fp8;
    bool names_ranges; /* marks ranges for a profiler */
    /* If *stop becomes non-zero, a pass ends after the current layer and its results are invalid.
     * May be NULL. If several ranks share the run, *stop is a signal's number, and a backward ends
     * when all ranks know of it (model_agreed). Several ranks with segments ignore it. */
    const volatile int *stop;
    const char *device;
    int threads;
};

static inline bool setup_is_stopped(const struct model_setup *s) { return s->stop && *s->stop; }

/* One trained matrix [rows, cols], which begins at `offset` in the flat parameters. Of an
 * embedding's adapter, A is [V, r], the transpose of the matrix in PEFT's files, and B is
 * [d, r]. */
struct trainable {
    const struct tensor *tensor;
    enum trained kind;
    int64_t offset, rows, cols;
    int64_t section; /* its index in struct parameters */
};

struct batch {
    int64_t rows;
    /* Tokens of the whole sequence, of which the rows may be a part. 0: the rows are the whole
     * sequence. Only the kinds of position scaling whose angles depend on this length use it:
     * dynamic and longrope. */
    int64_t length;
    int64_t group;        /* tokens of a group of S2-Attn; 0: full attention */
    int32_t *id, *target; /* target < 0: the row has no loss */
    int32_t *position;    /* position of the row in its sample or document, from 0 */
    /* The first key that each row sees, in the low half and in the high half of the heads. */
    int32_t *low_starts, *high_starts;
};

struct model;

/* The weights are the source of frozen weights and of initial values. They are borrowed and must
 * outlive the model. With METHOD_FULL they may be NULL; the model is then initialised at random
 * from `seed`. `config` replaces the weights' own config, unless it is NULL. On success the caller
 * closes *m with model_close. */
int model_open(struct model **m, const struct model_setup *setup, const struct config *config,
               const struct weights *weights, uint64_t seed, struct fail *why) MUST_USE;
/* Frees the source's memory on a GPU, because the model has its own copy. On a CPU it does nothing,
 * because the model reads the source. No other model can use the weights afterwards. */
void model_forget_weights(const struct model *m, struct weights *weights);
void model_close(struct model *m);

/* Computes the bytes that model_open would allocate, and allocates nothing. The weights may be
 * shapes without data. */
int model_plan(struct memory_plan *plan, const struct model_setup *setup,
               const struct config *config, const struct weights *weights,
               struct fail *why) MUST_USE;

/* The relative error of products in fp8. The error of a group of linear layers is ‖y8 − y‖ / ‖y‖
 * (Frobenius), where y8 and y are the products of its weights with the first FP8_ERROR_ROWS rows of
 * a batch, in fp8 and as without fp8. `mean` and `largest` are taken over all groups in fp8. */
enum { FP8_ERROR_ROWS = 32 };
struct fp8_error {
    double mean, largest;
    int64_t layer;     /* the layer of the largest error, from 0 */
    const char *group; /* the group of the largest error: "q, k, v", "o", "gate, up" or "down" */
};
/* Measures this error in the next forward. It changes no result, but it takes time. */
void model_measure_fp8(struct model *m);
/* Gets what the last such forward has measured. Returns false if it measured nothing, because this
 * rank has no rows, or no group is in fp8. */
bool model_fp8_error(const struct model *m, struct fp8_error *e);

const struct config *model_config(const struct model *m);
const struct model_setup *model_setup_of(const struct model *m);
/* Returns how a tensor is adapted: its rank, its scale, and how it is trained. */
const struct adapted *model_adapted(const struct model *m, const struct tensor *t);
const struct kernels *model_kernels(const struct model *m);
struct device *model_device(const struct model *m);
/* Begins and ends a range on a profiler's time line, if setup.names_ranges is set. */
void model_range_begin(const struct model *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void model_range_end(const struct model *m);

/* A part of a section: `count` values from `first` on. The gradient and the moments hold only what
 * the rank owns; there the part begins at `at`. */
struct owned {
    int64_t first, count, at;
};

/* The parameters of one layer, or of one tensor outside of the layers: `count` values from `first`
 * on. The gradient's norm is summed in pieces that do not cross the borders of sections. */
struct section {
    int64_t first, count, layer; /* layer: -1 outside of the layers */
    struct owned own;            /* what this rank owns; all of it if there is one rank */
};

/* All trained parameters as one f32 array of `count` values. at[0..at_count) lists the matrices and
 * their offsets in it, section[0..section_count) the sections. Gradients and AdamW's moments have
 * `own_count` values: this rank's parts of the sections. If there is one rank, they have the same
 * layout as the values. They are NULL without training. All are in the device's memory, except that
 * the moments may be in the host's. */
struct parameters {
    float *value, *gradient, *moment1, *moment2;
    int64_t count, own_count;
    struct trainable *at;
    int64_t at_count;
    struct section *section;
    int64_t section_count;
};
const struct parameters *model_parameters(const struct model *m);
/* Downloads one trained matrix. The caller frees it. Returns NULL if memory is short or a value is
 * not finite. */
float *model_trained(const struct model *m, const struct trainable *t, struct fail *why);

/* Returns how many rows a chunk gets in model_open if the device prefers `preferred` rows. The rows
 * of a batch must be set. */
int64_t model_chunk(const struct model_setup *setup, int64_t preferred);
/* Returns the rows of the last forward that this rank computed. */
int64_t model_rows(const struct model *m);
/* Sets the number of rows of the batch that a group of ranks computes in this round; 0: it computes
 * none. If there are several groups, this must be called for each before the backward of samples in
 * segments. */
void model_set_round(struct model *m, int64_t group, int64_t rows);

/* Computes one batch. drop.first_row is the number of the batch's first row in the optimiser's
 * step. With a KV cache the rows follow the cached ones, and the batch's position, low_starts and
 * high_starts count from the beginning of the cache. */
void model_forward(struct model *m, const struct batch *batch, struct dropout drop);
/* Writes the negative log-likelihood of each row to nll [T] on the host, for the rows that this
 * rank computed; rows without a target get 0. With dscale > 0 it also starts the backward with the
 * gradient of dscale · Σ nll. */
int model_loss(struct model *m, float *nll, float dscale, struct fail *why) MUST_USE;
/* Call it after model_loss if several ranks share the batch: nll [T] gets the losses of the rows
 * that the others computed. All ranks of the group call it. */
int model_gather_losses(struct model *m, float *nll, struct fail *why) MUST_USE;
/* Adds the batch's gradients to those of the update. Called after model_loss with dscale > 0. */
void model_backward(struct model *m);
/* In place of model_backward if this rank has no batch in a round, because fewer blocks are left
 * than there are ranks: takes part in the exchange of gradients (compare Join in PyTorch's DDP). */
void model_join_backward(struct model *m);
/* Returns the signal by which all ranks left the last backward, because one of them was asked to
 * stop; 0: none. Then the gradients are invalid. */
int model_agreed(const struct model *m);
/* Says which step the run is in, or what else it computes ("context 4096, batch 3"), for the
 * message about a rank that does not answer. */
void model_at_step(struct model *m, int64_t step);
void model_at(struct model *m, const char *format, ...) PRINTF_LIKE(2, 3);
/* Gathers the values [first, first + count) of a moment, of which each rank owns parts, into host
 * [count] on rank 0. All ranks call it, each with a host of `count` values. */
int model_gather_moment(struct model *m, const float *own, int64_t first, int64_t count,
                        float *host, struct fail *why) MUST_USE;
/* Copies those of the values [first, first + count) that this rank owns from host [count] to its
 * parts of the moment. Sends no messages: each rank has the whole of host. */
void model_set_moment(struct model *m, float *own, int64_t first, int64_t count, const float *host);
/* Sends this rank's parts of the parameters' values to all others, and receives theirs. */
int model_allgather_values(struct model *m, struct fail *why) MUST_USE;
/* Computes Σ g² of the update's gradient in double: first the sum of each piece, then the sum of
 * the pieces in their order. *sum is not finite if a gradient is not. */
int model_sum_squares(struct model *m, double *sum, struct fail *why) MUST_USE;
/* Says that the gradients were applied or dropped, and are zero, so that the next batch is the
 * first of an update. */
void model_end_update(struct model *m);
/* Waits until the ranks have exchanged the update's gradient, and drops it. The parameters stay. */
int model_drop_gradients(struct model *m, struct fail *why) MUST_USE;
/* Writes the logits [rows, V] of the last `rows` rows of the last forward to the host's memory. */
int model_logits(struct model *m, int64_t rows, float *logits, struct fail *why) MUST_USE;
/* Writes the logits [V] of the last row. If several ranks share the batch, all of them call it, and
 * only the first rank of the group gets the logits. */
int model_last_logits(struct model *m, float *logits, struct fail *why) MUST_USE;
/* model_cached returns the number of rows in the cache; model_rewind discards all rows from `rows`
 * on. */
int64_t model_cached(const struct model *m);
void model_rewind(struct model *m, int64_t rows);
/* Runs the forward again and checks every activation. Returns 0 if all are finite, else -1 with the
 * name of the first tensor that is not. */
int model_find_nonfinite(struct model *m, const struct batch *batch, struct dropout drop,
                         struct fail *why) MUST_USE;

#endif
