/* trainer.h - one run: samples in their order, steps, checkpoints, the log. */
#ifndef LONGQLORA_TRAINER_H
#define LONGQLORA_TRAINER_H

#include "../../lib/llama/adapter.h"
#include "../../lib/llama/checkpoint.h"
#include "recipe.h"

struct step_result {
    double loss, grad_norm, learning_rate;
    int64_t targets, tokens;
    int overflows; /* times that the loss scale was halved and the step computed again */
};

struct evaluation {
    double loss; /* mean over the targets, in nats */
    int64_t targets;
};

struct trainer {
    const struct recipe *recipe;
    const struct adapter *adapter; /* that is trained further; NULL: a new one */
    struct weights weights;        /* zeroed when from scratch */
    struct config config;
    struct reader *samples, *evaluation; /* evaluation: NULL without eval_file */
    struct sample_info info, eval_info;
    struct attention_plan attention;
    struct optimiser optimiser;
    struct model_setup setup;
    struct model *model;
    struct run_state state;
    char checkpoint[4096]; /* that it goes on from; "": none */
    int64_t resumed;       /* the step that it went on from; 0 if from none */
    bool scales_loss, plan_only;
    json_t *recipe_json;
    /* the step's samples and the batch being computed */
    struct sample *step;
    struct batch batch;
    float *nll;
    uint64_t *order; /* of the epoch */
    int64_t order_epoch;
};

/* Opens everything but the model: data, weights, config, plan. The adapter, if any, is the one that
 * the recipe took. plan_only: of the weights only their shapes, and no samples are needed. */
int trainer_open(struct trainer *t, const struct recipe *recipe, const struct adapter *adapter,
                 const char *device, int threads, bool plan_only, struct fail *why) MUST_USE;
/* Allocates all memory, and goes on from a checkpoint if the recipe says so. */
int trainer_start(struct trainer *t, void (*say)(const char *text), struct fail *why) MUST_USE;
void trainer_close(struct trainer *t);

/* The checkpoint that the recipe says to go on from: verified, and of the same run. */
int trainer_find_checkpoint(struct trainer *t, void (*say)(const char *text),
                            struct fail *why) MUST_USE;
/* Goes on from it, or at step 0 in a directory that holds no other run. */
int trainer_resume(struct trainer *t, void (*say)(const char *text), struct fail *why) MUST_USE;

bool trainer_is_lora(const struct trainer *t);
bool trainer_is_done(const struct trainer *t);
/* One update. 1: setup.stop was set, and the step is dropped. */
int trainer_step(struct trainer *t, struct step_result *result, struct fail *why) MUST_USE;
/* The samples of eval_file with full attention and no dropout. 1: stopped. */
int trainer_evaluate(struct trainer *t, struct evaluation *e, struct fail *why) MUST_USE;
/* checkpoint-N in output_dir, whole or absent. */
int trainer_checkpoint(struct trainer *t, struct fail *why) MUST_USE;
/* The result itself: adapter or model in output_dir. */
int trainer_finish(struct trainer *t, struct fail *why) MUST_USE;

/* The sample that is number `position` of the whole run. */
uint64_t trainer_sample_at(struct trainer *t, uint64_t position);

/* "rope: …; attention: …; base: …; adapter: …; device: …" */
void trainer_describe(const struct trainer *t, char *text, size_t size);

#endif
