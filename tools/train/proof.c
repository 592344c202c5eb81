#include "tools/train/proof.h"

#include "lib/cli/die.h"
#include "lib/common/process.h"
#include "model/adapter_save.h"
#include "tools/train/inputs.h"
#include "tools/train/sharing.h"

json_t *proof_describe_program(const struct kernels *k)
{
    struct device_facts facts;
    char device[80];
    k->describe(&facts);
    snprintf(device, sizeof device, "%s, %s", k->name, k->act_name);
    return json_pack("{s:s,s:i,s:i,s:s,s:s,s:s}", "version", LONGQLORA_VERSION, "kernels",
                     KERNELS_VERSION, "sums", CHECKPOINT_SUMS, "device", device, "level",
                     kernels_level(k), "libraries", facts.kind);
}

/* ---- the inputs ---- */

static void *hash_inputs(void *arg)
{
    struct proof *p = arg;
    p->failed = inputs_hash(p->inputs, NULL, &p->failure);
    return NULL;
}

static int start_hashing(struct trainer *t, struct fail *why)
{
    struct proof *p = &t->proof;
    char samples[4096];
    p->best_step = t->state.best_step;
    run_folder_path(&t->folder, "train.samples", samples);
    p->inputs = inputs_list(t->recipe, samples, why);
    if (!p->inputs) return -1;
    int error = process_thread(&p->thread, hash_inputs, p);
    if (!error) return 0;
    json_decref(p->inputs);
    p->inputs = NULL;
    return fail(why, "no thread can be started: %s", strerror(error));
}

/* ---- the line of the run ---- */

/* Returns the object "run" of this process. */
static json_t *describe_run(struct trainer *t, json_t *inputs, struct fail *why)
{
    const struct run_state *s = &t->state;
    const struct kernels *k;
    if (kernels_open(&k, t->setup.device, why)) return NULL;
    json_t *run, *recipe = recipe_record(t->recipe), *paths = recipe_record_inputs(t->recipe);
    if (recipe && t->embedding_alone)
        json_object_set_new(recipe, "train_embedding", json_string("embedding"));
    run = proof_describe_program(k);
    json_t *more =
        json_pack("{s:I,s:s,s:I,s:I,s:s,s:I,s:o,s:o,s:O}", "chunk", (json_int_t)s->chunk, "rope",
                  s->rope, "from", (json_int_t)t->resumed, "since", (json_int_t)s->since,
                  "schedules", s->schedules, "best_step", (json_int_t)t->proof.best_step, "recipe",
                  recipe, "paths", paths, "inputs", inputs);
    if (more && trainer_is_lora(t)) {
        json_object_set_new(more, "base_name", json_string(t->base_name));
        json_object_set(more, "peft_name", t->peft_name);
    }
    if (!run || !more || json_object_update(run, more)) {
        json_decref(run);
        run = NULL;
        (void)fail(why, "out of memory");
    }
    json_decref(more);
    return run;
}

/* Returns a copy without what may differ between two processes that compute the same bytes. */
static json_t *comparable(const json_t *run)
{
    static const char *const leaves[] = { "from", "since", "schedules", "best_step", "paths" };
    size_t i;
    json_t *input, *copy = json_deep_copy(run);
    for (i = 0; i < sizeof leaves / sizeof *leaves; i++)
        json_object_del(copy, leaves[i]);
    json_array_foreach(json_object_get(copy, "inputs"), i, input)
    {
        json_object_del(input, "path");
    }
    return copy;
}

/* Does this process compute what the one before it would have computed? */
static bool goes_on(const struct trainer *t)
{
    const json_t *before = chain_last(&t->proof.chain, "run");
    bool changes_schedule = t->resumed && t->state.since == t->resumed;
    if (!before || t->proof.lost_best || changes_schedule) return false;
    json_t *then = comparable(before), *now = comparable(t->proof.run);
    bool is_same = then && now && json_equal(then, now);
    json_decref(then);
    json_decref(now);
    return is_same;
}

/* Waits for the thread. The other ranks wait with rank 0 at a checkpoint, and hear every
 * second that it still reads. When the result is written, the other ranks have ended. */
static int wait_for_thread(struct trainer *t, bool others_wait, struct fail *why)
{
    struct timespec until;
    do {
        if (others_wait && sharing_ask_to_wait(t, why)) return -1;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
    } while (pthread_timedjoin_np(t->proof.thread, NULL, &until));
    return 0;
}

/* Waits for the digests of the inputs, and adds the line of the run unless it would repeat the one
 * before. */
static int settle(struct trainer *t, bool others_wait, struct fail *why)
{
    struct proof *p = &t->proof;
    if (p->is_replay || !p->inputs) return 0;
    if (wait_for_thread(t, others_wait, why)) return -1;
    json_t *inputs = p->inputs;
    p->inputs = NULL;
    if (p->failed) {
        *why = p->failure;
        return -1;
    }
    p->run = describe_run(t, inputs, why);
    json_decref(inputs);
    if (!p->run) return -1;
    if (goes_on(t)) return 0;
    return chain_add(&p->chain, json_pack("{s:O}", "run", p->run), why);
}

/* ---- the lines of what it wrote ---- */

static json_t *digests_of(const json_t *files)
{
    const char *name;
    json_t *entry, *digests = json_object();
    json_object_foreach((json_t *)files, name, entry)
    {
        json_object_set(digests, name, json_object_get(entry, "sha256"));
    }
    return digests;
}

static json_t *line_of(const struct trainer *t, const char *kind, const json_t *files)
{
    const struct run_state *s = &t->state;
    int64_t of = t->recipe->load_best && s->best_step ? s->best_step : s->step;
    if (!strcmp(kind, "result"))
        return json_pack("{s:{s:I,s:I,s:o}}", kind, "step", (json_int_t)s->step, "of",
                         (json_int_t)of, "files", digests_of(files));
    return json_pack("{s:{s:I,s:I,s:I,s:o}}", kind, "step", (json_int_t)s->step, "loss_steps",
                     (json_int_t)s->loss_steps, "evaluated", (json_int_t)s->evaluated, "files",
                     digests_of(files));
}

/* The run goes on, because its work is of use even if nobody can verify it. */
static void warn_of_lack(const struct fail *why)
{
    warn("%s: the run goes on without %s, so nobody can verify it", why->text, chain_file);
}

void proof_begin(struct trainer *t, void (*report)(const char *))
{
    struct proof *p = &t->proof;
    struct fail damage;
    char text[600];
    if (t->checkpoint[0] && chain_read(&p->chain, t->checkpoint, &damage)) {
        snprintf(text, sizeof text, "%s: so a new chain begins here", damage.text);
        report(text);
        chain_release(&p->chain);
    }
    p->is_on = !start_hashing(t, &damage);
    if (!p->is_on) warn_of_lack(&damage);
}

int proof_write(struct trainer *t, const char *directory, const char *kind, const json_t *files,
                struct fail *why)
{
    struct proof *p = &t->proof;
    struct fail lack;
    if (!p->is_on) return 0;
    if (trainer_is_lora(t) && !t->peft_name) return fail(why, "out of memory");
    if (settle(t, !strcmp(kind, "checkpoint"), &lack)) {
        warn_of_lack(&lack);
        p->is_on = false;
        return 0;
    }
    chain_release(&p->next);
    return chain_copy(&p->next, &p->chain, chain_count(&p->chain), why) ||
                   chain_add(&p->next, line_of(t, kind, files), why) ||
                   chain_write(&p->next, directory, why)
               ? -1
               : 0;
}

void proof_commit(struct proof *p)
{
    if (!p->next.bytes) return;
    chain_release(&p->chain);
    p->chain = p->next;
    p->next = (struct chain){ 0 };
}

void proof_close(struct proof *p)
{
    if (p->inputs) pthread_join(p->thread, NULL);
    json_decref(p->inputs);
    json_decref(p->run);
    chain_release(&p->chain);
    chain_release(&p->next);
    *p = (struct proof){ 0 };
}
