/* Settles what a recipe with keys of another program means where it says nothing. */
#include "tools/train/recipe_inside.h"

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

static int take_default(struct recipe *r, const char *key, const struct foreign_key *of,
                        struct fail *why)
{
    char origin[80];
    snprintf(origin, sizeof origin, "default of %s", of->programs);
    return recipe_set_origin(r, recipe_find_key(key), origin) ? fail(why, "out of memory") : 0;
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

/* In LLaMA-Factory the documents of a sample see each other if they were packed without
 * neat_packing, which implies packing. A document_mask of the command line comes last. */
static int settle_packing(struct recipe *r, struct fail *why)
{
    const char *origin = *recipe_origin(r, "document_mask");
    bool is_last = origin && !strcmp(origin, "command line");
    enum toggle mask = r->neat_packing == TOGGLE_YES  ? TOGGLE_YES
                       : r->packing == TOGGLE_YES     ? TOGGLE_NO
                       : r->packing == TOGGLE_NO      ? TOGGLE_YES
                       : r->neat_packing == TOGGLE_NO ? TOGGLE_NO
                                                      : TOGGLE_AUTO;
    if (mask == TOGGLE_AUTO || is_last) return 0;
    if (origin && r->document_mask != mask)
        return fail_usage(why,
                          "document_mask: %s, but packing and neat_packing mean document_mask: %s: "
                          "keep one of the two",
                          recipe_document_masks[r->document_mask], recipe_document_masks[mask]);
    r->document_mask = mask;
    return recipe_set_origin(r, recipe_find_key("document_mask"), "packing of LLaMA-Factory")
               ? fail(why, "out of memory")
               : 0;
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
    if (settle_packing(r, why) || check_targets(r, why)) return -1;
    if (tell) recipe_tell_defaults(r, tell);
    return 0;
}
