/* Opens the base with which a run begins, and the adapter that is trained further, if there is
 * one. */
#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/common/hub_name.h"
#include "lib/common/program.h"
#include "lib/llama/chat_end.h"
#include "lib/llama/model_place.h"
#include "lib/tokenizer/chat_own.h"
#include "lib/tokenizer/end_tokens.h"
#include "tools/train/guard.h"
#include "tools/train/rows.h"
#include "tools/train/sharing.h"
#include "tools/train/trainer.h"

#include <errno.h>
#include <unistd.h>

static int refuse_unquantized(const char *model, struct fail *why)
{
    const char *quantize = program_of("quantize");
    if (gguf_is(model))
        return fail_usage(why,
                          "%s is a GGUF file, not NF4: run %s %s -o base.nf4 and name that, or set "
                          "quantization: none",
                          model, quantize, model);
    return fail_usage(why,
                      "%s is not quantized: run %s %s -o base.nf4 and name that, or set "
                      "quantization: none",
                      model, quantize, model);
}

/* Unties the head, which gets a tensor of its own, if the recipe gives LoRA matrices to the
 * embedding or to the head. In PEFT only the named one of the two gets the matrices, and the other
 * does not change. */
static int untie_for_targets(struct trainer *t, struct fail *why)
{
    uint32_t targets, tables = parts_of_role(ROLE_EMBEDDING) | parts_of_role(ROLE_HEAD);
    if (!trainer_is_lora(t) || !t->config.is_tied) return 0;
    if (recipe_targets(t->recipe, &targets, why)) return -1;
    if (!(targets & tables)) return 0;
    t->config.is_tied = false;
    json_object_set_new(t->config.json, "tie_word_embeddings", json_false());
    return weights_untie(&t->weights, why);
}

/* Checks that the adapter belongs to this base, and fits the adapter to it. */
int trainer_use_adapter(struct trainer *t, struct fail *why)
{
    const struct adapter *a = t->adapter;
    const char *path = t->recipe->adapter;
    if (!a) return untie_for_targets(t, why);
    if (!t->plan_only && (adapter_check_base(a, t->weights.base, t->recipe->model, why) ||
                          adapter_check_tokenizer(a, t->weights.tokenizer, t->recipe->model, why)))
        return fail_in(why, path);
    if (adapter_fit(a, &t->config, &t->fit, why)) return fail_in(why, path);
    if (fit_check_applied(&t->fit, path, why)) return -1;
    if (t->fit.not_trainable)
        return fail_input(why, "%s: %s: merge it, and train on the merged model", path,
                          t->fit.not_trainable);
    if (t->fit.unties && weights_untie(&t->weights, why)) return -1;
    if ((!t->plan_only &&
         adapter_check_copies(a, &t->fit, &t->weights, ADAPTER_COPY_ADVICE, why)) ||
        adapter_freeze_unlisted(a, &t->fit, &t->weights, !t->plan_only, why))
        return fail_in(why, path);
    return 0;
}

/* If the result gets no copy of generation_config.json, its config.json gets the end tokens of the
 * base's copy. */
static int keep_end_tokens(struct trainer *t, struct fail *why)
{
    if (!t->companions || companions_hold(t->companions, "generation_config.json")) return 0;
    return end_tokens_read_generation_config(t->config.json, t->recipe->model, why);
}

/* Warns if the conversations have another template than the result's chat_template. */
static void compare_template(const struct trainer *t, const struct template_record *template)
{
    struct chat_own own;
    if (!*template->name) return;
    chat_own_find(&own, guard_companions(t->recipe));
    if (!own.is_there)
        warn("%s: the conversations have the template %s, but the result gets no chat_template: "
             "tell the programs that serve it the format (docs/formats/chat_template.md)",
             reader_name(t->samples), template->name);
    else if (!chat_own_is(&own, template->digest))
        warn("%s: the conversations have the template %s, but the result gets the chat_template of "
             "%s, which is %s: programs that serve it use that one, and it may answer worse with "
             "it",
             reader_name(t->samples), template->name, own.place, own.name);
}

/* Adds the token at which the template of the samples ends an answer to the end tokens of the
 * result, if the result is a model of its own. */
static int add_chat_end(struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    struct chat_end_notes notes;
    if (trainer_is_lora(t) || t->plan_only || !t->samples || !sharing_is_first(t)) return 0;
    const struct template_record *template = reader_template(t->samples);
    const struct chat_end_job job = { .template = template,
                                      .tokenizer = guard_companions(r),
                                      .config = t->config.json,
                                      .companions = t->companions };
    if (chat_end_add(&job, &notes, why)) return -1;
    if (t->is_replay) return 0;
    compare_template(t, template);
    if (*notes.lack)
        warn("%s: the token at which the template %s ends an answer is not known, so programs that "
             "serve the result may write past it: %s",
             reader_name(t->samples), template->name, notes.lack);
    if (*notes.added)
        note("eos_token_id: %s is added, at which the template %s ends an answer", notes.added,
             template->name);
    return 0;
}

int trainer_open_base(struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    bool wants_nf4 = r->quantization == QUANTIZATION_NF4 ||
                     (r->quantization == QUANTIZATION_AUTO && trainer_is_lora(t));
    if (t->plan_only && !r->from_scratch) {
        if (weights_outline(&t->weights, r->model, wants_nf4, why) ||
            config_copy(&t->config, &t->weights.config, why))
            return -1;
    } else if (r->from_scratch) {
        if (access(r->model, F_OK)) return hub_name_absent(r->model, errno, why);
        if (config_read(&t->config, r->model, why)) return -1;
        snprintf(t->state.base, sizeof t->state.base, "none");
    } else {
        if (model_place_check(r->model, why)) return -1;
        if (wants_nf4 && gguf_is(r->model)) return refuse_unquantized(r->model, why);
        /* A directory can be checked by its config, without reading all of its weights. */
        if (wants_nf4 && file_is_folder(r->model)) {
            int quantized = weights_directory_is_nf4(r->model, why);
            if (quantized <= 0) return quantized ? -1 : refuse_unquantized(r->model, why);
        }
        if (weights_open_checked(&t->weights, r->model, true, trainer_check_outline, t, why))
            return -1;
        if (config_copy(&t->config, &t->weights.config, why)) return -1;
        memcpy(t->state.base, t->weights.base, sizeof t->state.base);
    }
    if (config_check_training(&t->config, why)) return fail_in(why, file_shown(r->model));
    bool is_nf4 = t->weights.is_quantized;
    if (wants_nf4 && !is_nf4) return refuse_unquantized(r->model, why);
    if (r->quantization == QUANTIZATION_NONE && is_nf4)
        return fail_usage(why,
                          "%s is quantized, the recipe says quantization: none: say nf4, or name "
                          "the unquantized base",
                          file_shown(r->model));
    if (is_nf4 && !trainer_is_lora(t))
        return fail_usage(why,
                          "method: full needs an unquantized base, but %s is NF4: name the "
                          "unquantized one, or say method: lora",
                          file_shown(r->model));
    if (keep_end_tokens(t, why) || add_chat_end(t, why) || trainer_use_adapter(t, why)) return -1;
    if (!t->samples) return 0;
    return rows_check(t->samples, &t->info, &t->weights, t->config.vocab, r->adapter, why);
}
