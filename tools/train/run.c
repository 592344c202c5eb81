#include "tools/train/run.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/output.h"
#include "lib/common/output_dir.h"
#include "lib/common/signals.h"
#include "tools/train/log.h"
#include "tools/train/starting.h"

#include <unistd.h>

static struct fail why;
static volatile sig_atomic_t stop_signal;

/* The first signal asks the run to save and stop. A second SIGINT, SIGTERM or SIGQUIT ends the
 * program at once, because a person or a batch system that does not wait has sent it. A second
 * signal of another kind has no effect, because those repeat by themselves: terminal and shell both
 * send SIGHUP, and SIGXCPU comes every second. */
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

static void report(const char *text) { note("%s", text); }

/* Shows progress in samples, but rarely, because each step has a line of its own. */
static void begin_progress(const struct trainer *t)
{
    double samples_per_step = (double)(t->recipe->batch_size * t->recipe->accumulation);
    struct progress p = { .unit = "samples", .seconds = 300 };
    p.first = samples_per_step * (double)t->state.step;
    p.total = samples_per_step * (double)t->optimiser.steps;
    progress_begin(&p);
}

/* Dies if `status` is a failure. Before that it saves a checkpoint if the parameters belong to a
 * complete step. That is so if an evaluation, the log or the reading of a sample has failed. */
static int or_save(struct trainer *t, int status)
{
    struct fail lack = { .status = STATUS_DONE };
    if (status < 0 && t->is_whole && t->state.step > t->resumed && !trainer_checkpoint(t, &lack))
        note("step %lld is saved: resume_from_checkpoint=auto goes on", (long long)t->state.step);
    return or_die(status, &why);
}

/* Evaluates, and updates the best model. The time of an evaluation is not counted as time of
 * steps. */
static void evaluate(struct trainer *t, struct log *log)
{
    struct evaluation e[EVAL_FILES_MAX];
    bool is_best = false;
    char line[LOG_SHOWN];
    if (!t->eval_count) return;
    double started = progress_clock();
    progress_end();
    int status = or_save(t, trainer_evaluate(t, e, &why));
    double seconds = progress_clock() - started;
    if (!status) {
        /* The model before the first step is not one that the run could end with. */
        if (t->state.step) or_save(t, trainer_consider(t, &e[0], &is_best, &why));
        or_save(t, log_evaluation(log, t, e, seconds, is_best, line, sizeof line, &why));
        note("%s", line);
        if (is_best && t->recipe->save_strategy == INTERVAL_BEST)
            or_die(trainer_checkpoint(t, &why), &why);
    }
    begin_progress(t);
}

/* Evaluates before the first step. Or does an evaluation that is due at the step from which the run
 * resumes; it is missing if a signal interrupted it, or if the run was shorter then and ended at
 * this step. */
static void evaluate_first(struct trainer *t, struct log *log)
{
    int64_t step = t->state.step;
    if (step ? t->state.evaluated != step && due_is(t, DUE_EVALUATION) : due_is_at_start(t))
        evaluate(t, log);
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

static void take_steps(struct trainer *t)
{
    struct log log;
    signals_handle_ends(ask_to_stop, true);
    /* Messages may go to a pipe (tee). When the pipe's reader ends, the run saves and stops. */
    signal_handle(SIGPIPE, ask_to_stop, true);
    or_die(log_open(&log, t, &why), &why);
    if (t->resumed && t->state.since == t->resumed) or_die(log_schedules(&log, t, &why), &why);
    begin_progress(t);
    evaluate_first(t, &log);
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

void run(struct trainer *t)
{
    char text[512];
    t->setup.stop = &stop_signal;
    int status = or_die(trainer_is_finished(t, text, sizeof text, &why), &why);
    if (status) {
        note("%s", text);
        return;
    }
    starting_warn(t);
    or_die(trainer_start(t, report, &why), &why);
    starting_remark(t);
    trainer_describe(t, text, sizeof text);
    note("%s", text);
    take_steps(t);
    status = trainer_finish(t, &why);
    char name[RUN_NAME];
    if (status < 0 && !run_folder_record(&t->folder, "finished") &&
        run_folder_newest(&t->folder, t->state.step + 1, name) == t->state.step)
        note("%s/%s has what was trained: resume_from_checkpoint=auto makes the result of it",
             t->folder.path, name);
    or_die(status, &why);
}
