#include "tools/train/run.h"

#include "lib/cli/die.h"
#include "lib/cli/launch.h"
#include "lib/cli/progress.h"
#include "lib/common/clock.h"
#include "lib/common/output.h"
#include "lib/common/output_dir.h"
#include "lib/common/signals.h"
#include "tools/train/groups.h"
#include "tools/train/log.h"
#include "tools/train/sharing.h"
#include "tools/train/starting.h"

#include <unistd.h>

static struct fail why;
static volatile sig_atomic_t stop_signal, is_shared;

/* The first signal asks the run to save and stop. SIGINT, SIGTERM and SIGQUIT come from a person or
 * a batch system. If a second one of these comes, the sender does not wait, so the program ends
 * immediately. Further signals of other kinds have no effect, because they repeat by themselves:
 * terminal and shell both send SIGHUP, and SIGXCPU comes every second. */
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
    /* Several ranks first agree to stop. */
    if (!is_shared)
        note_in_handler("stops and saves; a second SIGINT, SIGQUIT or SIGTERM leaves at once");
}

/* Returns the signal by which the run stops; 0: none. */
static int stop_of(const struct trainer *t) { return is_shared ? t->agreed.signal : stop_signal; }

static bool has_ended(struct trainer *t) { return trainer_is_done(t) || sharing_stops(t); }

static void report(const char *text) { note("%s", text); }

/* Shows progress in samples. Lines of progress are rare, because log lines show it too. */
static void begin_progress(const struct trainer *t)
{
    double samples_per_step = (double)(t->recipe->batch_size * t->recipe->accumulation);
    struct progress p = { .unit = "samples", .seconds = 300 };
    p.first = samples_per_step * (double)t->state.step;
    p.total = samples_per_step * (double)t->optimiser.steps;
    progress_begin(&p);
}

/* Ends this process, and with it the ranks. All ranks call it, so that each has done its part
 * before a launcher kills those that are left. */
static void end_with(int status)
{
    output_remove_pending();
    folder_remove_pending();
    launch_close(status);
    exit(status);
}

/* Saves a checkpoint before the run ends by a failure, if it has made steps since the last one. */
static void save_before_end(struct trainer *t)
{
    struct fail lack = { .status = STATUS_DONE };
    if (t->state.step > t->resumed && !trainer_checkpoint(t, &lack))
        note("step %lld is saved: once the cause is removed, resume_from_checkpoint=auto goes on",
             (long long)t->state.step);
}

/* Dies if `status` is a failure of what one process does, or of what rank 0 does while the others
 * wait in meet. The others end with the same status. */
static void or_end(struct trainer *t, int status)
{
    struct fail lack;
    if (status >= 0) return;
    if (!is_shared || sharing_end(t, why.status, &lack)) die_fail(&why);
    warn("%s", why.text);
    end_with(why.status);
}

/* Like or_end. Before that it saves a checkpoint if the parameters belong to a complete step. That
 * is so if an evaluation, the log or the reading of a sample has failed. */
static void or_save(struct trainer *t, int status)
{
    if (status < 0 && t->is_whole) save_before_end(t);
    or_end(t, status);
}

/* Dies if `status` is a failure of what all ranks do together. If there is one rank, it saves a
 * checkpoint first (or_save). */
static int or_stop(struct trainer *t, int status)
{
    if (is_shared) return or_die(status, &why);
    or_save(t, status);
    return status;
}

/* Ends the work that rank 0 has done alone. */
static void meet(struct trainer *t)
{
    int status = or_die(sharing_meet(t, &why), &why);
    if (status) end_with(status);
}

/* Evaluates, and updates the best model. The time of an evaluation is not counted as time of
 * steps. */
static void evaluate(struct trainer *t, struct log *log)
{
    struct evaluation e[EVAL_FILES_MAX];
    bool is_best = false;
    char line[LOG_SHOWN];
    if (!t->eval_count) return;
    double started = clock_seconds();
    progress_end();
    int status = or_stop(t, trainer_evaluate(t, e, &why));
    double seconds = clock_seconds() - started;
    if (!status && sharing_is_first(t)) {
        /* The model before the first step is not one that the run could end with. */
        if (t->state.step) or_save(t, trainer_consider(t, &e[0], &is_best, &why));
        or_save(t, log_evaluation(log, t, e, seconds, is_best, line, sizeof line, &why));
        note("%s", line);
        if (is_best && t->recipe->save_strategy == INTERVAL_BEST)
            or_end(t, trainer_checkpoint(t, &why));
    }
    if (!status) meet(t);
    begin_progress(t);
}

/* Saves a checkpoint. All ranks call it. */
static void save(struct trainer *t)
{
    if (sharing_is_first(t)) or_end(t, trainer_checkpoint(t, &why));
    meet(t);
}

/* Evaluates before the first step. On resuming, makes up for an evaluation that is due at the
 * checkpoint's step but has not taken place: a signal interrupted it, or the recipe had no such
 * evaluation then. */
static void evaluate_first(struct trainer *t, struct log *log)
{
    int64_t step = t->state.step;
    if (step ? t->state.evaluated != step && due_is(t, DUE_EVALUATION) : due_is_at_start(t))
        evaluate(t, log);
}

/* Says how far products in fp8 are from the usual ones, once in each process. */
static void tell_fp8_error(const struct step_result *r)
{
    static bool is_told;
    const struct fp8_error *e = &r->fp8_error;
    if (!r->has_fp8_error || is_told) return;
    is_told = true;
    note("fp8: error of the products with frozen weights: %.2f %% on average, at most %.2f %% (%s "
         "of layer %lld)",
         100 * e->mean, 100 * e->largest, e->group, (long long)e->layer);
}

static void take_step(struct trainer *t, struct log *log)
{
    struct step_result r;
    char line[256];
    double started = clock_seconds();
    if (or_stop(t, trainer_step(t, &r, &why))) return;
    int64_t step = t->state.step;
    bool is_first = sharing_is_first(t);
    if (is_first) log_step(log, &r, clock_seconds() - started);
    if (r.overflows)
        note("step %lld: gradients overflowed: loss scale %g from now on", (long long)step,
             t->state.loss_scale);
    tell_fp8_error(&r);
    if (due_is(t, DUE_LOG)) {
        if (is_first) or_save(t, log_line(log, t, &r, line, sizeof line, &why));
        if (is_first) note("%s", line);
        meet(t);
    }
    if (due_is(t, DUE_EVALUATION)) evaluate(t, log);
    if (!sharing_stops(t) && due_is(t, DUE_CHECKPOINT)) save(t);
}

/* Ends all ranks after a failure that one of them has kept. That rank prints the failure. */
static void leave_by_failure(struct trainer *t)
{
    if (t->agreed.saves) {
        if (sharing_is_first(t)) save_before_end(t);
        meet(t);
    }
    if (t->agreed.rank == ranks_place(t->ranks)->rank) warn("%s", t->failure.text);
    end_with(t->agreed.status);
}

/* Ends all ranks after the signal by which they agreed to stop. */
static void leave(struct trainer *t, int signal_number)
{
    int64_t step = t->state.step;
    if (is_shared) note("stops and saves");
    if (step) save(t);
    if (sharing_is_first(t) && !step)
        warn("stopped by signal %d in the first step: there is nothing to save", signal_number);
    else if (sharing_is_first(t))
        warn("stopped by signal %d after step %lld: saved, resume with resume_from_checkpoint=auto",
             signal_number, (long long)step);
    end_with(128 + signal_number);
}

/* Closes the log. If closing fails, lines of the log may be lost. A run that ends by a signal or a
 * failure then only warns, because it saves what it can in any case. A run that has made all its
 * steps saves them and ends with the failure. */
static void close_log(struct trainer *t, struct log *log)
{
    int status = sharing_is_first(t) ? log_close(log, &why) : 0;
    bool leaves = sharing_stops(t);
    if (status && leaves) warn("%s", why.text);
    if (leaves) return;
    if (sharing_is_first(t)) or_save(t, status);
    meet(t);
}

static void take_steps(struct trainer *t)
{
    struct log log;
    bool is_first = sharing_is_first(t);
    signals_handle_ends(ask_to_stop, true);
    /* Messages may go to a pipe (tee). When the pipe's reader ends, the run saves and stops. */
    signal_handle(SIGPIPE, ask_to_stop, true);
    if (is_first) or_die(log_open(&log, t, &why), &why);
    if (is_first && t->resumed && t->state.since == t->resumed)
        or_die(log_schedules(&log, t, &why), &why);
    begin_progress(t);
    evaluate_first(t, &log);
    while (!has_ended(t))
        take_step(t, &log);
    progress_end();
    close_log(t, &log);
    if (t->agreed.status) leave_by_failure(t);
    if (sharing_stops(t)) leave(t, stop_of(t));
    if (t->state.step < t->optimiser.steps)
        note("stopped early after step %lld: no better evaluation than that of step %lld",
             (long long)t->state.step, (long long)t->state.best_step);
}

/* Says how many ranks there are, and how many batches or samples of a step a rank computes at
 * most. */
static void tell_ranks(const struct trainer *t)
{
    int64_t ranks = sharing_count(t), batches = t->recipe->accumulation, block = t->recipe->block;
    int64_t groups = groups_count(t), a_round = groups * block;
    int64_t most = (batches + a_round - 1) / a_round * block;
    if (groups < ranks)
        note("%lld ranks, %lld for each sample: %lld samples a step, at most %lld a rank",
             (long long)ranks, (long long)(ranks / groups), (long long)batches, (long long)most);
    else if (ranks > 1)
        note("%lld ranks: %lld batches a step, at most %lld a rank", (long long)ranks,
             (long long)batches, (long long)most);
    if (ranks > 1 && recipe_is_foreign(t->recipe))
        note(
            "gradient_accumulation_steps counts the batches of all ranks together; where each rank "
            "computes so many, as in the other programs, an update has %lld: "
            "gradient_accumulation_steps=%lld does as they do",
            (long long)(batches * groups), (long long)(batches * groups));
    if (*device_messages_way(t->ranks))
        note("messages between GPUs go %s", device_messages_way(t->ranks));
}

/* Writes the result, on rank 0. */
static void finish(struct trainer *t)
{
    char name[RUN_NAME];
    int status = trainer_finish(t, &why);
    if (status < 0 && !run_folder_record(&t->folder, "finished") &&
        run_folder_newest(&t->folder, t->state.step + 1, name) == t->state.step)
        note("%s/%s has the trained parameters: resume_from_checkpoint=auto writes the result from "
             "it",
             t->folder.path, name);
    or_die(status, &why);
}

/* Writes "rope: …; attention: …; base: …; adapter: …; device: …". */
static void describe(const struct trainer *t, char *text, size_t size)
{
    char attention[120] = "full", loaded[120];
    weights_describe(&t->weights, loaded, sizeof loaded);
    if (t->attention.group)
        snprintf(attention, sizeof attention, "s2 group %lld, heads %lld-%lld shifted",
                 (long long)t->attention.group, (long long)t->config.heads / 2,
                 (long long)t->config.heads - 1);
    bool is_random = t->recipe->from_scratch;
    const char *adapter = t->adapter ? t->recipe->adapter : "";
    snprintf(text, size, "rope: %s; attention: %s%s; base: %s%s%s%s%s; device: %s", t->state.rope,
             attention, t->attention.masks_documents ? ", documents apart" : "",
             is_random                 ? "random"
             : t->weights.is_quantized ? "nf4"
                                       : "unquantized",
             is_random ? "" : ", ", is_random ? "" : loaded, *adapter ? "; adapter: " : "", adapter,
             t->state.device);
}

void run(struct trainer *t)
{
    char text[640];
    bool is_first = sharing_is_first(t);
    is_shared = sharing_count(t) > 1;
    t->asked = &stop_signal;
    t->setup.stop = is_shared && t->setup.segments > 1 ? &t->agreed.signal : &stop_signal;
    or_die(sharing_agree(t, &why), &why);
    int status = is_first ? or_die(trainer_is_finished(t, text, sizeof text, &why), &why) : 0;
    or_die(sharing_tell(t, &status, sizeof status, &why), &why);
    if (status) {
        if (is_first) note("%s", text);
        return;
    }
    if (is_first) starting_warn(t);
    or_die(trainer_start(t, report, &why), &why);
    if (is_first) starting_remark(t);
    describe(t, text, sizeof text);
    note("%s", text);
    tell_ranks(t);
    take_steps(t);
    if (is_first) finish(t);
}
