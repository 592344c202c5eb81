/* loaded.h - a model as a program is told to use it: its weights, perhaps an adapter,
 * and the positions that the two and the user agree on.
 */
#ifndef LONGQLORA_MODEL_LOADED_H
#define LONGQLORA_MODEL_LOADED_H

#include "model/adapter_load.h"

struct loaded;

struct loaded_options {
    const char *model, *adapter; /* directory or stream; PEFT directory or NULL */
    const char *rope;            /* instead of what model and adapter say, or NULL */
    int64_t original_context;    /* 0: as the model says */
    bool force_base;             /* take an adapter of another base */
    bool with_base;              /* the model's digest is wanted, which reads all of it */
    bool is_checked_later;       /* do not read all of it to check the adapter's base */
    bool is_outline;             /* shapes alone, for a plan: of a config.json too */
    bool merges;                 /* adapters that only merge computes are taken, too */
    /* Of a stream, once its header was read: called with what it is going to be, before its data
     * take memory. NULL: nothing is checked. */
    int (*check)(void *arg, const struct loaded *outline, struct fail *why);
    void *arg;
};

struct loaded {
    struct weights weights;
    struct adapter adapter;
    struct fit fit; /* of the adapter */
    bool has_adapter;
    const char *adapter_path; /* borrowed */
    bool base_is_due;         /* adapter_check_base is, with the base's digest */
    struct config config; /* with the rope that is used, and what else the adapter makes of it */
};

/* Fails if what is named is no model, no adapter or no rope, as loaded_open would, and opens
 * nothing. */
int loaded_check_places(const struct loaded_options *o, struct fail *why) MUST_USE;
int loaded_open(struct loaded *l, const struct loaded_options *o, struct fail *why) MUST_USE;
void loaded_close(struct loaded *l);

/* After adapter_check_base, where it was due: names the adapter, and the way out. Returns -1. */
int loaded_fail_base(const char *adapter, struct fail *why);

/* The bytes that loaded_model would take. */
int loaded_plan(const struct loaded *l, const struct model_setup *setup, struct memory_plan *plan,
                struct fail *why) MUST_USE;
/* Is there memory for it? In words: what it takes of what is free, or what it lacks. */
int loaded_check_memory(const struct loaded *l, const struct model_setup *setup, bool *fits,
                        char *text, size_t size, struct fail *why) MUST_USE;
/* The model, with the adapter's matrices in it; the adapter decides what of the setup is its own.
 */
int loaded_model(const struct loaded *l, const struct model_setup *setup, struct model **m,
                 struct fail *why) MUST_USE;

#endif
