#include "tools/train/kept.h"

#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "tools/train/recipe.h"
#include "tools/train/run_record.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char record_name[] = "longqlora-run.json", manifest_name[] = "manifest.json";

static bool has_file(const char *folder, const char *name)
{
    char path[4096 + 512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return !access(path, F_OK);
}

/* ---- files against the manifest and against the chain ---- */

/* Compares a file with the manifest's entry and with the digest in the chain. If only one of the
 * two disagrees, that one has changed, and not the file. */
static int check_file(const struct kept *k, const char *name, const json_t *measured,
                      const json_t *manifest, struct fail *why)
{
    const char *then = json_string_value(json_object_get(json_object_get(k->line, "files"), name));
    bool is_there = json_object_get(measured, name);
    bool of_manifest = !strcmp(json_get_text(json_object_get(manifest, name), "digest"),
                               json_get_text(json_object_get(measured, name), "digest"));
    bool of_chain = then && !strcmp(then, json_get_text(json_object_get(measured, name), "sha256"));
    if (!is_there) return fail_input(why, "%s: it is not there", name);
    if (!manifest) of_manifest = of_chain;
    if (of_manifest && of_chain) return 0;
    if (of_manifest)
        return fail_input(why, "%s: its last line does not have the digest of %s", chain_file,
                          name);
    if (of_chain) return fail_input(why, "%s: it does not describe %s", manifest_name, name);
    return fail_input(why, "%s: it has changed since the run wrote it", name);
}

static int check_files(const struct kept *k, const json_t *measured, const json_t *manifest,
                       struct fail *why)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(k->line, "files"), name, value)
    {
        if (check_file(k, name, measured, manifest, why)) return -1;
    }
    json_object_foreach((json_t *)manifest, name, value)
    {
        if (!strcmp(name, chain_file)) continue;
        if (check_file(k, name, measured, manifest, why)) return -1;
    }
    return 0;
}

/* Adds to `measured` the files that `names` lists and that are there. Files of others are not read.
 */
static int measure(const struct kept *k, const json_t *names, json_t *measured, struct fail *why)
{
    const char *name;
    char path[4096 + 256];
    json_t *value, *entry;
    json_object_foreach((json_t *)names, name, value)
    {
        snprintf(path, sizeof path, "%s/%.200s", k->path, name);
        if (json_object_get(measured, name) || strchr(name, '/') || access(path, F_OK)) continue;
        entry = checkpoint_measure_file(path, why);
        if (!entry) {
            fail_rename(why, path, name);
            return -1;
        }
        json_object_set_new(measured, name, entry);
    }
    return 0;
}

/* Compares the files with the chain, and those of a checkpoint with its manifest too. */
static int compare(struct kept *k, const json_t *manifest, struct fail *why)
{
    json_t *measured = k->measured = json_object();
    int status = measure(k, json_object_get(k->line, "files"), measured, why) ||
                         measure(k, manifest, measured, why) ||
                         check_files(k, measured, manifest, why)
                     ? -1
                     : 0;
    const char *then = json_get_text(json_object_get(manifest, chain_file), "digest");
    if (!status && !k->is_result &&
        (!*then ||
         strcmp(then, json_get_text(json_object_get(measured, chain_file), "digest")) != 0))
        status = fail_input(why, "%s or %s: one of the two has changed since the run wrote it",
                            chain_file, manifest_name);
    return status;
}

/* Does the manifest list a chain? */
static bool had_chain(const struct kept *k)
{
    char path[4096 + 32];
    struct fail ignored;
    snprintf(path, sizeof path, "%s/%s", k->path, manifest_name);
    json_t *manifest = json_read_file(path, &ignored);
    bool lists = json_object_get(json_object_get(manifest, "files"), chain_file);
    json_decref(manifest);
    return lists;
}

/* Sets k->fault. A file that cannot be read is a fault too. */
static void check(struct kept *k)
{
    char path[4096 + 32];
    struct fail fault;
    snprintf(path, sizeof path, "%s/%s", k->path, manifest_name);
    json_t *manifest = k->is_result ? NULL : json_read_file(path, &fault);
    int status = k->is_result || manifest ? 0 : -1;
    if (status) fail_rename(&fault, path, manifest_name);
    if (!status) status = compare(k, json_object_get(manifest, "files"), &fault);
    if (status) k->fault = fault;
    json_decref(manifest);
}

/* ---- the list ---- */

/* Reads the chain of a checkpoint or result. Something without a chain stays in the list with a
 * fault. */
static void read_kept(struct kept *k)
{
    struct fail damage;
    bool is_checkpoint = has_file(k->path, "training_state");
    k->step = run_folder_step(k->name);
    k->is_result = !is_checkpoint;
    if (chain_read(&k->chain, k->path, &damage)) {
        char shown[4200];
        snprintf(shown, sizeof shown, "%.4095s/", k->path);
        fail_rename(&damage, shown, "");
        k->fault = damage;
        return;
    }
    size_t count = chain_count(&k->chain);
    if (!count && had_chain(k)) {
        (void)fail_input(&k->fault, "%s: it is not there", chain_file);
        return;
    }
    if (!count) {
        (void)fail_input(&k->fault,
                         "it has no %s, because an earlier version of the program made it: "
                         "nothing can be compared; a run that is resumed from it begins a chain",
                         chain_file);
        return;
    }
    const json_t *checkpoint = chain_at(&k->chain, count - 1, "checkpoint");
    k->line = checkpoint ? checkpoint : chain_at(&k->chain, count - 1, "result");
    k->step = json_integer_value(json_object_get(k->line, "step"));
    k->is_result = !is_checkpoint && !checkpoint;
    int64_t named = run_folder_step(k->name);
    if (!k->line || k->is_result == !!checkpoint) {
        k->line = NULL;
        (void)fail_input(&k->fault, "%s: its last line is not about this %s", chain_file,
                         is_checkpoint ? "checkpoint" : "result");
        return;
    }
    check(k);
    if (checkpoint && named >= 0 && named != k->step && !*k->fault.text)
        (void)fail_input(&k->fault, "its name says step %lld, but it is of step %lld",
                         (long long)named, (long long)k->step);
}

static int add(struct kept_list *list, const char *run, const char *name, struct fail *why)
{
    if (buffer_extend(&list->at, list->count, why)) return -1;
    struct kept *k = &list->at[list->count++];
    *k = (struct kept){ 0 };
    snprintf(k->name, sizeof k->name, "%s", name);
    snprintf(k->path, sizeof k->path, "%.3800s%s%s", run, *name ? "/" : "", name);
    read_kept(k);
    return 0;
}

/* Results come last. A checkpoint comes after those whose lines its chain has. */
static int by_step(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    size_t of_x = chain_count(&x->chain), of_y = chain_count(&y->chain);
    if (x->is_result != y->is_result) return x->is_result ? 1 : -1;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    if (of_x != of_y) return of_x < of_y ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Shares the lock that a run holds alone, so that no run changes the folder while it is read. Some
 * file systems have no locks. */
static int lock(struct kept_list *list, const char *run, struct fail *why)
{
    list->lock = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list->lock < 0) return fail(why, "%s: %s", run, strerror(errno));
    if (!flock(list->lock, LOCK_SH | LOCK_NB) || errno != EWOULDBLOCK) return 0;
    return fail(why,
                "%s: a run is under way there, and changes it: verify it when the run has ended, "
                "or a copy of one of its checkpoints now",
                run);
}

int kept_read(struct kept_list *list, const char *run, struct fail *why)
{
    struct dirent **names;
    *list = (struct kept_list){ 0 };
    if (lock(list, run, why)) return -1;
    int status = 0, count = scandir(run, &names, NULL, alphasort);
    if (count < 0) return fail(why, "%s: %s", run, strerror(errno));
    if (has_file(run, chain_file) || has_file(run, "training_state"))
        status = add(list, run, "", why);
    for (int i = 0; i < count; i++) {
        char path[4096 + 256];
        const char *name = names[i]->d_name;
        snprintf(path, sizeof path, "%.3800s/%s", run, name);
        /* A checkpoint's folder that cannot be looked into is not left out. */
        bool is_one = has_file(path, "training_state") || has_file(path, chain_file) ||
                      (errno == EACCES && run_folder_step(name) >= 0);
        if (has_file(path, record_name)) is_one = false; /* the folder of another run */
        if (!status && name[0] != '.' && is_one) status = add(list, run, name, why);
        free(names[i]);
    }
    free(names);
    if (!status && !list->count)
        status = fail_usage(why,
                            "%s: it has no checkpoint, and no result with a %s: name the "
                            "output_dir of a run",
                            run, chain_file);
    if (list->count) qsort(list->at, (size_t)list->count, sizeof *list->at, by_step);
    return status;
}

void kept_release(struct kept_list *list)
{
    for (int i = 0; i < list->count; i++) {
        chain_release(&list->at[i].chain);
        json_decref(list->at[i].measured);
    }
    free(list->at);
    if (list->lock > 0) close(list->lock);
    *list = (struct kept_list){ 0 };
}

int64_t kept_step(const struct kept *k)
{
    const json_t *of = json_object_get(k->line, "of");
    return of ? json_integer_value(of) : k->step;
}

const struct kept *kept_find(const struct kept_list *list, const struct chain *c, size_t i)
{
    for (int n = 0; n < list->count; n++) {
        const struct kept *k = &list->at[n];
        size_t count = chain_count(&k->chain);
        if (k->line && !k->is_result && count == i + 1 &&
            !strcmp(k->chain.digests[i], c->digests[i]))
            return k;
    }
    return NULL;
}

/* Do both chains begin with the same line? */
static bool is_related(const struct kept *a, const struct kept *b)
{
    return a->line && b->line && !strcmp(a->chain.digests[0], b->chain.digests[0]);
}

/* Has the chain of `k` another line for the step of this checkpoint? Then a run that went on from
 * an earlier checkpoint has put this one in the place of the other. */
static bool is_in_place(const struct kept *checkpoint, const struct kept *k)
{
    size_t own = chain_count(&checkpoint->chain) - 1;
    for (size_t i = 0; i < chain_count(&k->chain); i++) {
        const json_t *line = chain_at(&k->chain, i, "checkpoint");
        if (line && json_integer_value(json_object_get(line, "step")) == checkpoint->step)
            return strcmp(k->chain.digests[i], checkpoint->chain.digests[own]) != 0;
    }
    return false;
}

bool kept_is_left(const struct kept_list *list, const struct kept *k)
{
    bool is_left = false;
    if (k->is_result || !k->line || *k->fault.text) return false;
    size_t last = chain_count(&k->chain) - 1;
    for (int i = 0; i < list->count; i++) {
        const struct kept *other = &list->at[i];
        if (!is_related(other, k) || *other->fault.text) continue;
        bool comes_from_it = chain_count(&other->chain) > last &&
                             !strcmp(other->chain.digests[last], k->chain.digests[last]);
        if (other->is_result && comes_from_it) return false;
        is_left = is_left || other->is_result || is_in_place(other, k);
    }
    return is_left;
}

bool kept_encloses(const char *run, const char *path)
{
    char *whole = realpath(path, NULL), *root = realpath(run, NULL);
    size_t length = root ? strlen(root) : 0;
    bool is_inside =
        whole && root && !strncmp(whole, root, length) && (!whole[length] || whole[length] == '/');
    free(whole);
    free(root);
    return is_inside;
}

/* ---- the record ---- */

static int check_value(const char *what, const json_t *then, const json_t *now, struct fail *why)
{
    if (json_equal(then, now)) return 0;
    char *a = json_dumps(then, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    char *b = now ? json_dumps(now, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    (void)fail_input(why, "%s is %.80s there, and %.80s in %s", what, b ? b : "missing",
                     a ? a : "?", chain_file);
    free(a);
    free(b);
    return -1;
}

/* Compares the recipe of the record with that of the run's line. A run that is not finished may
 * have begun to go on for another number of steps. */
static int check_recipe(const json_t *run, const json_t *recorded, bool is_finished,
                        struct fail *why)
{
    struct recipe r;
    const char *key;
    json_t *value;
    recipe_defaults(&r);
    int status = recipe_read_record(&r, json_object_get(run, "recipe"), chain_file, why);
    json_t *expected = status ? NULL : recipe_to_json(&r);
    json_object_foreach(expected, key, value)
    {
        bool is_length = !strcmp(key, "max_steps") || !strcmp(key, "num_train_epochs");
        if (is_length && !is_finished) continue;
        if (!status) status = check_value(key, value, json_object_get(recorded, key), why);
    }
    json_decref(expected);
    recipe_release(&r);
    return status;
}

/* Is the digest of a manifest, or of a file, one of those that the record lists for it? `measured`:
 * the file's digests, if it was read before, or NULL. */
static int check_digest(const json_t *record, const char *kind, const char *name, const char *path,
                        const json_t *measured, struct fail *why)
{
    size_t i;
    json_t *item;
    char digest[STREAM_DIGEST_TEXT];
    const json_t *all = json_object_get(json_object_get(record, kind), name);
    if (!json_array_size(all) || access(path, F_OK)) return 0;
    snprintf(digest, sizeof digest, "%s", json_get_text(measured, "digest"));
    if (!measured && digest_file(path, digest, why)) return -1;
    json_array_foreach((json_t *)all, i, item)
    {
        if (json_string_value(item) && !strcmp(json_string_value(item), digest)) return 0;
    }
    return fail_input(why, "it does not have the digest of %s", name);
}

static int check_digests(const struct kept_list *list, const json_t *record, struct fail *why)
{
    char path[4096 + 256];
    for (int i = 0; i < list->count; i++) {
        const struct kept *k = &list->at[i];
        const char *name;
        json_t *value;
        if (*k->fault.text) continue;
        snprintf(path, sizeof path, "%s/%s", k->path, manifest_name);
        /* A copy of a checkpoint under another name is the user's. */
        if (run_folder_step(k->name) >= 0 &&
            !json_object_get(json_object_get(record, "folders"), k->name))
            return fail_input(why, "folders does not have %s", k->name);
        if (*k->name && check_digest(record, "folders", k->name, path, NULL, why)) return -1;
        json_object_foreach(json_object_get(*k->name ? NULL : k->line, "files"), name, value)
        {
            snprintf(path, sizeof path, "%s/%.200s", k->path, name);
            if (check_digest(record, "files", name, path, json_object_get(k->measured, name), why))
                return -1;
        }
        snprintf(path, sizeof path, "%s/%s", k->path, chain_file);
        if (!*k->name && check_digest(record, "files", chain_file, path, NULL, why)) return -1;
    }
    return 0;
}

/* Is it a result from whose last checkpoint the run has gone on? */
static bool is_outdated(const struct kept_list *list, const struct kept *result)
{
    size_t count = chain_count(&result->chain);
    if (!result->is_result || count < 2) return false;
    for (int i = 0; i < list->count; i++) {
        const struct kept *k = &list->at[i];
        if (!k->is_result && k->line && chain_count(&k->chain) >= count &&
            !strcmp(k->chain.digests[count - 2], result->chain.digests[count - 2]))
            return true;
    }
    return false;
}

const json_t *kept_last_run(const struct kept_list *list)
{
    for (int i = list->count; i-- > 0;)
        if (list->at[i].line && !is_outdated(list, &list->at[i]))
            return chain_last(&list->at[i].chain, "run");
    return NULL;
}

/* Compares the digests of the inputs and the values of the model's config with those in the newest
 * checkpoint's state. A state of an earlier version has no values of the config. */
static int check_state(const struct kept_list *list, const json_t *recorded, struct fail *why)
{
    static struct run_state state;
    char path[4096 + 32];
    struct fail ignored;
    for (int i = list->count; i-- > 0;) {
        const struct kept *k = &list->at[i];
        snprintf(path, sizeof path, "%s/training_state", k->path);
        if (k->is_result || !k->line || *k->fault.text || checkpoint_peek(path, &state, &ignored))
            continue;
        const char *const values[][2] = { { "data", state.data },
                                          { "tokenizer", state.tokenizer },
                                          { "base", state.base },
                                          { "base_config", state.base_config } };
        for (size_t n = 0; n < sizeof values / sizeof *values; n++) {
            const char *here = json_string_value(json_object_get(recorded, values[n][0]));
            if (here && !strcmp(here, values[n][1])) continue;
            if (values[n][1] == state.base_config && !state.base_config[0]) continue;
            return fail_input(why, "%s is %.80s there, and %.80s in %s/training_state",
                              values[n][0], here ? here : "missing", values[n][1], k->name);
        }
        return 0;
    }
    return 0;
}

/* Compares the names of the result's files. If the result lies in a folder of its own, the only
 * name is that of the folder. */
static int check_names(const struct kept *result, const json_t *names, struct fail *why)
{
    size_t i, found = 0;
    json_t *item;
    const json_t *files = json_object_get(result->line, "files");
    json_array_foreach((json_t *)names, i, item)
    {
        const char *name = json_string_value(item);
        found +=
            name && (*result->name ? !strcmp(name, result->name)
                                   : !strcmp(name, chain_file) || json_object_get(files, name));
    }
    size_t wanted = *result->name ? 1 : json_object_size(files) + 1;
    if (found == wanted && json_array_size(names) == wanted) return 0;
    return fail_input(why, "finished.files does not have the names of the result's files");
}

/* A finished run has a result, whose chain has the record's last step. */
static int check_finished(const struct kept_list *list, const json_t *finished, struct fail *why)
{
    const struct kept *last = &list->at[list->count - 1];
    if (finished && !last->is_result)
        return fail_input(why, "the run is finished, and its result has no %s", chain_file);
    if (!finished || !last->line || *last->fault.text) return 0;
    const json_t *step = json_object_get(last->line, "step"),
                 *of = json_object_get(last->line, "of");
    if (check_value("the step of the result", step, json_object_get(finished, "step"), why) ||
        check_names(last, json_object_get(finished, "files"), why))
        return -1;
    return json_equal(step, of)
               ? 0
               : check_value("best_step", of, json_object_get(finished, "best_step"), why);
}

int kept_check_record(const struct kept_list *list, const char *run, struct fail *why)
{
    static const char *const texts[] = { "rope", "device" };
    char path[4096 + 32];
    const json_t *last = kept_last_run(list);
    snprintf(path, sizeof path, "%s/%s", run, record_name);
    if (access(path, F_OK) || !last) return 0;
    json_t *record = json_read_file(path, why);
    if (!record) return -1;
    const json_t *here = json_object_get(record, "run");
    int status = run_record_is_sound(record) ? 0 : fail_input(why, "it is not a run's record");
    if (!status && json_integer_value(json_object_get(record, "longqlora")) != 1)
        status = fail_input(why, "it is of another version of the format, only 1 is known");
    if (!status)
        status = check_recipe(last, json_object_get(here, "recipe"),
                              json_object_get(record, "finished"), why);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !status; i++)
        status = check_value(texts[i], json_object_get(last, texts[i]),
                             json_object_get(here, texts[i]), why);
    if (!status) status = check_state(list, here, why);
    if (!status) status = check_finished(list, json_object_get(record, "finished"), why);
    if (!status) status = check_digests(list, record, why);
    json_decref(record);
    return status ? fail_in(why, path) : 0;
}
