/* checkpoint.h - the state that a run needs to go on bit for bit: one stream of kind
 * "state" in checkpoint-N/ beside the adapter or model.
 *
 * A checkpoint is made under a temporary name, each file synced, manifest.json (every
 * file's size and digest) last, then renamed: it is whole or absent. Random numbers,
 * rate and the order of samples are functions of recipe and step, so that nothing
 * else has to be kept.
 */
#ifndef LONGQLORA_MODEL_CHECKPOINT_H
#define LONGQLORA_MODEL_CHECKPOINT_H

#include "lib/llama/checkpoint_number.h"
#include "model/model.h"

/* A checkpoint's numbers are counted up to here. */
enum { RECIPE_TEXT = 8192, CHECKPOINT_STEPS_MAX = 1 << 30 };

struct run_state {
    int64_t step;    /* updates done */
    uint64_t tokens; /* targets trained on so far */
    /* Tokens of the samples so far, targets or not; 0 in states of older programs. */
    uint64_t computed;
    double loss_sum; /* since the last log line */
    int64_t loss_steps;
    double loss_scale;   /* in use; 1: none */
    int64_t scale_steps; /* updates since it last changed */
    /* The schedule since step `since`, and those before it as a JSON array; see schedules.h. */
    int64_t since, steps, warmup;
    char schedules[RECIPE_TEXT];
    /* Evaluations that counted for the best model, as Hugging Face's Trainer counts them. */
    int64_t evaluated; /* the step of the last evaluation; 0: none */
    int64_t evaluations, best_step, worse;
    double best_metric;
    /* A run goes on only with the same ones of these. */
    char recipe[RECIPE_TEXT]; /* the values that decide the result, as JSON */
    char data[STREAM_DIGEST_TEXT], tokenizer[STREAM_DIGEST_TEXT], base[STREAM_DIGEST_TEXT];
    char rope[160], device[80]; /* in words */
    int64_t chunk;              /* rows of a chunk: they decide the order of sums */
};

int checkpoint_save_state(const char *path, const struct model *m, const struct run_state *state,
                          struct fail *why) MUST_USE;
/* Reads only what stands in the header. */
int checkpoint_peek(const char *path, struct run_state *state, struct fail *why) MUST_USE;
int checkpoint_load_state(const char *path, struct model *m, struct run_state *state,
                          struct fail *why) MUST_USE;

/* Writes manifest.json for the files of a directory; fails naming the first file that
 * differs from it. */
int checkpoint_seal(const char *directory, struct fail *why) MUST_USE;
int checkpoint_verify(const char *directory, struct fail *why) MUST_USE;

/* Digest of manifest.json itself, by which a checkpoint is recognised. */
int checkpoint_digest(const char *directory, char digest[STREAM_DIGEST_TEXT],
                      struct fail *why) MUST_USE;
/* Removes the files that manifest.json names, then it, then the directory. What else lies in the
 * directory stays, and the directory with it. */
int checkpoint_remove(const char *directory, struct fail *why) MUST_USE;
/* Likewise, where another one has taken its place, and takes what else lies in it: the checkpoint
 * `heir`. */
int checkpoint_drop(const char *old, const char *heir, struct fail *why) MUST_USE;
/* Likewise of what a program left that was killed; one without a manifest.json, which was not done,
 * goes with all that lies in it. */
int checkpoint_discard(const char *path, const char *heir);
/* True if the directory holds nothing else but temporary files of ours. */
bool checkpoint_is_pure(const char *directory);

#endif
