/* trainer.h - one training run: the order of its samples, its steps, evaluations, checkpoints and
 * result.
 */
#ifndef LONGQLORA_TRAINER_H
#define LONGQLORA_TRAINER_H

#include "lib/llama/companions.h"
#include "model/adapter_load.h"
#include "model/checkpoint.h"
#include "model/device_messages.h"
#include "tools/train/due.h"
#include "tools/train/eval_files.h"
#include "tools/train/proof.h"
#include "tools/train/recipe.h"
#include "tools/train/run_folder.h"

#include <signal.h>

struct step_result {
    double loss, grad_norm, learning_rate;
    /* `tokens` counts all tokens of the samples, also those that are no targets. */
    int64_t targets, tokens;
    int overflows; /* how often the loss scale was halved and the step computed again */
    /* With fp8: the error of its products in the step's first batch, if has_fp8_error is set. */
    bool has_fp8_error;
    struct fp8_error fp8_error;
};

/* Why all ranks stop the run: by a signal, or because one of them has failed. */
struct agreed_stop {
    int signal;         /* the number of the signal; 0: none */
    enum status status; /* status of the failure; STATUS_DONE: none */
    int rank;           /* the rank that has failed */
    bool saves;         /* the parameters are those of a complete step, so they are saved */
};

struct evaluation {
    double loss; /* mean over the targets, in nats */
    int64_t targets, tokens;
};

struct trainer {
    const struct recipe *recipe;
    struct adapter *adapter; /* the adapter that is trained further; NULL: a new adapter */
    struct fit fit;          /* how that adapter applies to the base */
    /* An older program began the run that is resumed; in it, train_embedding meant the embedding
     * without the head. */
    bool embedding_alone;
    struct weights weights; /* zeroed with from_scratch */
    struct config config;
    struct reader *samples;
    struct sample_info info;
    struct eval_file eval_files[EVAL_FILES_MAX]; /* [eval_count] the first chooses the best model */
    int eval_count;
    struct attention_plan attention;
    struct optimiser optimiser;
    struct due_steps due;
    struct model_setup setup;
    struct model *model;
    struct run_state state;
    /* Digest of the base's tensors if the steps read them from mapped files, else "". */
    char mapped_base[STREAM_DIGEST_TEXT];
    bool lost_base;           /* base_check has found another content in those files */
    char base_name[4096];     /* the base's name in the adapter; "" until it is known */
    json_t *peft_name;        /* the name by which PEFT opens the base; NULL until it is known */
    struct run_folder folder; /* output_dir */
    /* Path of the checkpoint from which the run resumes; "" if there is none. */
    char checkpoint[4096];
    char adopts[48]; /* name of the checkpoint if its folder has no record, else "" */
    int64_t resumed; /* step that the run resumed from; 0: none */
    bool lengthens;  /* the run extends a finished one to more steps */
    /* Temporary file with the samples from standard input, before it is renamed; "" if there is
     * none. */
    char spooled[4096];
    int64_t checkpoint_best_step; /* the best step that the newest checkpoint names; 0: none */
    int64_t folder_best_step;     /* the step of the model in the folder best/; 0: none */
    bool scales_loss, plan_only;
    bool is_replay; /* verifies another run (verify.h), and has no folder of its own */
    struct proof proof;
    struct ranks *ranks; /* the processes that share the run; borrowed */
    /* The signal that asked this rank to stop; 0: none */
    const volatile sig_atomic_t *asked;
    /* This rank's own failure, which the others do not know yet, and what all have agreed on. */
    struct agreed_stop own_stop, agreed;
    struct fail failure;   /* of this rank; own_stop has its status */
    int64_t sample_ranks;  /* how many ranks shall share a sample; 0: as many as can */
    double *numbers;       /* [ranks][…] what the ranks share, for example losses of batches */
    char rope_there[160];  /* the rope with which the run in output_dir began; "" if none did */
    char rope_choice[160]; /* what `rope: auto` chose, and why; "" if there was nothing to choose */
    /* The parameters are the result of step state.step. False once an update has failed. */
    bool is_whole;
    /* This process has measured the error of fp8 in some step, and does so in the current step. */
    bool has_measured_fp8, measures_fp8;
    json_t *recipe_json;
    struct companions *companions; /* files that are copied to a full model; NULL: none */
    /* `step` has the samples of the current step, `batch` those that are computed together */
    struct sample *step;
    struct batch batch;
    float *nll;
    uint64_t *order; /* [samples] their order in this epoch */
    int64_t order_epoch;
};

/* Where a run computes. */
struct trainer_place {
    const char *device;
    int threads;
    struct ranks *ranks;  /* the processes that share the run */
    int64_t parts;        /* how many of them there are; in a plan, how many there would be */
    int64_t sample_ranks; /* how many of them shall share a sample; 0: as many as can */
    /* The position scaling of the run that is replayed; NULL: this is a run of its own. */
    const char *replayed_rope;
};

/* Opens everything but the model: data, weights, config, memory plan. `adapter` is the one that was
 * passed to recipe_use_adapter, or NULL. plan_only: reads only the shapes of the weights and needs
 * no samples. The caller calls trainer_close. */
int trainer_open(struct trainer *t, const struct recipe *recipe, struct adapter *adapter,
                 const struct trainer_place *place, bool plan_only, struct fail *why) MUST_USE;
/* Three parts of trainer_open. The first opens the base and its config. The second chooses the
 * position scaling, the groups of S2-Attn and the number of rows. The third plans the steps and
 * which parameters are trained. */
int trainer_open_base(struct trainer *t, struct fail *why) MUST_USE;
int trainer_plan_positions(struct trainer *t, struct fail *why) MUST_USE;
int trainer_plan_run(struct trainer *t, struct fail *why) MUST_USE;
/* Returns the number of updates; 0 if there are neither samples nor max_steps. */
double trainer_planned_steps(const struct trainer *t);
/* Fails if the memory is too small for the run. Called after the samples are opened and before the
 * base is read. */
int trainer_check_early(const struct trainer *t, struct fail *why) MUST_USE;
/* Like trainer_check_early, for a base whose header alone has been read, such as a stream. It
 * is a callback of weights.h; `arg` is the trainer. */
int trainer_check_outline(void *arg, struct weights *outline, struct fail *why) MUST_USE;
/* Checks that the adapter that is trained further fits the base. Does nothing if there is none. */
int trainer_use_adapter(struct trainer *t, struct fail *why) MUST_USE;
/* Allocates all memory and resumes from a checkpoint if the recipe says so. */
int trainer_start(struct trainer *t, void (*report)(const char *text), struct fail *why) MUST_USE;
/* Two parts of trainer_start. The first allocates memory for samples. The second decides what is
 * stored where, and opens the model. */
int trainer_prepare(struct trainer *t, struct fail *why) MUST_USE;
int trainer_open_model(struct trainer *t, void (*report)(const char *text),
                       struct fail *why) MUST_USE;
void trainer_close(struct trainer *t);

/* True if an older program made the run in output_dir with train_embedding: true. In older programs
 * that meant the embedding without the head. */
bool trainer_trained_embedding_alone(const struct trainer *t);

/* Writes the position scaling of the run in output_dir, or of the named checkpoint, as
 * config_describe_rope writes it; "" if there is none. */
void trainer_rope_there(const struct trainer *t, char *text, size_t size);

/* True if the run begins at step 0 even if the folder has a checkpoint. */
bool trainer_begins_anew(const struct trainer *t);
/* Returns 1 if output_dir holds the finished run of this recipe, so that nothing is left to do;
 * `text` says so. Fails if output_dir holds a finished run of another recipe. */
int trainer_is_finished(struct trainer *t, char *text, size_t size, struct fail *why) MUST_USE;
/* Finds the checkpoint from which the run resumes, verifies it, and checks that it belongs to the
 * same run. */
int trainer_find_checkpoint(struct trainer *t, void (*report)(const char *text),
                            struct fail *why) MUST_USE;
/* Fails if output_dir has no record of a run, but has a file with a name that the result needs. */
int trainer_claim_result(const struct trainer *t, struct fail *why) MUST_USE;
/* Fails if a name that the run will write is taken by something that is not the run's. */
int trainer_claim_names(const struct trainer *t, struct fail *why) MUST_USE;
/* Resumes from the checkpoint that trainer_find_checkpoint has found. If there is none, begins at
 * step 0, in a folder that holds no other run. */
int trainer_resume(struct trainer *t, void (*report)(const char *text), struct fail *why) MUST_USE;
/* Loads the state of t->checkpoint, but keeps the recipe and schedules of the present run. */
int trainer_load_state(struct trainer *t, struct fail *why) MUST_USE;
/* Fails if the run would remove one of its inputs in output_dir. */
int trainer_check_inputs(const struct trainer *t, struct fail *why) MUST_USE;

/* Does a token of these samples see only its own document? */
bool trainer_masks_documents(const struct recipe *r, const struct sample_info *info);
bool trainer_is_lora(const struct trainer *t);
/* Is the run done after this update? trainer_is_done: after the one that t->state counts. */
bool trainer_is_done_at(const struct trainer *t, int64_t step);
bool trainer_is_done(const struct trainer *t);
/* Does one update. Returns 1 if the run is to stop; then the parameters are unchanged. */
int trainer_step(struct trainer *t, struct step_result *result, struct fail *why) MUST_USE;
/* Called before the forward of a batch of the step. With fp8 it makes the forward of the first
 * batch measure the error of fp8, if the step will be logged or is the first of this process. Only
 * rank 0 measures. */
void trainer_measure_fp8(struct trainer *t, int64_t batch);
/* Evaluates the samples of each eval_file with full attention and without dropout; e [eval_count].
 * Returns 1 if the run is to stop. */
int trainer_evaluate(struct trainer *t, struct evaluation *e, struct fail *why) MUST_USE;
/* True if the recipe asks for the best model or for early stopping. */
bool recipe_seeks_best(const struct recipe *r);
/* Ends an interval of the log, so that the mean of the losses begins anew. */
void trainer_begin_interval(struct trainer *t);
/* Counts an evaluation of the first file in the state, as Hugging Face's Trainer and
 * EarlyStoppingCallback do. Returns true if the model is the best so far. */
bool trainer_weigh(struct trainer *t, const struct evaluation *e);
/* Does that. Saves the model to best/ in output_dir if it is the best so far. */
int trainer_consider(struct trainer *t, const struct evaluation *e, bool *is_best,
                     struct fail *why) MUST_USE;
/* After resuming, makes best/ the model that the state names as the best. */
int trainer_restore_best(struct trainer *t, struct fail *why) MUST_USE;
/* Replaces the parameters by those of the best model. */
int trainer_load_best(struct trainer *t, struct fail *why) MUST_USE;

/* Reads the files that are copied to a full model. It is called before any work, because the files
 * may no longer exist at the end of the run. */
int trainer_read_companions(struct trainer *t, struct fail *why) MUST_USE;
/* Saves a complete checkpoint under this name in output_dir. */
int trainer_save(struct trainer *t, const char *name, struct fail *why) MUST_USE;
/* Saves checkpoint-N in output_dir. It is complete or absent. */
int trainer_checkpoint(struct trainer *t, struct fail *why) MUST_USE;
/* Write what trainer_checkpoint and trainer_finish write, into a folder that exists. */
int trainer_fill_checkpoint(struct trainer *t, const char *directory, struct fail *why) MUST_USE;
int trainer_fill_result(struct trainer *t, const char *directory, struct fail *why) MUST_USE;
/* Writes the result, adapter or model, to output_dir. With load_best_model_at_end it is the best
 * model. */
int trainer_finish(struct trainer *t, struct fail *why) MUST_USE;
/* Returns the size of a checkpoint: the parameters, which are in the result's file and in the
 * state, two moments, and the small files. */
uint64_t trainer_checkpoint_bytes(const struct trainer *t);
/* Return JSON for the record of the run: the run's identity and inputs (run), and the rules by
 * which its result is chosen (outcome). NULL if memory runs out. */
json_t *trainer_run_json(const struct trainer *t);
json_t *trainer_outcome_json(const struct trainer *t);
/* Returns the digests of the samples of each eval_file, for the record of the run. */
json_t *trainer_eval_json(const struct trainer *t);
/* Calls `report` if the run that is resumed evaluated other samples. */
void trainer_compare_eval_files(const struct trainer *t, void (*report)(const char *text));
/* Returns the name of the file that is written last in a result: "longqlora.json" or
 * "config.json". */
const char *trainer_last_file(const struct trainer *t);

/* Finds which sample is at `position` of the whole run. */
int trainer_sample_at(struct trainer *t, uint64_t position, uint64_t *number,
                      struct fail *why) MUST_USE;

#endif
