/* loaded.h - a model as the command line names it: its weights, an optional adapter, and the
 * position scaling that model, adapter and --rope determine.
 */
#ifndef LONGQLORA_MODEL_LOADED_H
#define LONGQLORA_MODEL_LOADED_H

#include "lib/llama/vocabulary_resize.h"
#include "model/adapter_load.h"

struct loaded;

struct loaded_options {
    const char *model, *adapter; /* the model: a directory, a GGUF file or a stream; the adapter: a
                                  * PEFT directory or NULL */
    /* Replaces the position scaling of the model. An adapter that stores its own refuses another.
     * NULL: not given */
    const char *rope;
    int64_t original_context; /* replaces the model's original context; 0: not given */
    bool force_base;          /* accepts an adapter that was trained on another base */
    /* also computes the model's digest, for which it reads all of the model */
    bool with_base;
    /* leaves the check of the adapter's base to the caller, because the check reads all of the
     * model */
    bool is_checked_later;
    /* opens only the shapes, for a memory plan; a config.json is enough */
    bool is_outline;
    bool merges; /* also accepts adapters that only the tool merge can apply */
    /* The change of the vocabulary's size that is made first; only with `merges`. */
    struct vocabulary_resize resize;
    /* For a stream or a GGUF: called when the shapes are known and before the data take memory, so
     * that the caller can refuse a model that is too large. NULL: no call. */
    int (*check)(void *arg, const struct loaded *outline, struct fail *why);
    void *arg;
};

/* The rows of a tool's table of options (lib/cli/opt.h) for --rope, --original-context and
 * --force-base. `o` is a struct loaded_options; rope_help and force_help are help texts. */
/* clang-format off */
#define LOADED_OPTIONS(o, rope_help, force_help)                                                   \
    { "rope", 0, OPT_OFFERED, &(o).rope, "HOW", rope_help ": " ROPE_WORDS, ROPE_OFFERED },         \
    { "original-context", 0, OPT_COUNT, &(o).original_context, "N",                                \
      "the base's context before interpolation; 0: as in its config.json", 0 },                    \
    { "force-base", 0, OPT_FLAG, &(o).force_base, 0, force_help, 0 }
/* clang-format on */

struct loaded {
    struct weights weights;
    struct adapter adapter;
    struct fit fit; /* how the adapter applies to the model of `config` */
    bool has_adapter;
    const char *adapter_path; /* borrowed */
    /* the caller must still call adapter_check_base, once it has the base's digest */
    bool must_check_base;
    /* The model's config, with the position scaling in use and the adapter's changes. */
    struct config config;
};

/* Checks that the model and the adapter of `o` exist, that its --rope is valid, and that
 * --force-base has an adapter to accept. If not, it fails with the message of loaded_open. It opens
 * nothing, so a tool can call it before long work. */
int loaded_check_places(const struct loaded_options *o, struct fail *why) MUST_USE;
/* Opens what the options name. The caller calls loaded_close, but not after a failure. */
int loaded_open(struct loaded *l, const struct loaded_options *o, struct fail *why) MUST_USE;
/* Fails if this --rope could not replace that of the open model. */
int loaded_check_rope(const struct loaded *l, const char *rope, struct fail *why) MUST_USE;
void loaded_close(struct loaded *l);

/* Extends the message of adapter_check_base by the adapter's name and by options that help. It is
 * for callers that make this check themselves (is_checked_later). can_resize: the program has
 * --resize-vocab, and the user did not give it. Returns -1. */
int loaded_fail_base(const char *adapter, bool can_resize, struct fail *why);

/* Plans the bytes that loaded_model would allocate. */
int loaded_plan(const struct loaded *l, const struct model_setup *setup, struct memory_plan *plan,
                struct fail *why) MUST_USE;
/* Sets *fits to true if the free memory is enough, else to false. `text` says how much is needed
 * and how much is free, or, if it does not fit, what is lacking. */
int loaded_check_memory(const struct loaded *l, const struct model_setup *setup, bool *fits,
                        char *text, size_t size, struct fail *why) MUST_USE;
/* Opens the model with the adapter's matrices in it. The adapter's rank, alpha and targets override
 * those of the setup. On success the caller closes *m with model_close. */
int loaded_model(const struct loaded *l, const struct model_setup *setup, struct model **m,
                 struct fail *why) MUST_USE;

/* ---- several ranks ---- */

/* Shares the device's memory out among the ranks of a machine. Fails if the ranks have different
 * versions, devices or levels of the kernels, whose results would differ. */
int loaded_agree_on_device(struct ranks *r, const char *device, struct fail *why) MUST_USE;
/* Writes the digest of the model's config, with which ranks compare it. */
int loaded_config_digest(const struct loaded *l, char digest[DIGEST_TEXT],
                         struct fail *why) MUST_USE;

#endif
