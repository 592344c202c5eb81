/* train - adapters, or a whole model, by a recipe. */
#include "../../lib/common/die.h"
#include "../../lib/common/folder.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/output.h"
#include "../../lib/common/progress.h"
#include "../../lib/common/signals.h"
#include "guard.h"
#include "log.h"
#include "plan.h"
#include "starting.h"

#include <unistd.h>

static struct fail why;
static volatile sig_atomic_t stop_signal;

/* Those that a person or an impatient system sends twice mean it. SIGHUP comes twice by itself
 * (from the terminal and the shell), SIGXCPU each second, and after any of them a batch system's
 * SIGTERM. */
static void ask_to_stop(int number)
{
    static volatile sig_atomic_t wishes;
    bool is_wish = number == SIGINT || number == SIGTERM || number == SIGQUIT;
    if (is_wish && ++wishes > 1) {
        note_in_handler("leaves at once: steps since the last checkpoint are lost");
        output_remove_pending();
        folder_remove_pending();
        _Exit(128 + number);
    }
    if (stop_signal) return;
    stop_signal = number;
    note_in_handler("stops and saves; a second SIGINT, SIGQUIT or SIGTERM leaves at once");
}

static void say(const char *text) { note("%s", text); }

static void read_recipe(struct recipe *r, struct adapter *a, const char **operands, bool plan_only)
{
    recipe_defaults(r);
    if (!operands[0]) die_usage("a recipe is needed");
    for (const char **at = operands; *at; at++)
        if (strchr(*at, '=') && at != operands)
            or_die(recipe_override(r, *at, starting_ignore, &why), &why);
        else if (at == operands)
            or_die(recipe_read(r, *at, starting_ignore, &why), &why);
        else if (at[1] && recipe_knows_key(*at))
            die_usage("'%s' is not KEY=VALUE: write %s=%s", *at, *at, at[1]);
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

/* Steps have lines of their own: where they take long, lines of samples stand between. */
static void begin_progress(const struct trainer *t)
{
    double each = (double)(t->recipe->batch_size * t->recipe->accumulation);
    struct progress p = { .unit = "samples", .seconds = 300 };
    p.first = each * (double)t->state.step;
    p.total = each * (double)t->optimiser.steps;
    progress_begin(&p);
}

/* What fails beside the steps (an evaluation, a line of the log, reading a sample) is no reason to
 * lose those that are done. */
static int or_save(struct trainer *t, int status)
{
    struct fail lack = { .status = STATUS_DONE };
    if (status < 0 && t->is_whole && t->state.step > t->resumed && !trainer_checkpoint(t, &lack))
        note("step %lld is saved: resume_from_checkpoint=auto goes on", (long long)t->state.step);
    return or_die(status, &why);
}

/* With what it means for the best model. Steps are counted without the time that it takes. */
static void evaluate(struct trainer *t, struct log *log)
{
    struct evaluation e;
    bool is_best;
    char line[256];
    if (!t->evaluation) return;
    double started = progress_clock();
    progress_end();
    int status = or_save(t, trainer_evaluate(t, &e, &why));
    double seconds = progress_clock() - started;
    if (!status) {
        or_save(t, trainer_consider(t, &e, &is_best, &why));
        or_save(t, log_evaluation(log, t, &e, seconds, is_best, line, sizeof line, &why));
        note("%s", line);
        if (is_best && !strcmp(t->recipe->save_strategy, "best"))
            or_die(trainer_checkpoint(t, &why), &why);
    }
    begin_progress(t);
}

/* An evaluation that a signal stopped, after which the run goes on, or one after what were the last
 * steps of a shorter run. */
static void catch_up(struct trainer *t, struct log *log)
{
    int64_t step = t->state.step;
    if (step && t->state.evaluated != step && due_is(t, DUE_EVALUATION)) evaluate(t, log);
}

static void take_step(struct trainer *t, struct log *log)
{
    struct step_result r;
    char line[256];
    double started = progress_clock();
    if (or_save(t, trainer_step(t, &r, &why))) return;
    int64_t step = t->state.step;
    log_step(log, &r, progress_clock() - started);
    if (r.overflows)
        note("step %lld: gradients overflowed: loss scale %g from now on", (long long)step,
             t->state.loss_scale);
    if (due_is(t, DUE_LOG)) {
        or_save(t, log_line(log, t, &r, line, sizeof line, &why));
        note("%s", line);
    }
    if (due_is(t, DUE_EVALUATION)) evaluate(t, log);
    if (!stop_signal && due_is(t, DUE_CHECKPOINT)) or_die(trainer_checkpoint(t, &why), &why);
}

static void run(struct trainer *t)
{
    struct log log;
    signals_handle_ends(ask_to_stop, true);
    signal_handle(SIGPIPE, ask_to_stop, true); /* sent: data are written to no pipe here */
    or_die(log_open(&log, t, &why), &why);
    if (t->resumed && t->state.since == t->resumed) or_die(log_schedules(&log, t, &why), &why);
    begin_progress(t);
    catch_up(t, &log);
    while (!trainer_is_done(t) && !stop_signal)
        take_step(t, &log);
    progress_end();
    or_die(log_close(&log, &why), &why);
    if (!stop_signal && t->state.step < t->optimiser.steps)
        note("stopped early after step %lld: no better evaluation than that of step %lld",
             (long long)t->state.step, (long long)t->state.best_step);
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

static void train(struct trainer *t)
{
    char text[512];
    int status = or_die(trainer_is_finished(t, text, sizeof text, &why), &why);
    if (status) {
        note("%s", text);
        return;
    }
    starting_warn(t);
    or_die(trainer_start(t, say, &why), &why);
    trainer_describe(t, text, sizeof text);
    note("%s", text);
    run(t);
    status = trainer_finish(t, &why);
    char name[RUN_NAME];
    if (status < 0 && !run_folder_said(&t->folder, "finished") &&
        run_folder_newest(&t->folder, t->state.step + 1, name) == t->state.step)
        note("%s/%s has what was trained: resume_from_checkpoint=auto makes the result of it",
             t->folder.path, name);
    or_die(status, &why);
}

int main(int argc, char **argv)
{
    const char *device = "auto";
    bool dry_run = false, print_config = false, list_keys = false, nvtx = false;
    int64_t ranks = 0;
    struct opt table[] = {
        { "dry-run", 0, OPT_FLAG, &dry_run, 0, "print the memory plan and stop", 0 },
        { "print-config", 0, OPT_FLAG, &print_config, 0,
          "print every effective value of the recipe and stop", 0 },
        { "list-keys", 0, OPT_FLAG, &list_keys, 0, "print the keys of a recipe and stop", 0 },
        { "device", 0, OPT_TEXT, &device, "NAME", KERNELS_DEVICES, 0 },
        { "nvtx", 0, OPT_FLAG, &nvtx, 0, "name steps, passes and layers for a profiler of the GPU",
          0 },
        { "ranks", 0, OPT_COUNT, &ranks, "N",
          "1: this process is a run of its own, though a launcher started several", 0 },
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
    starting_refuse_keys(argc, argv, &program);
    const char **operands = opt_parse(argc, argv, &program);
    starting_refuse_ranks(ranks);
    static struct recipe recipe;
    static struct adapter adapter;
    static struct trainer trainer;
    if (list_keys) {
        recipe_list_keys(stdout);
        return 0;
    }
    read_recipe(&recipe, &adapter, operands, dry_run);
    or_die(guard_files(&recipe, operands[0], dry_run || print_config, &why), &why);
    starting_tell_ignored();
    if (print_config) {
        or_die(recipe_print(&recipe, stdout, &why), &why);
        return 0;
    }
    or_die(trainer_open(&trainer, &recipe, recipe.adapter ? &adapter : NULL,
                        choose_device(&recipe, device, dry_run), (int)opt_standard.threads, dry_run,
                        &why),
           &why);
    trainer.setup.names_ranges = nvtx;
    trainer.setup.stop = &stop_signal;
    if (dry_run) {
        starting_warn(&trainer);
        or_die(plan_print(&trainer, strcmp(device, "auto") == 0, stdout, &why), &why);
    } else {
        train(&trainer);
    }
    trainer_close(&trainer);
    if (recipe.adapter) adapter_close(&adapter);
    recipe_release(&recipe);
    free(operands);
    return 0;
}
