/* model.h - a LLaMA: forward, loss, backward, for every backend and kind of training.
 *
 * Everything is planned and allocated by model_open; nothing afterwards. Rows are
 * the tokens of one or more samples, one after the other. What is row-wise runs in
 * chunks of rows; only attention sees all of them.
 */
#ifndef LONGQLORA_MODEL_MODEL_H
#define LONGQLORA_MODEL_MODEL_H

#include "lib/llama/adapted.h"
#include "model/memory_plan.h"

#define STORES_ALL INT64_MAX

enum method { METHOD_FROZEN, METHOD_LORA, METHOD_FULL };

struct model_setup {
    enum method method; /* FROZEN with rank > 0: an adapter is applied, not trained */
    bool is_training;   /* gradients and moments are there */
    int64_t rank;
    double alpha, dropout;
    uint32_t targets;         /* bit for each enum part that carries an adapter */
    uint32_t modules_to_save; /* and for each that beside adapters is trained, or replaced, whole */
    /* An adapter that is there, tensor by tensor in the order of tensors_list: it has the say in
     * place of targets and modules_to_save, and its values follow (adapter_load). NULL: a new one.
     * Borrowed until the model is open. */
    const struct adapted *each;
    int64_t stored_layers; /* whose activations are kept, the last ones; the others are recomputed
                            * in the backward. STORES_ALL is as many as there are */
    int64_t stored_attention; /* of the layers before those, of which attention's output is kept */
    int64_t positions;        /* longest sample */
    int64_t rows, chunk; /* most rows of a batch, 0: one chunk; rows of a chunk, 0: as many as the
                          * device likes */
    int64_t context;     /* > 0: batches go on one after the other; rows kept in a cache */
    bool exact_cache;    /* of activations as they are, not in 16 bits */
    bool inputs_on_host; /* layers' inputs wait for the backward in the host's memory */
    bool
        outputs_on_host; /* attention's, too, where they are else made again: no stored_attention */
    bool moments_on_host;     /* and AdamW's */
    bool names_ranges;        /* for a profiler */
    const volatile int *stop; /* once it is set passes end after the layer under way, and what they
                               * made is worth nothing; may be NULL */
    const char *device;
    int threads;
};

static inline bool setup_is_stopped(const struct model_setup *s) { return s->stop && *s->stop; }

/* One trained matrix: a range of the flat parameters. */
struct trainable {
    const struct tensor *tensor;
    enum trained kind;
    int64_t offset, rows, cols;
};

struct batch {
    int64_t rows;
    int64_t length;          /* of the sequence, with what follows; 0: as its rows are. Only dynamic
                              * positions ask */
    int32_t *id, *target;    /* target < 0: not scored */
    int32_t *position;       /* in its sample or document */
    int32_t *first, *second; /* spans of the two halves of the heads */
};

struct model;

/* weights: source of frozen weights and of initial values; must outlive the model. NULL
 * with METHOD_FULL: random ones by `seed`. config: NULL takes the weights'; else its
 * rope overrides theirs. */
int model_open(struct model **m, const struct model_setup *setup, const struct config *config,
               const struct weights *weights, uint64_t seed, struct fail *why) MUST_USE;
/* Gives back the memory of weights that the device has copies of; a host's model goes on with
 * them. They serve no other model then. */
void model_forget_weights(const struct model *m, struct weights *weights);
void model_close(struct model *m);

/* The bytes that model_open would take, without taking them. The weights may be an outline. */
int model_plan(struct memory_plan *plan, const struct model_setup *setup,
               const struct config *config, const struct weights *weights,
               struct fail *why) MUST_USE;

const struct config *model_config(const struct model *m);
const struct model_setup *model_setup_of(const struct model *m);
/* What the setup says of the tensor, one of the model's parameters. */
const struct adapted *model_adapted(const struct model *m, const struct tensor *t);
const struct kernels *model_kernels(const struct model *m);
struct device *model_device(const struct model *m);
/* Ranges of a profiler's time line, if the setup asks for them. */
void model_range_begin(const struct model *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void model_range_end(const struct model *m);

/* The flat f32 parameters and what lies where in them; gradients and moments alike,
 * NULL unless training. Memory of the backend; moments may be the host's that it reaches. */
struct parameters {
    float *value, *gradient, *moment1, *moment2;
    int64_t count;
    struct trainable *at;
    int64_t at_count;
};
const struct parameters *model_parameters(const struct model *m);
/* What was trained of it, on the host; the caller frees. NULL, with the reason, where there is no
 * memory or a value is not finite. */
float *model_trained(const struct model *m, const struct trainable *t, struct fail *why);

/* One batch. drop.first_row is the number of the batch's first row in its step. With a
 * context its rows come after the cached ones: positions and spans count from the first. */
void model_forward(struct model *m, const struct batch *batch, struct dropout drop);
/* nll [rows] on the host. With dscale > 0 also prepares the backward: gradients of
 * dscale · Σ nll. */
int model_loss(struct model *m, float *nll, float dscale, struct fail *why) MUST_USE;
void model_backward(struct model *m);
/* logits on the host, of the last `rows` rows of the last forward, [rows, V]. */
int model_logits(struct model *m, int64_t rows, float *logits, struct fail *why) MUST_USE;
/* With a context: rows in the cache, and forgetting those from `rows` on. */
int64_t model_cached(const struct model *m);
void model_rewind(struct model *m, int64_t rows);
/* Runs the batch again with every activation looked at; names the first tensor that is
 * not finite. Returns -1 with the reason, 0 if all are finite. */
int model_find_fault(struct model *m, const struct batch *batch, struct dropout drop,
                     struct fail *why) MUST_USE;

#endif
