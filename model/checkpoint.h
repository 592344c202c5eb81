/* checkpoint.h - the state with which a run is resumed bit for bit: one stream of kind "state"
 * (docs/formats) in checkpoint-N/, beside the adapter or model.
 *
 * A checkpoint is written under a temporary name. Each file is synced, then manifest.json is
 * written with every file's size and digest. The directory is renamed last, so a checkpoint is
 * either complete or absent. Random numbers, learning rate and the order of samples are functions
 * of recipe and step, so the state need not contain them.
 */
#ifndef LONGQLORA_MODEL_CHECKPOINT_H
#define LONGQLORA_MODEL_CHECKPOINT_H

#include "lib/common/sha256.h"
#include "lib/llama/base_config.h"
#include "lib/llama/checkpoint_number.h"
#include "model/model.h"

/* CHECKPOINT_STEPS_MAX is the largest step number that a checkpoint may have. */
enum { RECIPE_TEXT = 8192, CHECKPOINT_STEPS_MAX = 1 << 30 };
/* Numbers the order in which gradients, norms and losses are summed. A run that began with another
 * order cannot be resumed. Earlier versions wrote no number. */
enum { CHECKPOINT_SUMS = 2 };

struct run_state {
    /* CHECKPOINT_SUMS, or the number that another version wrote; 0: that version wrote none. If it
     * is not CHECKPOINT_SUMS, all fields after `step` are 0. */
    int64_t sums;
    int64_t step;      /* number of updates done */
    uint64_t tokens;   /* targets trained on so far */
    uint64_t computed; /* tokens of all samples so far, targets or not */
    double loss_sum;   /* sum of the losses since the last log line */
    int64_t loss_steps;
    double loss_scale;   /* the loss scale in use; 1 if the loss is not scaled */
    int64_t scale_steps; /* updates since the loss scale last changed */
    /* The schedule in force since step `since`; `schedules` holds the earlier ones as a JSON array
     * (see schedules.h). */
    int64_t since, steps, warmup;
    char schedules[RECIPE_TEXT];
    /* Counters of the evaluations that choose the best model, counted as in Hugging Face's
     * Trainer. */
    int64_t evaluated;   /* the step of the last evaluation; 0: none */
    int64_t evaluations; /* how many there were */
    int64_t best_step;   /* the step of the best one */
    /* evaluations in a row that are not better than the best one by more than the threshold; the
     * run ends when they are as many as its patience */
    int64_t worse;
    double best_metric; /* the metric of the best one */
    /* the digest of the samples that decide which model is the best; empty: none do, or unknown */
    char eval_data[STREAM_DIGEST_TEXT];
    /* A run is resumed only if each of the following fields equals that of the new run. */
    char recipe[RECIPE_TEXT]; /* the values that decide the result, as JSON */
    char data[STREAM_DIGEST_TEXT], tokenizer[STREAM_DIGEST_TEXT], base[STREAM_DIGEST_TEXT];
    char rope[160], device[80]; /* position scaling and device, as text */
    /* What the model's config decides of the computation (base_config.h); "": unknown. */
    char base_config[BASE_CONFIG_TEXT];
    int64_t chunk; /* rows of a chunk, on which the order of sums depends */
};

/* Writes the state, which consists of *state and the model's parameters and moments, to the file
 * `path`. Rank 0 calls it; it collects the moments of all ranks. */
int checkpoint_save_state(const char *path, struct model *m, const struct run_state *state,
                          struct fail *why) MUST_USE;
/* On the ranks that write no files: sends the moments that this rank owns to rank 0, which is in
 * checkpoint_save_state. */
int checkpoint_send_state(struct model *m, struct fail *why) MUST_USE;
/* Reads the fields of the header only, not the parameters. */
int checkpoint_peek(const char *path, struct run_state *state, struct fail *why) MUST_USE;
/* Reads a state into *state and the model. Fails if the state was written with another order of
 * sums, or has another number of parameters. */
int checkpoint_load_state(const char *path, struct model *m, struct run_state *state,
                          struct fail *why) MUST_USE;

/* Writes into text[size] in which part of a state its byte `at` lies, such as "the array moment1,
 * element 17". `path` must not be damaged. If the byte lies in the header, and the header of
 * `other` can be read, names the first field that differs. */
int checkpoint_part(const char *path, const char *other, int64_t at, char *text, size_t size,
                    struct fail *why) MUST_USE;

/* Reads the files of a directory once and returns an object that maps their names, in alphabetical
 * order, to "bytes", "digest" (XXH3-128) and "sha256". checkpoint_measure_file returns that of one
 * file. NULL on failure. The caller calls json_decref. */
json_t *checkpoint_measure(const char *directory, struct fail *why);
json_t *checkpoint_measure_file(const char *path, struct fail *why);
/* checkpoint_seal writes manifest.json for the files of a directory. `measured` is a result of
 * checkpoint_measure, or NULL; the files in it are not read again. checkpoint_verify compares the
 * files with the manifest, and fails naming the first file that differs. */
int checkpoint_seal(const char *directory, const json_t *measured, struct fail *why) MUST_USE;
int checkpoint_verify(const char *directory, struct fail *why) MUST_USE;

/* Computes the digest of manifest.json itself, which identifies a checkpoint. */
int checkpoint_digest(const char *directory, char digest[STREAM_DIGEST_TEXT],
                      struct fail *why) MUST_USE;
/* Removes the files that manifest.json names, then manifest.json, then the directory. Files of
 * others stay, and then the directory stays too. */
int checkpoint_remove(const char *directory, struct fail *why) MUST_USE;
/* Removes the checkpoint `old` after `successor` has replaced it. Files in `old` that its manifest
 * does not name are first moved into `successor`. */
int checkpoint_drop(const char *old, const char *successor, struct fail *why) MUST_USE;
/* Removes a checkpoint that a killed program left behind. With a manifest.json it is removed as
 * by checkpoint_drop. Without one it was never completed, so every file in it is ours and is
 * deleted. */
int checkpoint_discard(const char *path, const char *successor);
/* True if the directory holds only manifest.json, the files that it names, and our temporary
 * files. */
bool checkpoint_is_pure(const char *directory);

#endif
