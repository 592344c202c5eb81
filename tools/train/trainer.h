/* trainer.h - one run: samples in their order, steps, checkpoints, the log. */
#ifndef LONGQLORA_TRAINER_H
#define LONGQLORA_TRAINER_H

#include "lib/llama/companions.h"
#include "model/adapter_load.h"
#include "model/checkpoint.h"
#include "tools/train/due.h"
#include "tools/train/recipe.h"
#include "tools/train/run_folder.h"

struct step_result {
    double loss, grad_norm, learning_rate;
    int64_t targets, tokens; /* tokens: of the samples, targets or not */
    int overflows;           /* times that the loss scale was halved and the step computed again */
};

struct evaluation {
    double loss; /* mean over the targets, in nats */
    int64_t targets, tokens;
};

struct trainer {
    const struct recipe *recipe;
    const struct adapter *adapter; /* that is trained further; NULL: a new one */
    struct fit fit;                /* of it with the base */
    bool embedding_alone;   /* the run that goes on is an older program's, to which train_embedding
                             * was   that */
    struct weights weights; /* zeroed when from scratch */
    struct config config;
    struct reader *samples, *evaluation; /* evaluation: NULL without eval_file */
    struct sample_info info, eval_info;
    struct attention_plan attention;
    struct optimiser optimiser;
    struct due_steps due;
    struct model_setup setup;
    struct model *model;
    struct run_state state;
    char base_name[4096];     /* that the adapter is given; "": not known yet */
    struct run_folder folder; /* output_dir */
    char checkpoint[4096];    /* that it goes on from; "": none */
    char adopts[48];          /* its name, if it lies in a folder without a record; "": no */
    int64_t resumed;          /* the step that it went on from; 0 if from none */
    bool lengthens;           /* a finished run of fewer steps goes on */
    char spooled[4096];       /* standard input's samples, before they have their name; "": none */
    int64_t kept_best;        /* the best step that the newest checkpoint knows; 0: none */
    int64_t best_there;       /* the step of the model in best/; 0: none */
    bool scales_loss, plan_only;
    bool is_whole; /* the parameters are those of state.step: no update failed */
    json_t *recipe_json;
    struct companions *companions; /* that a model takes along; NULL: none */
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
/* Parts of it: base and config; positions, S2's groups and rows; steps and what is trained. */
int trainer_open_base(struct trainer *t, struct fail *why) MUST_USE;
int trainer_plan_positions(struct trainer *t, struct fail *why) MUST_USE;
int trainer_plan_run(struct trainer *t, struct fail *why) MUST_USE;
/* Between samples and base: fails if there is not the memory that the run needs. */
int trainer_check_early(const struct trainer *t, struct fail *why) MUST_USE;
/* The same of a base that is a stream, with its header read; arg: the trainer. See weights.h. */
int trainer_check_outline(void *arg, struct weights *outline, struct fail *why) MUST_USE;
/* What the adapter that is trained further makes of the base; nothing without one. */
int trainer_take_adapter(struct trainer *t, struct fail *why) MUST_USE;
/* Allocates all memory, and goes on from a checkpoint if the recipe says so. */
int trainer_start(struct trainer *t, void (*say)(const char *text), struct fail *why) MUST_USE;
void trainer_close(struct trainer *t);

/* Is the run that stands in output_dir, or the checkpoint that is named, an older program's that
 * trained the embedding without the head by train_embedding: true? */
bool trainer_trained_embedding_alone(const struct trainer *t);

/* Is step 0 where it begins, whatever the folder holds? */
bool trainer_begins_anew(const struct trainer *t);
/* Was a run of this recipe finished in output_dir? 1: yes, and `text` says so; nothing is to be
 * done. Fails if it holds a finished run of another recipe. */
int trainer_is_finished(struct trainer *t, char *text, size_t size, struct fail *why) MUST_USE;
/* The checkpoint that the recipe says to go on from: verified, and of the same run. */
int trainer_find_checkpoint(struct trainer *t, void (*say)(const char *text),
                            struct fail *why) MUST_USE;
/* Fails if the folder has no record, and a name of the result is taken. */
int trainer_claim_result(const struct trainer *t, struct fail *why) MUST_USE;
/* Fails if a name that the run will write is taken by what is not the run's. */
int trainer_claim_names(const struct trainer *t, struct fail *why) MUST_USE;
/* Goes on from it, or at step 0 in a directory that holds no other run. */
int trainer_resume(struct trainer *t, void (*say)(const char *text), struct fail *why) MUST_USE;
/* Fails if an input is something that the run would remove in output_dir. */
int trainer_check_inputs(const struct trainer *t, struct fail *why) MUST_USE;

bool trainer_is_lora(const struct trainer *t);
bool trainer_is_done(const struct trainer *t);
/* One update. 1: setup.stop was set, and the step is dropped. */
int trainer_step(struct trainer *t, struct step_result *result, struct fail *why) MUST_USE;
/* The samples of eval_file with full attention and no dropout. 1: stopped. */
int trainer_evaluate(struct trainer *t, struct evaluation *e, struct fail *why) MUST_USE;
/* Does the recipe ask for the best model, or to stop when it gets no better? */
bool recipe_seeks_best(const struct recipe *r);
/* Takes an evaluation into account, as Hugging Face's Trainer and EarlyStoppingCallback do; a model
 * that is better than all before goes to best/ in output_dir. */
int trainer_consider(struct trainer *t, const struct evaluation *e, bool *is_best,
                     struct fail *why) MUST_USE;
/* Makes best/ the model that the state speaks of, after going on from a checkpoint. */
int trainer_restore_best(struct trainer *t, void (*say)(const char *text),
                         struct fail *why) MUST_USE;
/* The best model's parameters take the place of the last ones. */
int trainer_load_best(struct trainer *t, struct fail *why) MUST_USE;

/* Reads the files that a model takes along: before any work, since they may be gone after it. */
int trainer_read_companions(struct trainer *t, struct fail *why) MUST_USE;
/* A whole checkpoint, named so, in output_dir. */
int trainer_save(struct trainer *t, const char *name, struct fail *why) MUST_USE;
/* checkpoint-N in output_dir, whole or absent. */
int trainer_checkpoint(struct trainer *t, struct fail *why) MUST_USE;
/* The result itself, adapter or model, in output_dir: the best one where the recipe says so. */
int trainer_finish(struct trainer *t, struct fail *why) MUST_USE;
/* Parameters in the result's file and in the state, two moments, and the small files. */
uint64_t trainer_checkpoint_bytes(const struct trainer *t);
/* What the run is and what it was made of, as the record has it; and how its result was chosen.
 * NULL: out of memory. */
json_t *trainer_run_json(const struct trainer *t);
json_t *trainer_outcome_json(const struct trainer *t);
/* "longqlora.json" or "config.json": the file of a result that is written last. */
const char *trainer_last_file(const struct trainer *t);

/* Fills t->state.computed where the state has none. */
int trainer_count_computed(struct trainer *t, struct fail *why) MUST_USE;
/* The sample that is number `position` of the whole run. */
int trainer_sample_at(struct trainer *t, uint64_t position, uint64_t *number,
                      struct fail *why) MUST_USE;

/* "rope: …; attention: …; base: …; adapter: …; device: …" */
void trainer_describe(const struct trainer *t, char *text, size_t size);

#endif
