#include "model/loaded.h"

#include "lib/common/file.h"
#include "lib/llama/model_place.h"
#include "model/device_messages.h"

static int set_rope(struct loaded *l, const struct loaded_options *o, struct fail *why)
{
    struct config *c = &l->config;
    if (config_set_original(c, o->original_context, why)) return fail_in(why, "--original-context");
    if (l->has_adapter && adapter_set_rope(&l->adapter, c, why)) return fail_in(why, o->adapter);
    if (!o->rope) return 0;
    struct rope asked;
    if (rope_set(&asked, o->rope, why)) return fail_in(why, "--rope");
    bool is_other = l->has_adapter && l->adapter.has_rope && !rope_equal(&asked, &c->rope);
    if (is_other && c->rope.type == ROPE_DEFAULT)
        return fail_usage(why,
                          "--rope %s: leave it out, because the adapter was trained without "
                          "position scaling (none)",
                          o->rope);
    if (is_other)
        return fail_usage(
            why,
            "--rope %s: leave it out, because the adapter brings its own position scaling, %s:%g",
            o->rope, rope_type_name(c->rope.type), c->rope.factor);
    c->rope = asked;
    return config_check_rope(c, why) ? fail_in(why, "--rope") : 0;
}

/* Checks that the adapter was made with this tokenizer and this base model. The error message
 * recommends --force-base, because every program that calls this has that option. */
static int check_adapter(const struct loaded *l, const struct loaded_options *o, struct fail *why)
{
    const struct weights *w = &l->weights;
    const char *shown = file_shown(o->model);
    if (!adapter_check_tokenizer(&l->adapter, w->tokenizer, shown, why) &&
        (l->must_check_base || !adapter_check_base(&l->adapter, w->base, shown, why)))
        return 0;
    return loaded_fail_base(o->adapter, o->merges && !o->resize.tokenizer, why);
}

/* Checks that the base's config, with the position scaling in use, computes what it computed when
 * the adapter was made. */
static int check_config(const struct loaded *l, const struct loaded_options *o, struct fail *why)
{
    if (!adapter_check_config(&l->adapter, &l->config, file_shown(o->model), why)) return 0;
    return loaded_fail_base(o->adapter, false, why);
}

int loaded_fail_base(const char *adapter, bool can_resize, struct fail *why)
{
    struct fail first = *why;
    return fail_input(why, "%s: %s%s, or --force-base", adapter, first.text,
                      can_resize ? ", or --resize-vocab DIR if that is this base with added tokens"
                                 : "");
}

int loaded_check_places(const struct loaded_options *o, struct fail *why)
{
    struct rope asked;
    if (o->rope && rope_set(&asked, o->rope, why)) return fail_in(why, "--rope");
    if (o->force_base && !o->adapter) return fail_usage(why, "--force-base needs --adapter");
    if (o->adapter && adapter_check_place(o->adapter, why)) return -1;
    if (!model_place_check(o->model, why)) return 0;
    if (o->adapter || adapter_check_place(o->model, &(struct fail){ 0 })) return -1;
    struct fail first = *why;
    return fail_input(why, "%s, and the adapter with --adapter", first.text);
}

/* Fits the adapter to the model's config, and unties the output head if the adapter needs that. */
static int fit_adapter(struct loaded *l, const struct loaded_options *o, struct fail *why)
{
    if (!l->has_adapter) return 0;
    if (adapter_fit(&l->adapter, &l->config, &l->fit, why)) return fail_in(why, o->adapter);
    if (!o->merges && fit_check_applied(&l->fit, o->adapter, why)) return -1;
    return l->fit.unties ? weights_untie(&l->weights, why) : 0;
}

static int check_copies(const struct loaded *l, const struct loaded_options *o, struct fail *why)
{
    if (!l->has_adapter || o->merges || o->is_outline) return 0;
    int status = adapter_check_copies(&l->adapter, &l->fit, &l->weights, ADAPTER_COPY_ADVICE, why);
    return status ? fail_in(why, o->adapter) : 0;
}

/* The argument of check_outline: what loaded_open was called with. */
struct opening {
    const struct loaded *l;
    const struct loaded_options *o;
};

static int check_outline(void *arg, struct weights *outline, struct fail *why)
{
    const struct opening *opening = arg;
    struct loaded early = { .weights = *outline,
                            .adapter = opening->l->adapter,
                            .has_adapter = opening->l->has_adapter,
                            .adapter_path = opening->l->adapter_path };
    int status = config_copy(&early.config, &outline->config, why) ||
                         set_rope(&early, opening->o, why) ||
                         fit_adapter(&early, opening->o, why) ||
                         opening->o->check(opening->o->arg, &early, why)
                     ? -1
                     : 0;
    config_release(&early.config);
    fit_release(&early.fit);
    *outline = early.weights;
    return status;
}

int loaded_open(struct loaded *l, const struct loaded_options *o, struct fail *why)
{
    *l = (struct loaded){ 0 };
    if (!o->is_outline && loaded_check_places(o, why)) return -1;
    if (o->adapter && adapter_open(&l->adapter, o->adapter, why)) return -1;
    l->has_adapter = o->adapter != NULL;
    l->adapter_path = o->adapter;
    bool checks = l->has_adapter && l->adapter.knows_base && !o->force_base && !o->is_outline;
    bool with_base = o->with_base || (checks && !o->is_checked_later);
    struct opening opening = { l, o };
    int status = o->is_outline ? weights_outline(&l->weights, o->model, false, why)
                 : o->merges   ? weights_open(&l->weights, o->model, with_base, why)
                               : weights_open_checked(&l->weights, o->model, with_base,
                                                    o->check ? check_outline : NULL, &opening, why);
    const struct weights *w = &l->weights;
    if (!status && vocabulary_resize(&l->weights, &o->resize, o->model, why))
        status = fail_in(why, o->model);
    l->must_check_base = checks && !status && !w->base[0];
    if (status || (checks && check_adapter(l, o, why)) ||
        config_copy(&l->config, &l->weights.config, why) || set_rope(l, o, why) ||
        (checks && check_config(l, o, why)) || fit_adapter(l, o, why) || check_copies(l, o, why)) {
        loaded_close(l);
        return -1;
    }
    return 0;
}

int loaded_check_rope(const struct loaded *l, const char *rope, struct fail *why)
{
    struct loaded other = *l; /* set_rope changes nothing that its config points to */
    const struct loaded_options o = { .rope = rope, .adapter = l->adapter_path };
    return set_rope(&other, &o, why);
}

void loaded_close(struct loaded *l)
{
    config_release(&l->config);
    fit_release(&l->fit);
    adapter_close(&l->adapter);
    weights_close(&l->weights);
    *l = (struct loaded){ 0 };
}

static struct model_setup with_adapter(const struct loaded *l, struct model_setup setup)
{
    if (l->has_adapter) fit_set_up(&l->fit, &l->adapter, &setup);
    return setup;
}

int loaded_plan(const struct loaded *l, const struct model_setup *setup, struct memory_plan *plan,
                struct fail *why)
{
    struct model_setup own = with_adapter(l, *setup);
    return model_plan(plan, &own, &l->config, &l->weights, why);
}

int loaded_check_memory(const struct loaded *l, const struct model_setup *setup, bool *fits,
                        char *text, size_t size, struct fail *why)
{
    const struct kernels *k;
    struct memory_plan plan;
    if (kernels_open(&k, setup->device, why) || loaded_plan(l, setup, &plan, why)) return -1;
    struct memory_limits limits = memory_limits_of(k, &l->weights);
    *fits = memory_fits(&plan, k, limits);
    (*fits ? memory_describe : memory_describe_lack)(&plan, k, limits, text, size);
    size_t used = strlen(text);
    if (!*fits) weights_advise_memory(&l->weights, text + used, size - used);
    return 0;
}

int loaded_model(const struct loaded *l, const struct model_setup *setup, struct model **m,
                 struct fail *why)
{
    struct model_setup own = with_adapter(l, *setup);
    if (model_open(m, &own, &l->config, &l->weights, 0, why)) return -1;
    if (!l->has_adapter || !adapter_load(&l->adapter, &l->fit, *m, why)) return 0;
    model_close(*m);
    *m = NULL;
    return fail_in(why, l->adapter_path);
}

/* ---- several ranks ---- */

int loaded_agree_on_device(struct ranks *r, const char *device, struct fail *why)
{
    const struct kernels *k;
    struct device_facts facts;
    char act[80];
    if (kernels_open(&k, device, why) || memory_share_with(r, k, why) ||
        device_messages_open(r, k, true, why))
        return -1;
    k->describe(&facts);
    snprintf(act, sizeof act, "%s, %s", k->name, k->act_name);
    const struct ranks_text texts[] = {
        { "version", LONGQLORA_VERSION },
        { "device", act },
        { "level of the CPU kernels", kernels_level(k) },
        { "kind of device", facts.kind },
    };
    return ranks_agree(r, texts, sizeof texts / sizeof *texts, why);
}

int loaded_config_digest(const struct loaded *l, char digest[DIGEST_TEXT], struct fail *why)
{
    char *text = json_dumps(l->config.json, JSON_SORT_KEYS);
    if (!text) return fail(why, "out of memory");
    digest_of_bytes(text, strlen(text), digest);
    free(text);
    return 0;
}
