/* Settles what a recipe with keys of another program means where it says nothing. */
#include "tools/train/recipe_inside.h"

#include <math.h>

/* Returns the first given key of which every program has this value without a key for it, or
 * NULL. */
static const struct foreign_key *find_witness(const struct recipe *r, const char *key,
                                              const char *value)
{
    const struct foreign_key *f;
    for (int i = 0; (f = recipe_foreign_at(i)); i++) {
        bool is_witness = r->has_foreign[i] && !strstr(f->programs, "transformers");
        for (int p = 0; p < RECIPE_PROGRAMS; p++)
            if (strstr(f->programs, recipe_programs[p]) &&
                strcmp(recipe_foreign_default(key, p), value) != 0)
                is_witness = false;
        if (is_witness) return f;
    }
    return NULL;
}

static int set_origin(struct recipe *r, const char *key, const char *origin, struct fail *why)
{
    return recipe_set_origin(r, recipe_find_key(key), origin) ? fail(why, "out of memory") : 0;
}

static int take_default(struct recipe *r, const char *key, const struct foreign_key *of,
                        struct fail *why)
{
    char origin[80];
    snprintf(origin, sizeof origin, "default of %s", of->programs);
    return set_origin(r, key, origin, why);
}

/* Returns the first given key that has an effect only on adapters, or NULL. */
static const char *find_lora_key(const struct recipe *r)
{
    static const char further[] = "adapter_name_or_path";
    for (int i = 0; i < RECIPE_LORA_KEYS; i++)
        if (recipe_is_given(r, recipe_lora_keys[i])) return recipe_lora_keys[i];
    if (recipe_is_given(r, further)) return further;
    return r->quantization == QUANTIZATION_NF4 ? "quantization: nf4" : NULL;
}

/* Without the key adapter, Axolotl trains every weight. */
static int settle_method(struct recipe *r, void (*tell)(const char *), struct fail *why)
{
    char line[200];
    const struct foreign_key *full = find_witness(r, "method", "full");
    if (!full || recipe_is_given(r, "method")) return 0;
    const struct foreign_key *lora = find_witness(r, "method", "lora");
    const char *key = lora ? lora->name : find_lora_key(r);
    if (key)
        return fail_usage(why,
                          "method is missing: %s is a key of %s, which trains every weight without "
                          "the key adapter, but %s is for adapters: write method: lora or method: "
                          "full",
                          full->name, full->programs, key);
    r->method = METHOD_FULL;
    snprintf(line, sizeof line, "method: full, as in %s without the key adapter (%s is its key)",
             full->programs, full->name);
    if (tell) tell(line);
    return take_default(r, "method", full, why);
}

/* LongLoRA computes S2-Attn without a key that asks for it, and the other programs full
 * attention. */
static int settle_attention(struct recipe *r, void (*tell)(const char *), struct fail *why)
{
    char line[200];
    const struct foreign_key *full = find_witness(r, "attention", "full");
    const struct foreign_key *s2 = find_witness(r, "attention", "s2");
    /* A group is there only in S2-Attn. */
    if (!full || recipe_is_given(r, "attention") || recipe_is_given(r, "group")) return 0;
    if (s2)
        return fail_usage(why,
                          "attention is missing: %s is a key of %s, which then computes full "
                          "attention, and %s of %s, which computes s2: write attention: full or "
                          "attention: s2",
                          full->name, full->programs, s2->name, s2->programs);
    r->attention = ATTENTION_FULL;
    snprintf(line, sizeof line, "attention: full, as in %s without a key for it (%s is its key)",
             full->programs, full->name);
    if (tell) tell(line);
    return take_default(r, "attention", full, why);
}

/* Do packing, neat_packing and stage of LLaMA-Factory keep the documents of a sample apart? Without
 * the key packing, the stage pt packs, and sft does not. neat_packing: true implies packing. */
static enum toggle mask_of_packing(const struct recipe *r)
{
    bool packs = r->packing == TOGGLE_YES || (r->packing == TOGGLE_AUTO && r->is_pretraining);
    return packs && r->neat_packing != TOGGLE_YES ? TOGGLE_NO : TOGGLE_YES;
}

/* The keys packing and neat_packing of LLaMA-Factory decide document_mask. A document_mask of the
 * command line comes last. */
static int settle_packing(struct recipe *r, struct fail *why)
{
    const char *origin = *recipe_origin(r, "document_mask");
    enum toggle mask = mask_of_packing(r);
    if (origin && !strcmp(origin, "command line")) return 0;
    if (origin && r->document_mask != mask)
        return fail_usage(why,
                          "document_mask: %s, but packing and neat_packing mean document_mask: %s: "
                          "keep one of the two",
                          recipe_document_masks[r->document_mask], recipe_document_masks[mask]);
    r->document_mask = mask;
    return set_origin(r, "document_mask", "packing of LLaMA-Factory", why);
}

/* Without a key that asks for packing, a sample of QLoRA, Axolotl and LLaMA-Factory is one
 * document; but LLaMA-Factory's stage pt packs documents, which then see each other. */
static int settle_documents(struct recipe *r, void (*tell)(const char *), struct fail *why)
{
    char line[200];
    if (r->packing != TOGGLE_AUTO || r->neat_packing == TOGGLE_YES) return settle_packing(r, why);
    const struct foreign_key *of =
        r->is_pretraining ? recipe_foreign_find("stage") : find_witness(r, "document_mask", "yes");
    if (!of || recipe_is_given(r, "document_mask")) return 0;
    r->document_mask = mask_of_packing(r);
    if (r->is_pretraining)
        snprintf(line, sizeof line,
                 "document_mask: no, as in %s, whose stage pt packs documents that see each other",
                 of->programs);
    else
        snprintf(line, sizeof line, "document_mask: yes, as in %s without packing (%s is its key)",
                 of->programs, of->name);
    if (tell) tell(line);
    return take_default(r, "document_mask", of, why);
}

/* In Axolotl a warmup_steps that is given counts, even if it is 0, and warmup_ratio only counts
 * without it. In the Trainer warmup_ratio counts if warmup_steps is 0. */
static int settle_warmup(struct recipe *r, void (*tell)(const char *), struct fail *why)
{
    char line[160];
    if (!recipe_is_of(r, "Axolotl") || !recipe_is_given(r, "warmup_steps") || r->warmup_steps)
        return 0;
    snprintf(line, sizeof line,
             "warmup_steps: 0 means no warm-up, as in Axolotl, and not warmup_ratio: %g",
             r->warmup_ratio);
    if (r->warmup_ratio > 0 && tell) tell(line);
    r->warmup_ratio = 0;
    return set_origin(r, "warmup_ratio", "warmup_steps of Axolotl", why);
}

static int exclude(const char *a, const char *b, struct fail *why)
{
    return fail_usage(why, "%s and %s exclude each other, as in Axolotl: keep one of the two", a,
                      b);
}

/* As Axolotl does, N checkpoints per epoch are a share of all steps. If the share is not below 1,
 * there is a checkpoint after each epoch. */
static int settle_saves(struct recipe *r, struct fail *why)
{
    static const char theirs[] = "saves_per_epoch";
    if (!r->saves_per_epoch) return 0;
    if (r->save_steps > 0) return exclude("save_steps", theirs, why);
    double share = 1 / ((double)r->saves_per_epoch * r->epochs);
    if (share < 1) {
        r->save_steps = share;
        r->save_strategy = INTERVAL_STEPS;
        if (set_origin(r, "save_steps", theirs, why)) return -1;
    } else {
        if (recipe_is_given(r, "save_strategy")) return 0;
        r->save_strategy = INTERVAL_EPOCH;
    }
    return set_origin(r, "save_strategy", theirs, why);
}

/* As Axolotl does, N evaluations per epoch are a share of all steps. If the share is not below 1,
 * Axolotl evaluates nothing. */
static int settle_evaluations(struct recipe *r, void (*tell)(const char *), struct fail *why)
{
    static const char theirs[] = "evals_per_epoch";
    char line[200];
    if (!r->evals_per_epoch) return 0;
    if (r->eval_steps > 0) return exclude("eval_steps", theirs, why);
    if (r->eval_strategy != INTERVAL_AUTO && r->eval_strategy != INTERVAL_STEPS)
        return exclude("eval_strategy", theirs, why);
    double share = 1 / ((double)r->evals_per_epoch * r->epochs);
    if (share < 1) {
        r->eval_steps = share;
        return set_origin(r, "eval_steps", theirs, why);
    }
    snprintf(line, sizeof line,
             "evals_per_epoch: %lld is no evaluation within a run of %g epochs, as in Axolotl: "
             "eval_strategy: epoch evaluates after each epoch",
             (long long)r->evals_per_epoch, r->epochs);
    if (tell && r->eval_file) tell(line);
    return 0;
}

/* Axolotl takes the best model, unless load_best_model_at_end is false and there is no early
 * stopping, if it saves at a multiple of the steps at which it evaluates. */
static void tell_of_best(const struct recipe *r, void (*tell)(const char *))
{
    bool is_off = recipe_is_given(r, "load_best_model_at_end") && !r->patience;
    if (!recipe_is_of(r, "Axolotl") || is_off || r->load_best || !r->eval_file) return;
    if (!(r->save_steps > 0) || !(r->eval_steps > 0) || fmod(r->save_steps, r->eval_steps) > 0)
        return;
    tell("the result is the last model, but the best one in Axolotl, because save_steps is a "
         "multiple of eval_steps: load_best_model_at_end: true does as Axolotl");
}

/* In Axolotl one of two keys names the modules with an adapter. */
static int check_targets(struct recipe *r, struct fail *why)
{
    bool names = recipe_foreign_given(r, "lora_target_modules") ||
                 recipe_foreign_given(r, "lora_target_linear");
    if (!names || r->method != METHOD_LORA || r->adapter || recipe_is_given(r, "target_modules"))
        return 0;
    return fail_usage(why, "lora_target_modules and lora_target_linear name no module: write "
                           "lora_target_linear: true for all of them, or their names");
}

int recipe_settle(struct recipe *r, void (*tell)(const char *), struct fail *why)
{
    if (settle_method(r, tell, why) || settle_attention(r, tell, why)) return -1;
    if (settle_documents(r, tell, why) || settle_warmup(r, tell, why)) return -1;
    if (settle_saves(r, why) || settle_evaluations(r, tell, why)) return -1;
    if (check_targets(r, why)) return -1;
    if (tell) tell_of_best(r, tell);
    if (tell) recipe_tell_defaults(r, tell);
    return 0;
}
