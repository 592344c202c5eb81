#include "tools/train/starting.h"

#include "lib/cli/die.h"
#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/program.h"
#include "lib/tokenizer/chat_known.h"
#include "tools/train/choose_rope.h"

#include <math.h>
#include <unistd.h>

static struct fail why;

void starting_refuse_keys(int argc, char **argv, const struct opt_program *program)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char key[64];
        size_t length = strcspn(argv[i] + (strlen(argv[i]) > 2 ? 2 : 0), "=");
        if (strncmp(argv[i], "--", 2) || length >= sizeof key) continue;
        snprintf(key, sizeof key, "%.*s", (int)length, argv[i] + 2);
        for (char *c = key; *c; c++)
            if (*c == '-') *c = '_';
        if (!recipe_knows_key(key)) continue;
        const char *value = argv[i][2 + length] ? argv[i] + 3 + length : argv[i + 1];
        bool is_value = value && (argv[i][2 + length] || strncmp(value, "--", 2) != 0);

        opt_begin(argc, argv, program);
        if (recipe_explain_key(key, is_value ? value : "VALUE", &why))
            die_usage("--%.*s %s", (int)length, argv[i] + 2, why.text);
    }
}

static void warn_of(const char *text) { warn("%s", text); }

/* what starting_tell_ignored prints */
static struct opt_list ignored;

static void keep_line(const char *line)
{
    char *copy = strdup(line);
    or_die(buffer_extend(&ignored.at, ignored.count, &why), &why);
    if (!copy) die(STATUS_FAILED, "out of memory");
    ignored.at[ignored.count++] = copy;
}

static void ignore(const char *key, const char *reason)
{
    char *line;
    if (asprintf(&line, "%s has no meaning here: ignored (%s)", key, reason) < 0)
        die(STATUS_FAILED, "out of memory");
    keep_line(line);
    free(line);
}

/* Refuses a key whose value is an operand of its own, as in `KEY VALUE` and `KEY = VALUE`. */
static NORETURN void refuse_parted(const char *key, const char **next)
{
    const char *value = *next;
    if (*value == '=')
        value = value[1] ? value + 1 : next[1] ? next[1] : "VALUE";
    else if (strchr(value, '='))
        value = "VALUE"; /* it sets another key */
    die_usage("'%s' is not KEY=VALUE: write %s=%s, without spaces", key, key, value);
}

/* True if the operand sets a key. Then it is no file, unless there is one of that name. */
static bool sets_key(const char *operand)
{
    char name[64];
    size_t length = strcspn(operand, "=");
    if (!operand[length] || length >= sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)length, operand);
    return recipe_knows_key(name) && access(operand, F_OK);
}

static void tell_fault(const struct fail *fault) { warn("%s", fault->text); }

/* Reads the recipe and the KEY=VALUE. Of several faults all but the last are printed if `tells`;
 * the last is in `why`. Returns -1 if there is one. */
static int read_operands(struct recipe *r, const char **operands, bool tells)
{
    int status = 0;
    for (const char **at = operands; *at; at++) {
        struct fail fault;
        int failed = 0;
        if (strchr(*at, '=') && at != operands)
            failed = recipe_override(r, *at, ignore, &fault);
        else if (at == operands)
            failed = recipe_read_all(r, *at, ignore, tells ? tell_fault : NULL, &fault);
        else if (at[1] && recipe_knows_key(*at))
            refuse_parted(*at, at + 1);
        else
            die_usage("'%s' is not KEY=VALUE", *at);
        if (!failed) continue;
        if (status && tells) tell_fault(&why);
        status = -1;
        why = fault;
        if (!tells || fault.status != STATUS_USAGE) return -1;
    }
    return status;
}

void starting_read_recipe(struct recipe *r, struct adapter *a, const char **operands,
                          bool plan_only, bool tells_faults)
{
    recipe_defaults(r);
    if (!operands[0] || sets_key(operands[0]))
        die_usage("no recipe is given: name a recipe.yaml first, then KEY=VALUE if wanted");
    or_die(read_operands(r, operands, tells_faults), &why);
    or_die(recipe_settle(r, keep_line, &why), &why);
    or_die(recipe_check(r, plan_only, &why), &why);
    if (!r->adapter) return;
    or_die(adapter_open(a, r->adapter, &why), &why);
    or_die(recipe_use_adapter(r, a, keep_line, &why), &why);
}

void starting_tell_ignored(void)
{
    for (int i = 0; i < ignored.count; i++)
        note("recipe: %s", ignored.at[i]);
}

/* Warns if the conversations use several templates, or not the template with which the adapter was
 * trained. */
static void warn_of_template(const struct trainer *t)
{
    const struct template_record *now = t->samples ? reader_template(t->samples) : NULL;
    const struct template_record *before = t->adapter ? &t->adapter->template : NULL;
    if (!now || !*now->name) return;
    if (now->is_mixed)
        warn("%s: conversations of several templates, of which %s is the first: the trained model "
             "will follow all of them",
             reader_name(t->samples), now->name);
    if (before && *before->name &&
        (strcmp(before->name, now->name) != 0 || strcmp(before->digest, now->digest) != 0))
        warn("%s: the conversations have the template %s%s, the adapter was trained with %s",
             reader_name(t->samples), now->name,
             strcmp(before->name, now->name) ? "" : ", which says other things now", before->name);
}

/* Says what `rope: auto` chose. If the recipe asks for linear scaling where YaRN would keep more,
 * says that the trained model may find less in a text than its base does. */
static void remark_on_linear(const struct trainer *t)
{
    const struct rope *now = &t->config.rope;
    char what[96];
    if (*t->rope_choice) {
        note("%s; %s measures what the model then finds in a text", t->rope_choice,
             program_of("needle"));
        return;
    }
    if (t->recipe->from_scratch || t->adapter || now->type != ROPE_LINEAR) return;
    if (rope_equal(now, &t->weights.config.rope)) return;
    if (choose_rope_takes_linear(t->config.theta, now->factor, choose_rope_tokens(t), what,
                                 sizeof what))
        return;
    note("rope linear:%g with %s: the model may find less in a text than its base does: "
         "rope=yarn:%g keeps more (%s --rope linear:%g,yarn:%g compares the losses, %s what is "
         "found)",
         now->factor, what, now->factor, program_of("ppl"), now->factor, now->factor,
         program_of("needle"));
}

/* Returns the number of updates that Axolotl plans for the samples: those of num_train_epochs, but
 * at most max_steps. With sample_packing, an epoch there has only whole updates, and at least one.
 * Returns 0 if Axolotl plans none, which leaves the number to the Trainer. */
static double axolotl_steps(const struct trainer *t)
{
    const struct recipe *r = t->recipe;
    if (!t->samples) return (double)r->max_steps;
    double samples = (double)reader_records(t->samples);
    double an_update = (double)(r->batch_size * r->accumulation);
    double steps = r->packs_samples ? floor(fmax(floor(samples / an_update), 1) * r->epochs)
                                    : ceil(samples * r->epochs / an_update);
    return r->max_steps ? fmin(steps, (double)r->max_steps) : steps;
}

/* Says how Axolotl would understand the number of updates, the warm-up and the clipping of its
 * recipe, if the result would differ: it may plan fewer updates, takes warmup_ratio as a share of
 * those, rounds it down, takes 2 for a warm-up of 1, and some of its versions clip to 1 if
 * max_grad_norm is 0. */
static void remark_on_axolotl(const struct trainer *t)
{
    const struct optimiser *o = &t->optimiser;
    const struct recipe *r = t->recipe;
    double steps = axolotl_steps(t);
    int64_t warmup = r->warmup_steps;
    if (!recipe_is_of(r, "Axolotl")) return;
    if (!r->max_steps && steps >= 1 && steps < (double)o->steps)
        note("the run has %lld steps, in Axolotl %.0f, because an epoch has only whole steps there "
             "with sample_packing: max_steps=%.0f does as Axolotl",
             (long long)o->steps, steps, steps);
    if (!warmup && steps >= 1) warmup = (int64_t)(r->warmup_ratio * steps);
    if (warmup == 1) warmup = 2;
    if (!r->warmup_steps && steps < 1) warmup = o->warmup; /* as the Trainer rounds it */
    if (warmup != o->warmup && o->schedule != SCHEDULE_CONSTANT)
        note(
            "the warm-up has %lld of %lld steps, in Axolotl %lld: warmup_steps=%lld warmup_ratio=0 "
            "does as Axolotl",
            (long long)o->warmup, (long long)o->steps, (long long)warmup, (long long)warmup);
    if (!(r->max_grad_norm > 0))
        note("max_grad_norm: 0 means no clipping here; some versions of Axolotl clip to 1 then: "
             "max_grad_norm: 1 does as these");
}

/* Notes that a chat model may lose the form of its answers if it is trained on plain text. */
static void remark_on_chat(const struct trainer *t)
{
    const struct template_record *template = t->samples ? reader_template(t->samples) : NULL;
    const char *model = t->recipe->model, *place = t->recipe->tokenizer;
    struct chat_source source = { 0 };
    struct fail unused;
    if (!template || *template->name || t->recipe->from_scratch) return;
    if (weights_have_companions(model)) place = model;
    if (place && !chat_source_find(&source, place, &unused) && source.text)
        note("%s: plain text, and the base has a chat_template: its answers may lose their form; "
             "conversations among the samples keep it (%s --format chat)",
             reader_name(t->samples), program_of("tokenize"));
    chat_source_release(&source);
}

/* Notes that a run with S2-Attn takes as much memory as one with full attention. */
static void remark_on_s2(const struct trainer *t)
{
    if (!t->attention.group || t->recipe->from_scratch) return;
    note("attention: s2 saves time, not memory, so full attention, with which the model will be "
         "used, fits too: attention=full");
}

void starting_remark(const struct trainer *t)
{
    remark_on_linear(t);
    remark_on_axolotl(t);
    remark_on_chat(t);
    remark_on_s2(t);
}

/* Warns if a file that the run will replace has further hard links, which will keep the old
 * content. */
static void warn_of_names(const struct run_folder *f)
{
    const char *name;
    json_t *digests;
    json_object_foreach((json_t *)run_folder_record(f, "files"), name, digests)
    {
        char path[4096];
        run_folder_path(f, name, path);
        if (warn_of_links(path)) return;
    }
}

/* Warns if eval_delay is so long that the run ends before its first evaluation. */
static void warn_of_delay(const struct trainer *t, uint64_t samples)
{
    const struct recipe *r = t->recipe;
    bool in_passes = r->eval_strategy == INTERVAL_EPOCH;
    double all = (double)t->optimiser.steps;
    if (in_passes) all = all * (double)(r->batch_size * r->accumulation) / (double)samples;
    if (!samples || !r->eval_file || r->eval_strategy == INTERVAL_NO || all >= r->eval_delay)
        return;
    warn("eval_delay %g: the run has %.4g %s, so nothing is evaluated%s", r->eval_delay, all,
         in_passes ? "passes" : "steps",
         recipe_seeks_best(r) ? ", and no best model is found: the result is the last one" : "");
}

void starting_warn(const struct trainer *t)
{
    int64_t group = t->attention.group, steps = t->optimiser.steps;
    int64_t a_step = t->recipe->batch_size * t->recipe->accumulation;
    if (t->folder.has_no_locks)
        warn("%s: the file system has no locks, so a second run there is not refused: make sure "
             "that none is started",
             t->folder.path);
    uint64_t longest = t->info.context, samples = t->samples ? reader_records(t->samples) : 0;
    char remark[400];
    if (config_remark(&t->config, remark, sizeof remark))
        warn("%s: %s", file_shown(t->recipe->model), remark);
    if (group && samples && longest <= (uint64_t)group)
        warn("no sample is longer than a group: up to %llu tokens, groups of %lld%s: pack them to "
             "--context %lld, or set group or attention: full",
             (unsigned long long)longest, (long long)group,
             longest <= (uint64_t)group / 2 ? ": s2 splits nothing"
                                            : ": s2 splits only what the shifted heads see",
             (long long)t->setup.positions);
    if (t->optimiser.schedule != SCHEDULE_CONSTANT && t->optimiser.warmup >= steps && steps)
        warn("the warm-up of %lld steps is as long as the run of %lld: the learning rate never "
             "gets to %g, and is 0 in the first step",
             (long long)t->optimiser.warmup, (long long)steps, t->recipe->learning_rate);
    if (t->due.evaluation && !t->recipe->eval_file)
        warn("eval_steps %lld: nothing is evaluated without an eval_file",
             (long long)t->due.evaluation);
    warn_of_names(&t->folder);
    warn_of_delay(t, samples);
    recipe_find_idle(t->recipe, warn_of);
    warn_of_template(t);
    if (samples && (uint64_t)a_step > samples)
        warn("a step takes %lld samples, there are %llu: it takes some of them more than once",
             (long long)a_step, (unsigned long long)samples);
    else if (samples && t->recipe->max_steps && (uint64_t)(a_step * steps) > samples)
        note("%lld steps of %lld samples go %.3g times over the %llu that there are",
             (long long)steps, (long long)a_step, (double)(a_step * steps) / (double)samples,
             (unsigned long long)samples);
}
