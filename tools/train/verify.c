#include "tools/train/verify.h"

#include "lib/cli/die.h"
#include "lib/common/buffer.h"
#include "lib/common/output.h"
#include "lib/common/signals.h"
#include "tools/train/compare.h"
#include "tools/train/findings.h"
#include "tools/train/inputs.h"
#include "tools/train/kept.h"
#include "tools/train/sharing.h"
#include "tools/train/unfinished.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fail why;

/* What rank 0 tells the others to do. */
enum task { TASK_END, TASK_OPEN, TASK_REPLAY };
struct order {
    enum task task;
    enum status status;      /* of TASK_END */
    size_t bytes;            /* of the text that follows TASK_OPEN: {"run": …, "paths": …} */
    struct replay_goal goal; /* of TASK_REPLAY */
};

/* Whether inputs and program are those of a run's line. */
struct checked {
    char digest[SHA256_TEXT];
    bool fits;
};

static struct verification {
    char run[RUN_PATH];
    int64_t from, to; /* -1: not given */
    struct replay_place place;
    struct kept_list list;
    struct findings findings;
    struct replay replay;
    char opened[SHA256_TEXT]; /* the run's line for which the replay is open */
    char at[SHA256_TEXT];     /* the line of the checkpoint that the model is at; "": none */
    struct checked *checked;
    int checked_count;
    json_t *hashed;    /* the SHA-256 of each input that was read, by its path */
    char folder[4096]; /* where replayed files are written */
} v;

/* ---- the command line ---- */

/* Splits "FOLDER:FROM-TO". If a folder has the whole text as its name, this folder is meant. */
static void split(const char *text)
{
    char first[24], last[24];
    int end = 0;
    const char *colon = strrchr(text, ':');
    if (!*text) die_usage("--verify: the name is empty: name the output_dir of a run");
    snprintf(v.run, sizeof v.run, "%s", text);
    v.from = v.to = -1;
    if (!access(text, F_OK) || !colon) return;
    if (sscanf(colon, ":%18[0-9]-%18[0-9]%n", first, last, &end) != 2 || colon[end])
        die_usage(
            "--verify %s: there is no such folder; behind a colon, two steps are needed, as in "
            "RUN:100-200",
            text);
    snprintf(v.run, sizeof v.run, "%.*s", (int)(colon - text), text);
    v.from = strtoll(first, NULL, 10);
    v.to = strtoll(last, NULL, 10);
    if (v.from >= v.to) die_usage("--verify %s: the first step must be below the last", text);
}

static bool is_kept_step(int64_t step)
{
    bool is_kept = !step;
    for (int i = 0; i < v.list.count; i++)
        is_kept = is_kept || (v.list.at[i].line && v.list.at[i].step == step);
    return is_kept;
}

/* Dies if FROM or TO is not a step of which the run has a checkpoint. */
static void check_range(void)
{
    char steps[200] = "0";
    int64_t before = 0;
    for (int i = 0; i < v.list.count; i++) {
        size_t used = strlen(steps);
        if (v.list.at[i].step <= before || used + 24 > sizeof steps) continue;
        before = v.list.at[i].step;
        snprintf(steps + used, sizeof steps - used, ", %lld", (long long)before);
    }
    if (v.from < 0 || (is_kept_step(v.from) && is_kept_step(v.to))) return;
    die_usage("--verify %s: no checkpoint is kept of step %lld; there are those of the steps %s",
              v.run, (long long)(is_kept_step(v.from) ? v.to : v.from), steps);
}

/* ---- recipe, inputs and program ---- */

/* Reads the recipe and the values that the user named, on top of the run's if there is no recipe.
 */
static void read_named(struct recipe *named, const char **operands, const json_t *run)
{
    static struct adapter adapter;
    static const char *const parts[] = { "recipe", "paths" };
    bool has_file = *operands && !strchr(*operands, '=');
    recipe_defaults(named);
    if (has_file)
        or_die(recipe_read(named, *operands, recipe_ignore, &why), &why);
    else
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            or_die(recipe_read_record(named, json_object_get(run, parts[i]), chain_file, &why),
                   &why);
    for (const char **at = operands + has_file; *at; at++) {
        if (!strchr(*at, '=')) die_usage("'%s' is not KEY=VALUE", *at);
        or_die(recipe_override(named, *at, recipe_ignore, &why), &why);
    }
    if (has_file) or_die(recipe_settle(named, NULL, &why), &why);
    if (!has_file || !named->adapter) return;
    or_die(adapter_open(&adapter, named->adapter, &why), &why);
    or_die(recipe_use_adapter(named, &adapter, NULL, &why), &why);
    adapter_close(&adapter);
}

/* Does a recipe lack evaluation samples or an adapter that the run had? The paths may differ. */
static bool lacks_input(const json_t *run, char *text, size_t size)
{
    static const char *const keys[] = { "eval_file", "adapter_name_or_path" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *then =
            json_string_value(json_object_get(json_object_get(run, "paths"), keys[i]));
        if (!then || json_object_get(v.place.paths, keys[i])) continue;
        snprintf(text, size, "%s was %.100s, is not there", keys[i], then);
        return true;
    }
    return false;
}

/* The operand that has set the key with which `text` begins; otherwise the first operand. */
static const char *blamed(const char **operands, const char *text)
{
    const char *last = *operands;
    size_t length = strcspn(text, " ");
    for (; *operands; operands++)
        if (!strncmp(*operands, text, length) && (*operands)[length] == '=') last = *operands;
    return last;
}

/* Compares the recipe that the user named with that of the run's last line, and takes its paths. */
static void take_operands(const char **operands)
{
    struct recipe named;
    struct fail differs;
    char text[300];
    const json_t *run = kept_last_run(&v.list);
    if (!run) return;
    read_named(&named, operands, run);
    json_t *now = recipe_record(&named);
    v.place.paths = recipe_record_inputs(&named);
    if ((*operands && lacks_input(run, text, sizeof text)) ||
        recipe_differs(json_object_get(run, "recipe"), now, text, sizeof text)) {
        (void)fail_input(&differs, "%s: the recipe is not that of the run: %s",
                         blamed(operands, text), text);
        findings_problem(&v.findings, &differs);
    }
    json_decref(now);
    recipe_release(&named);
}

/* Fails if the steps were computed by another program or with other kernels, because their bits
 * would be others here. */
static int check_program(const json_t *run, struct fail *problem)
{
    static const struct {
        const char *key, *what;
    } facts[] = { { "version", "version" },
                  { "kernels", "version of the kernels" },
                  { "sums", "order of sums" },
                  { "device", "device" },
                  { "level", "level of the CPU kernels" },
                  { "libraries", "kind of device" } };
    char device[32];
    const struct kernels *k;
    replay_device(run, &v.place, device);
    if (kernels_choose(&k, device, false, problem)) return -1;
    json_t *here = proof_describe_program(k);
    int status = 0;
    for (size_t i = 0; i < sizeof facts / sizeof *facts && !status; i++) {
        const json_t *then = json_object_get(run, facts[i].key);
        const json_t *now = json_object_get(here, facts[i].key);
        if (then && now && json_equal(then, now)) continue;
        char *a = json_dumps(then, JSON_ENCODE_ANY), *b = json_dumps(now, JSON_ENCODE_ANY);
        status = fail_input(problem,
                            "the run was made with another %s: %s then, %s here: its bits would "
                            "be others, so nothing is replayed: verify it where it was made",
                            facts[i].what, a ? a : "unknown", b ? b : "unknown");
        free(a);
        free(b);
    }
    json_decref(here);
    return status;
}

/* Adds to an error about a missing input how the user names its present place. */
static void advise_path(struct fail *problem)
{
    char text[sizeof problem->text];
    snprintf(text, sizeof text, "%.400s: if it was moved, name its place: %.*s=PATH", problem->text,
             (int)strcspn(problem->text, ":"), problem->text);
    memcpy(problem->text, text, sizeof text);
    problem->status = STATUS_INPUT;
}

static int check_inputs(const json_t *run, struct fail *problem)
{
    struct recipe r;
    const json_t *then = json_object_get(run, "inputs");
    int status = replay_recipe(&r, run, &v.place, problem);
    json_t *now = status ? NULL : inputs_list(&r, r.train_file, problem);
    if (!now || inputs_check_streams(then, now, problem)) {
        status = -1;
    } else if (inputs_hash(now, v.hashed, problem)) {
        advise_path(problem);
        status = -1;
    } else {
        status = inputs_compare(then, now, chain_file, problem);
    }
    json_decref(now);
    recipe_release(&r);
    return status;
}

/* Does everything here fit to the run's line? Each line is checked once. */
static bool fits(const json_t *run, const char *digest)
{
    struct fail problem;
    for (int i = 0; i < v.checked_count; i++)
        if (!strcmp(v.checked[i].digest, digest)) return v.checked[i].fits;
    or_die(buffer_extend(&v.checked, v.checked_count, &why), &why);
    struct checked *c = &v.checked[v.checked_count++];
    *c = (struct checked){ 0 };
    memcpy(c->digest, digest, sizeof c->digest);
    c->fits = !check_program(run, &problem) && !check_inputs(run, &problem);
    if (!c->fits) findings_problem(&v.findings, &problem);
    return c->fits;
}

/* ---- the beginning of a stretch ---- */

struct start {
    const struct kept *kept; /* NULL: step 0, or the model as it is */
    bool goes_on, is_before_run;
    int64_t step; /* -1: there is none */
    size_t run;   /* the line of the run in the chain */
};

/* Can the steps begin with the checkpoint of line i? The model goes on from a damaged checkpoint
 * only under the same line of the run. */
static bool can_begin(const struct chain *c, size_t i, struct start *s)
{
    const struct kept *k = kept_find(&v.list, c, i);
    s->kept = k && !*k->fault.text ? k : NULL;
    s->goes_on = !s->kept && !strcmp(v.at, c->digests[i]) && !strcmp(v.opened, c->digests[s->run]);
    return s->kept || s->goes_on;
}

/* Finds the last state from which the steps up to `step` can be replayed: a kept checkpoint whose
 * files are whole, the model as it is, or step 0. All steps must be of one line of the run, unless
 * there are none. */
static struct start find_start(const struct chain *c, int64_t step)
{
    struct start s = { .step = -1 };
    size_t i = chain_count(c) - 1;
    for (s.run = i; s.run && !chain_at(c, s.run, "run");)
        s.run--;
    const json_t *run = chain_at(c, s.run, "run");
    while (i-- > 0) {
        int64_t at = json_integer_value(json_object_get(chain_at(c, i, "checkpoint"), "step"));
        s.is_before_run = i + 1 == s.run;
        bool is_usable = i > s.run || s.is_before_run || at == step;
        if (!chain_at(c, i, "checkpoint") || at > step || !is_usable || !can_begin(c, i, &s))
            continue;
        s.step = at;
        return s;
    }
    if (!s.run && !json_integer_value(json_object_get(run, "from"))) s.step = 0;
    s.is_before_run = false;
    return s;
}

/* Says why the steps of a checkpoint or result cannot be replayed. */
static void explain_lack(const struct kept *to, const struct start *s, struct fail *problem)
{
    const json_t *run = chain_at(&to->chain, s->run, "run");
    int64_t from = json_integer_value(json_object_get(run, "from"));
    (void)fail(problem,
               s->run ? "it cannot be replayed: the checkpoint of step %lld, from which the run "
                        "went on with another recipe or program, is not kept or is damaged"
                      : "it cannot be replayed: an earlier version made the checkpoint of step "
                        "%lld, with which the chain begins",
               (long long)from);
}

/* ---- a stretch ---- */

static void tell(void *at, size_t bytes)
{
    if (ranks_place(v.place.ranks)->count > 1)
        or_die(ranks_broadcast(v.place.ranks, at, bytes, &why), &why);
}

static void open_replay(json_t *run)
{
    replay_close(&v.replay);
    or_die(replay_open(&v.replay, run, &v.place, &why), &why);
}

/* Opens the replay for a line of the run, with the model at step 0 if `anew`. */
static void open_for(const struct chain *c, const struct start *s)
{
    const char *digest = c->digests[s->run];
    json_t *run = (json_t *)chain_at(c, s->run, "run");
    bool begins = !s->kept && !s->goes_on;
    if (!strcmp(v.opened, digest) && (!begins || v.replay.is_fresh)) return;
    must(!s->goes_on);
    json_t *sent = json_pack("{s:O,s:O}", "run", run, "paths", v.place.paths);
    char *text = json_dumps(sent, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(sent);
    if (!text) die(STATUS_FAILED, "out of memory");
    struct order order = { .task = TASK_OPEN, .bytes = strlen(text) };
    tell(&order, sizeof order);
    tell(text, order.bytes);
    free(text);
    open_replay(run);
    memcpy(v.opened, digest, sizeof v.opened);
}

static void make_goal(const struct kept *to, const struct start *s, int64_t step,
                      struct replay_goal *goal)
{
    *goal = (struct replay_goal){ .goes_on = s->goes_on,
                                  .is_before_run = s->is_before_run,
                                  .step = step,
                                  .is_result = to->is_result,
                                  .result_step = to->step,
                                  .evaluated = step };
    if (s->kept) snprintf(goal->from, sizeof goal->from, "%s", s->kept->path);
    if (to->is_result) return;
    goal->loss_steps = json_integer_value(json_object_get(to->line, "loss_steps"));
    goal->evaluated = json_integer_value(json_object_get(to->line, "evaluated"));
}

/* Makes an empty folder for the files of one stretch. */
static void make_folder(const struct trainer *t)
{
    const char *place = getenv("TMPDIR");
    sigset_t before;
    if (!place || !*place) place = "/tmp";
    if (kept_encloses(v.run, place))
        die_usage("TMPDIR=%s is in the folder of the run, where nothing is written: name another",
                  place);
    if (output_check_space(place, trainer_checkpoint_bytes(t), &why)) {
        (void)fail_in(&why, "TMPDIR, where a checkpoint is written to be compared");
        die_fail(&why);
    }
    snprintf(v.folder, sizeof v.folder, "%.4000s/longqlora-verify-XXXXXX", place);
    signals_block(&before);
    bool is_made = mkdtemp(v.folder);
    if (is_made) unfinished_folder(v.folder);
    signals_unblock(&before);
    if (!is_made) die(STATUS_FAILED, "%s: cannot create: %s", v.folder, strerror(errno));
}

/* Does the chain that the replay wrote end with this line? */
static bool is_reproduced(const struct chain *c)
{
    const struct chain *made = &v.replay.trainer.proof.next;
    size_t count = chain_count(made);
    return count && count == chain_count(c) &&
           !strcmp(made->digests[count - 1], c->digests[count - 1]);
}

/* Replays the steps from `s` to `to` and compares what they give. Returns -1 if a byte differs. */
static int replay_stretch(const struct kept *to, const struct start *s, int64_t step,
                          struct fail *problem)
{
    struct order order = { .task = TASK_REPLAY };
    char part[400];
    open_for(&to->chain, s);
    make_goal(to, s, step, &order.goal);
    make_folder(&v.replay.trainer);
    tell(&order, sizeof order);
    or_die(replay_go(&v.replay, &order.goal, &why), &why);
    or_die(replay_write(&v.replay, &order.goal, &to->chain, chain_count(&to->chain) - 1, v.folder,
                        &why),
           &why);
    bool is_same_line = is_reproduced(&to->chain);
    int found = or_die(compare_folders(v.folder, to->path, part, sizeof part, &why), &why);
    unfinished_folder_remove();
    snprintf(v.at, sizeof v.at, "%s",
             is_same_line && !to->is_result ? to->chain.digests[chain_count(&to->chain) - 1] : "");
    if (found == COMPARED_EQUAL && !*to->fault.text) return 0;
    if (found == COMPARED_EQUAL) {
        *problem = to->fault;
        return -1;
    }
    if (found == COMPARED_UNREADABLE) return fail(problem, "%s", part);
    if (is_same_line)
        return fail_input(problem, "%s%s (the replay gives the digests in %s)", part,
                          found == COMPARED_ABSENT ? "" : ": it has changed since the run wrote it",
                          chain_file);
    return fail_input(problem, "%s: the replay gives other bytes%s%.200s", part,
                      *to->fault.text ? "; " : "", to->fault.text);
}

static void verify_kept(const struct kept *to)
{
    struct fail problem;
    if (!to->line) {
        findings_stretch(&v.findings, to, -1, &to->fault);
        return;
    }
    int64_t step = kept_step(to);
    struct start s = find_start(&to->chain, step);
    json_t *run = (json_t *)chain_at(&to->chain, s.run, "run");
    int64_t from = s.step >= 0 ? s.step : json_integer_value(json_object_get(run, "from"));
    int status = -1;
    if (!run)
        (void)fail_input(&problem, "%s: its first line is not about a run", chain_file);
    else if (!fits(run, to->chain.digests[s.run]))
        (void)fail_input(&problem, "%s", *to->fault.text ? to->fault.text : "not replayed");
    else if (s.step < 0 && *to->fault.text)
        problem = to->fault;
    else if (s.step < 0)
        explain_lack(to, &s, &problem);
    else
        status = replay_stretch(to, &s, step, &problem);
    /* Whoever names the steps of such a checkpoint wants to know whether they can be verified. */
    if (run && s.step < 0 && v.from < 0 && kept_is_left(&v.list, to))
        findings_left(&v.findings, to, from);
    else
        findings_stretch(&v.findings, to, from, status ? &problem : NULL);
}

/* ---- the ranks ---- */

/* The other ranks do what rank 0 tells them. */
static enum status follow(void)
{
    struct order order = { 0 };
    json_t *sent = NULL;
    for (;;) {
        /* Rank 0 reads the files of the run and its inputs between two orders. */
        or_die(ranks_await_broadcast(v.place.ranks, &order, sizeof order, &why), &why);
        if (order.task == TASK_END) break;
        if (order.task == TASK_OPEN) {
            char *text = calloc(1, order.bytes + 1);
            if (!text) die(STATUS_FAILED, "out of memory");
            tell(text, order.bytes);
            replay_close(&v.replay);
            json_decref(sent);
            sent = json_read_text(text, order.bytes, chain_file, &why);
            if (!sent) die_fail(&why);
            free(text);
            v.place.paths = json_object_get(sent, "paths");
            open_replay(json_object_get(sent, "run"));
        } else {
            or_die(replay_go(&v.replay, &order.goal, &why), &why);
            or_die(replay_write(&v.replay, &order.goal, NULL, 0, "", &why), &why);
        }
    }
    replay_close(&v.replay);
    json_decref(sent);
    return order.status;
}

static enum status lead(const struct verify_job *job)
{
    struct fail problem;
    findings_begin(&v.findings, !strcmp(job->format, "json"));
    v.hashed = json_object();
    or_die(kept_read(&v.list, v.run, &why), &why);
    check_range();
    take_operands(job->operands);
    if (kept_check_record(&v.list, v.run, &problem)) findings_problem(&v.findings, &problem);
    for (int i = 0; i < v.list.count; i++) {
        const struct kept *k = &v.list.at[i];
        if (v.from < 0 || (k->step > v.from && k->step <= v.to)) verify_kept(k);
    }
    struct order order = { .task = TASK_END, .status = v.findings.status };
    tell(&order, sizeof order);
    or_die(findings_end(&v.findings, v.run, &why), &why);
    if (order.status)
        warn("%s: not verified: %s", v.run, v.findings.first.text);
    else
        note("%s: verified%s", v.run,
             v.findings.left ? ", without the checkpoints that the run has left" : "");
    replay_close(&v.replay);
    free(v.checked);
    kept_release(&v.list);
    json_decref(v.place.paths);
    json_decref(v.hashed);
    return order.status;
}

enum status verify_run(const struct verify_job *job)
{
    split(job->run);
    v.place = job->place;
    v.place.run = v.run;
    bool is_first = !ranks_place(v.place.ranks)->rank;
    if (!is_first) return follow();
    return lead(job);
}
