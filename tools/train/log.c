#include "tools/train/log.h"
#include "tools/train/schedules.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/clock.h"
#include "lib/common/input.h"
#include "lib/common/output.h"

#include <errno.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

static const char log_name[] = "trainer_log.jsonl";

/* Returns the JSON object of a line, or NULL if the line is not from a run's log. The caller calls
 * json_decref. */
static json_t *read_entry(const char *line, size_t bytes)
{
    json_t *entry = json_loadb(line, bytes, 0, NULL);
    if (entry && json_is_integer(json_object_get(entry, "step"))) return entry;
    json_decref(entry);
    return NULL;
}

int log_check(const char *directory, struct fail *why)
{
    char path[4096 + 32], *line;
    struct input *in;
    size_t bytes;
    int got, status = 0;
    long long number = 0, bad = 0;
    snprintf(path, sizeof path, "%s/%s", directory, log_name);
    if (access(path, F_OK)) return 0;
    if (input_open(&in, path, why)) return -1;
    while ((got = input_line(in, &line, &bytes, why)) > 0) {
        json_t *entry = read_entry(line, bytes);
        number++;
        if (!entry && !bad) bad = number;
        json_decref(entry);
    }
    input_close(in);
    /* The last line may be incomplete if the machine crashed. */
    if (bad && bad < number)
        status = fail_usage(
            why,
            "%s exists already, but line %lld is not from a run's log: move the file away, or name "
            "another output_dir",
            path, bad);
    return got < 0 ? -1 : status;
}

/* True if the resumed run will write this line again. Lines of later steps than the checkpoint's
 * come again; without a checkpoint, all lines. Of the checkpoint's own step these come again: an
 * evaluation that the checkpoint does not know of, and schedules if the resumed run changes them.
 */
static bool comes_again(const json_t *entry, const struct trainer *t)
{
    int64_t step = json_integer_value(json_object_get(entry, "step"));
    if (step != t->state.step) return step > t->state.step;
    if (!step) return true;
    if (json_object_get(entry, "eval_loss")) return t->state.evaluated != step;
    return json_object_get(entry, "schedules") && t->resumed && t->state.since == t->resumed;
}

/* Warns if the log of the run that is resumed has no line of the last step that it logged. */
static void warn_of_lack(const struct trainer *t, const char *path, int64_t last)
{
    int64_t logged = t->state.step - t->state.loss_steps;
    size_t length = strlen(t->folder.path);
    bool is_here = !strncmp(t->checkpoint, t->folder.path, length) && t->checkpoint[length] == '/';
    if (!t->resumed || !is_here || last >= logged) return;
    if (!last)
        warn("%s: the lines of steps up to %lld are missing", path, (long long)logged);
    else
        warn("%s: the lines of steps after %lld, up to %lld, are missing", path, (long long)last,
             (long long)logged);
}

/* Rewrites the log without the lines that the resumed run will write again. *seconds becomes the
 * train_seconds of the last line that is kept, which is the time of all steps up to it, and *last
 * its step. */
static int keep_until(const char *path, const struct trainer *t, double *seconds, int64_t *last,
                      struct fail *why)
{
    struct input *in;
    struct output out;
    char *line;
    size_t bytes;
    int got = 0, status = 0;
    if (access(path, F_OK)) return 0;
    if (input_open(&in, path, why)) return -1;
    if (output_rewrite(&out, path, why)) {
        input_close(in);
        return -1;
    }
    while (!status && (got = input_line(in, &line, &bytes, why)) > 0) {
        json_t *entry = read_entry(line, bytes), *total = json_object_get(entry, "train_seconds");
        if (entry && !comes_again(entry, t)) {
            if (json_is_number(total)) *seconds = json_number_value(total);
            if (json_object_get(entry, "loss"))
                *last = json_integer_value(json_object_get(entry, "step"));
            status = output_write(&out, line, bytes, why);
            if (!status) status = output_write(&out, "\n", 1, why);
        }
        json_decref(entry);
    }
    input_close(in);
    if (got >= 0 && !status) return output_close(&out, why);
    output_abandon(&out);
    return -1;
}

int log_open(struct log *log, struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    char path[4096 + 32];
    int64_t last = 0;
    *log = (struct log){ .started = clock_seconds(),
                         .first_step = t->state.step,
                         .folder = &t->folder };
    snprintf(log->name, sizeof log->name, "%s", log_name);
    snprintf(path, sizeof path, "%s/%s", t->folder.path, log_name);
    if (keep_until(path, t, &log->before, &last, why)) return -1;
    warn_of_lack(t, path, last);
    log->file = growing_open(path, false);
    if (!log->file) return fail(why, "%s: %s", path, strerror(errno));
    if (r->report_to != REPORT_TENSORBOARD) return 0;
    snprintf(path, sizeof path, "%s/runs", t->folder.path);
    if (events_open(&log->events, r->logging_dir ? r->logging_dir : path, t->state.step, why))
        return -1;
    if (r->logging_dir) return 0;
    snprintf(path, sizeof path, "runs/%s", events_name(log->events));
    return run_folder_add_file(&t->folder, path, why);
}

void log_step(struct log *log, const struct step_result *r, double seconds)
{
    log->tokens += (uint64_t)r->tokens;
    log->seconds += seconds;
    log->interval += seconds;
    log->steps++;
}

/* If the log's name was taken or the log was removed, writes it again. */
static void keep_log(struct log *log, bool is_last)
{
    struct run_folder *f = log->folder;
    struct fail lack;
    int status =
        growing_keep(&log->file, f->lock, log_name, log->name, is_last, &log->missing, &lack);
    if (status > 0) {
        warn("%s/%s: somebody removed or replaced it: the log is written again, to %s", f->path,
             log_name, log->name);
        if (strcmp(log->name, log_name) != 0) status = run_folder_add_file(f, log->name, &lack);
    }
    if (status < 0 && !log->told_failure) warn("%s", lack.text);
    log->told_failure = log->told_failure || status < 0;
}

/* Writes and frees the object. */
static int write_line(struct log *log, json_t *line, struct fail *why)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    if (!text) return fail(why, "out of memory");
    keep_log(log, false);
    bool failed = fprintf(log->file, "%s\n", text) < 0 || fflush(log->file);
    free(text);
    return failed ? fail(why, "trainer_log.jsonl: cannot write: %s", strerror(errno)) : 0;
}

int log_schedules(struct log *log, const struct trainer *t, struct fail *why)
{
    struct fail lack = { .status = STATUS_DONE };
    json_t *all = schedules_to_json(t, &lack);
    if (!all) return lack.status ? fail(why, "%s", lack.text) : 0;
    return write_line(
        log, json_pack("{s:I,s:o}", "step", (json_int_t)t->state.step, "schedules", all), why);
}

/* JSON has no infinity and no NaN, so they become null. */
static json_t *real_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }

/* Adds the error of the products in fp8. */
static void add_fp8_error(json_t *line, const struct fp8_error *e)
{
    if (!line) return;
    json_object_set_new(line, "fp8_error", real_or_null(e->mean));
    json_object_set_new(line, "fp8_error_max", real_or_null(e->largest));
    json_object_set_new(line, "fp8_error_layer", json_integer((json_int_t)e->layer));
    json_object_set_new(line, "fp8_error_group", json_string(e->group));
}

int log_line(struct log *log, struct trainer *t, const struct step_result *r, char *shown,
             size_t size, struct fail *why)
{
    double elapsed = clock_seconds() - log->started;
    double rate = (double)log->tokens / log->seconds;
    double loss = t->state.loss_sum / (double)t->state.loss_steps;
    double samples = (double)(t->state.step * t->recipe->batch_size * t->recipe->accumulation);
    double epoch = samples / (double)reader_records(t->samples);
    int64_t done = t->state.step - log->first_step;
    double eta = log->seconds / (double)done * (double)(t->optimiser.steps - t->state.step);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_t *line = json_pack(
        "{s:I,s:f,s:f,s:f,s:f,s:I,s:I,s:f,s:f,s:f,s:I,s:f,s:f}", "step", (json_int_t)t->state.step,
        "epoch", epoch, "loss", loss, "grad_norm", r->grad_norm, "learning_rate", r->learning_rate,
        "tokens", (json_int_t)t->state.computed, "targets", (json_int_t)t->state.tokens,
        "tokens_per_second", rate, "step_seconds", log->interval / (double)log->steps,
        "train_seconds", log->before + log->seconds, "max_rss_bytes",
        (json_int_t)usage.ru_maxrss * 1024, "elapsed", elapsed, "eta", eta);
    if (line && t->scales_loss)
        json_object_set_new(line, "loss_scale", json_real(t->state.loss_scale));
    if (r->has_fp8_error) add_fp8_error(line, &r->fp8_error);
    if (write_line(log, line, why)) return -1;
    const struct event_value values[] = { { "train/loss", loss },
                                          { "train/grad_norm", r->grad_norm },
                                          { "train/learning_rate", r->learning_rate },
                                          { "train/epoch", epoch },
                                          { "train/tokens_per_second", rate } };
    if (events_add(log->events, t->state.step, values, 5, why)) return -1;
    char left[24];
    progress_duration(eta, left, sizeof left);
    snprintf(shown, size,
             "step %lld of %lld, loss %.4f, norm %.3f, rate %.3g, %.0f tokens/s, %s left",
             (long long)t->state.step, (long long)t->optimiser.steps, loss, r->grad_norm,
             r->learning_rate, rate, left);
    log->interval = 0;
    log->steps = 0;
    trainer_begin_interval(t);
    return 0;
}

/* Adds the keys of the second or a later evaluation file. They are named as in the Trainer, such as
 * eval_NAME_loss; the first file's keys have no NAME. */
static void add_file(json_t *line, const struct eval_file *f, const struct evaluation *e)
{
    const struct {
        const char *what;
        json_t *value;
    } keys[] = { { "loss", real_or_null(e->loss) },
                 { "perplexity", real_or_null(exp(e->loss)) },
                 { "targets", json_integer((json_int_t)e->targets) } };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[EVAL_NAME + 24];
        snprintf(key, sizeof key, "eval_%s_%s", f->name, keys[i].what);
        json_object_set_new(line, key, keys[i].value);
    }
}

/* Adds the events of one file, and its part of the message. */
static int add_events(struct log *log, const struct trainer *t, int i, const struct evaluation *e,
                      char *shown, size_t size, struct fail *why)
{
    const char *name = t->eval_files[i].name, *slash = i ? "/" : "";
    char loss[EVAL_NAME + 24], perplexity[EVAL_NAME + 24];
    size_t used = strlen(shown);
    snprintf(loss, sizeof loss, "eval/%s%sloss", i ? name : "", slash);
    snprintf(perplexity, sizeof perplexity, "eval/%s%sperplexity", i ? name : "", slash);
    const struct event_value values[] = { { loss, e->loss }, { perplexity, exp(e->loss) } };
    snprintf(shown + used, size - used, "%s%s%sloss %.4f, perplexity %.3f", i ? "; " : "",
             i ? name : "", i ? ": " : "", e->loss, exp(e->loss));
    return events_add(log->events, t->state.step, values, 2, why);
}

int log_evaluation(struct log *log, const struct trainer *t, const struct evaluation *e,
                   double seconds, bool is_best, char *shown, size_t size, struct fail *why)
{
    json_t *line =
        json_pack("{s:I,s:o,s:o,s:I,s:I}", "step", (json_int_t)t->state.step, "eval_loss",
                  real_or_null(e->loss), "eval_perplexity", real_or_null(exp(e->loss)),
                  "eval_tokens", (json_int_t)e->tokens, "eval_targets", (json_int_t)e->targets);
    for (int i = 1; line && i < t->eval_count; i++)
        add_file(line, &t->eval_files[i], &e[i]);
    if (line) json_object_set_new(line, "eval_runtime", json_real(seconds));
    if (line && t->state.step && recipe_seeks_best(t->recipe)) {
        json_object_set_new(line, "best_step", json_integer((json_int_t)t->state.best_step));
        json_object_set_new(line, "best_metric", real_or_null(t->state.best_metric));
    }
    if (write_line(log, line, why)) return -1;
    snprintf(shown, size, "step %lld of %lld, evaluation: ", (long long)t->state.step,
             (long long)t->optimiser.steps);
    for (int i = 0; i < t->eval_count; i++)
        if (add_events(log, t, i, &e[i], shown, size, why)) return -1;
    size_t used = strlen(shown);
    snprintf(shown + used, size - used, "%s", is_best ? ", the best so far" : "");
    return 0;
}

int log_close(struct log *log, struct fail *why)
{
    int status = events_close(log->events, why);
    log->events = NULL;
    if (!log->file) return status;
    keep_log(log, true);
    bool failed = fclose(log->file) != 0;
    log->file = NULL;
    return failed ? fail(why, "trainer_log.jsonl: cannot write: %s", strerror(errno)) : status;
}
