/* train - adapters, or a whole model, by a recipe. */
#include "../../lib/common/die.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/program.h"
#include "../../lib/common/progress.h"
#include "../../lib/common/signals.h"
#include "log.h"
#include "plan.h"

#include <sys/uio.h>
#include <unistd.h>

static struct fail why;
static volatile sig_atomic_t stop_signal;

/* Safe in a signal handler. */
static void say_in_handler(const char *text)
{
    const char *name = program_name();
    const struct iovec parts[] = { { (void *)(uintptr_t)name, strlen(name) },
                                   { (void *)(uintptr_t)text, strlen(text) } };
    note_passing_ends();
    if (!opt_standard.quiet && writev(STDERR_FILENO, parts, 2) < 0) return;
}

static void ask_to_stop(int number)
{
    if (stop_signal) _Exit(128 + number);
    stop_signal = number;
    say_in_handler(": stops and saves; a second time leaves at once\n");
}

static void ignored_key(const char *key) { note("recipe: %s has no meaning here: ignored", key); }
static void say(const char *text) { note("%s", text); }

static void read_recipe(struct recipe *r, struct adapter *a, const char **operands, bool plan_only)
{
    recipe_defaults(r);
    if (!operands[0]) die_usage("a recipe is needed");
    for (const char **at = operands; *at; at++)
        if (strchr(*at, '=') && at != operands)
            or_die(recipe_override(r, *at, ignored_key, &why), &why);
        else if (at == operands)
            or_die(recipe_read(r, *at, ignored_key, &why), &why);
        else
            die_usage("'%s' is not KEY=VALUE", *at);
    or_die(recipe_check(r, plan_only, &why), &why);
    if (!r->adapter) return;
    or_die(adapter_open(a, r->adapter, &why), &why);
    or_die(recipe_take_adapter(r, a, &why), &why);
}

/* What the recipe's bf16 and fp16 mean on that device. A CPU has bf16 products or none. */
static const char *choose_device(const struct recipe *r, const char *device, bool plan_only)
{
    const struct kernels *k, *bf16;
    or_die(kernels_choose(&k, device, plan_only, &why), &why);
    if (!k->is_host && r->fp16 && strcmp(device, "cuda-bf16") != 0) return "cuda-f16";
    if (!k->is_host && r->bf16 && !strcmp(k->act_name, "f16"))
        die_usage("bf16: true, but device %s computes in f16: fp16: true", device);
    if (!r->bf16 || !k->is_host || !strcmp(device, "cpu-bf16")) return device;
    if (!kernels_open(&bf16, "cpu-bf16", &why)) return "cpu-bf16";
    note("bf16: true: %s: f32", why.text);
    return device;
}

static void evaluate(struct trainer *t, struct log *log)
{
    struct evaluation e;
    char line[256];
    double started = progress_clock();
    if (!t->evaluation || or_die(trainer_evaluate(t, &e, &why), &why)) return;
    or_die(log_evaluation(log, t, &e, progress_clock() - started, line, sizeof line, &why), &why);
    note("%s", line);
}

/* Steps have lines of their own: where they take long, lines of samples stand between. */
static void begin_progress(const struct trainer *t)
{
    double each = (double)(t->recipe->batch_size * t->recipe->accumulation);
    struct progress p = { .unit = "samples", .seconds = 300 };
    p.first = each * (double)t->state.step;
    p.total = each * (double)t->optimiser.steps;
    progress_begin(&p);
}

static bool is_due(int64_t step, int64_t every) { return every && step % every == 0; }

static void run(struct trainer *t)
{
    struct log log;
    struct step_result r;
    const struct recipe *recipe = t->recipe;
    char line[256];
    int64_t save = strcmp(recipe->save_strategy, "no") ? recipe->save_steps : 0;
    or_die(log_open(&log, recipe, t->state.step, &why), &why);
    signal_handle(SIGINT, ask_to_stop, true);
    signal_handle(SIGTERM, ask_to_stop, true);
    begin_progress(t);
    while (!trainer_is_done(t)) {
        if (or_die(trainer_step(t, &r, &why), &why)) break;
        int64_t step = t->state.step;
        bool is_last = trainer_is_done(t);
        log.tokens += (uint64_t)r.tokens;
        if (r.overflows)
            note("step %lld: gradients overflowed: loss scale %g from now on", (long long)step,
                 t->state.loss_scale);
        if (is_due(step, recipe->logging_steps) || is_last) {
            or_die(log_line(&log, t, &r, line, sizeof line, &why), &why);
            note("%s", line);
        }
        if (is_due(step, recipe->eval_steps) || is_last) evaluate(t, &log);
        if (is_due(step, save) && !is_last && !stop_signal)
            or_die(trainer_checkpoint(t, &why), &why);
    }
    progress_end();
    or_die(log_close(&log, &why), &why);
    if (!stop_signal) return;
    if (!t->state.step)
        die((enum status)(128 + stop_signal),
            "stopped by signal %d in the first step: there is nothing to save", (int)stop_signal);
    or_die(trainer_checkpoint(t, &why), &why);
    die((enum status)(128 + stop_signal),
        "stopped by signal %d after step %lld: saved, resume with "
        "resume_from_checkpoint=auto",
        (int)stop_signal, (long long)t->state.step);
}

int main(int argc, char **argv)
{
    const char *device = "auto";
    bool dry_run = false, print_config = false, list_keys = false, nvtx = false;
    struct opt table[] = {
        { "dry-run", 0, OPT_FLAG, &dry_run, 0, "print the memory plan and stop", 0 },
        { "print-config", 0, OPT_FLAG, &print_config, 0,
          "print every effective value of the recipe and stop", 0 },
        { "list-keys", 0, OPT_FLAG, &list_keys, 0, "print the keys of a recipe and stop", 0 },
        { "device", 0, OPT_TEXT, &device, "NAME", KERNELS_DEVICES, 0 },
        { "nvtx", 0, OPT_FLAG, &nvtx, 0, "name steps, passes and layers for a profiler of the GPU",
          0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "train",
        .summary = "train adapters, or a whole model, by a recipe",
        .usage = "train RECIPE.yaml [KEY=VALUE...] [options]",
        .example = "train recipes/llama2-7b-longqlora.yaml train_file=train.smp "
                   "model_name_or_path=llama-2-7b.nf4",
        .table = table,
    };
    const char **operands = opt_parse(argc, argv, &program);
    const char *world = getenv("WORLD_SIZE");
    if (world && *world && strcmp(world, "1") != 0)
        die_usage("WORLD_SIZE=%s: one program trains on one device: start it without torchrun or "
                  "deepspeed",
                  world);
    static struct recipe recipe;
    static struct adapter adapter;
    static struct trainer trainer;
    char described[512];
    if (list_keys) {
        recipe_list_keys(stdout);
        return 0;
    }
    read_recipe(&recipe, &adapter, operands, dry_run);
    if (print_config) {
        recipe_print(&recipe, stdout);
        return 0;
    }
    or_die(trainer_open(&trainer, &recipe, recipe.adapter ? &adapter : NULL,
                        choose_device(&recipe, device, dry_run), (int)opt_standard.threads, dry_run,
                        &why),
           &why);
    trainer.setup.names_ranges = nvtx;
    trainer.setup.stop = &stop_signal;
    if (dry_run) {
        or_die(plan_print(&trainer, strcmp(device, "auto") == 0, stdout, &why), &why);
    } else {
        or_die(trainer_start(&trainer, say, &why), &why);
        trainer_describe(&trainer, described, sizeof described);
        note("%s", described);
        run(&trainer);
        or_die(trainer_finish(&trainer, &why), &why);
    }
    trainer_close(&trainer);
    if (recipe.adapter) adapter_close(&adapter);
    recipe_release(&recipe);
    free(operands);
    return 0;
}
