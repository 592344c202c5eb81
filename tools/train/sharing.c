#include "tools/train/sharing.h"

bool sharing_is_first(const struct trainer *t) { return ranks_place(t->ranks)->rank == 0; }
int64_t sharing_count(const struct trainer *t) { return ranks_place(t->ranks)->count; }

int sharing_tell(struct trainer *t, void *at, size_t bytes, struct fail *why)
{
    return sharing_count(t) > 1 ? ranks_broadcast(t->ranks, at, bytes, why) : 0;
}

/* ---- agreement ---- */

/* Fails, naming the first key of the recipe that differs. */
static int fail_recipe(const char *theirs, const char *ours, const char *place, struct fail *why)
{
    struct fail ignored;
    json_t *first = json_read_text(theirs, strlen(theirs), "recipe", &ignored);
    json_t *own = json_read_text(ours, strlen(ours), "recipe", &ignored), *value;
    const char *key;
    recipe_complete_json(first);
    recipe_complete_json(own);
    fail_usage(why, "on %s: another recipe than rank 0", place);
    json_object_foreach(own, key, value)
    {
        json_t *other = json_object_get(first, key);
        if (other && json_equal(other, value)) continue;
        char *a = other ? json_dumps(other, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        fail_usage(why, "on %s: another recipe than rank 0: %s is %s there, and %s here", place,
                   key, a ? a : "not", b ? b : "?");
        free(a);
        free(b);
        break;
    }
    json_decref(first);
    json_decref(own);
    return -1;
}

static int agree_on_recipe(struct trainer *t, struct fail *why)
{
    char first[RECIPE_TEXT];
    const char *own = t->state.recipe;
    memcpy(first, own, sizeof first);
    if (sharing_tell(t, first, sizeof first, why)) return -1;
    if (!strcmp(first, own)) return 0;
    return fail_recipe(first, own, ranks_host(t->ranks, ranks_place(t->ranks)->rank), why);
}

/* Writes the digests of all evaluation files, separated by commas. */
static void list_evaluations(const struct trainer *t, char *text, size_t size)
{
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < t->eval_count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : "",
                                 reader_digest(t->eval_files[i].samples));
}

int sharing_agree(struct trainer *t, struct fail *why)
{
    const struct run_state *s = &t->state;
    const struct kernels *k;
    struct device_facts facts;
    char chunk[24], sample_ranks[24], config[DIGEST_TEXT];
    char evaluations[EVAL_FILES_MAX * STREAM_DIGEST_TEXT + 1];
    if (sharing_count(t) == 1) return 0;
    if (kernels_open(&k, t->setup.device, why)) return -1;
    k->describe(&facts);
    digest_of_bytes(s->base_config, strlen(s->base_config), config);
    list_evaluations(t, evaluations, sizeof evaluations);
    snprintf(chunk, sizeof chunk, "%lld", (long long)s->chunk);
    snprintf(sample_ranks, sizeof sample_ranks, "%lld", (long long)t->setup.sample_parts);
    const struct ranks_text texts[] = {
        { "version", LONGQLORA_VERSION },
        { "set of samples", s->data },
        { "set of evaluation samples", evaluations },
        { "tokenizer", s->tokenizer },
        { "base", s->base },
        { "config of the base", config },
        { "adapter", t->adapter ? t->adapter->digest : NULL },
        { "rope", s->rope },
        { "device", s->device },
        { "level of the CPU kernels", kernels_level(k) },
        { "kind of device", facts.kind },
        { "rows of a chunk", chunk },
        { "number of ranks of a sample", sample_ranks },
        { "exchange of a sample", t->setup.exchange_group ? "groups" : "heads" },
    };
    if (agree_on_recipe(t, why)) return -1;
    return ranks_agree(t->ranks, texts, sizeof texts / sizeof *texts, why);
}

/* ---- what rank 0 knows ---- */

int sharing_tell_checkpoint(struct trainer *t, struct fail *why)
{
    int64_t chunk = t->setup.chunk;
    if (sharing_tell(t, t->checkpoint, sizeof t->checkpoint, why) ||
        sharing_tell(t, &t->resumed, sizeof t->resumed, why) ||
        sharing_tell(t, &t->lengthens, sizeof t->lengthens, why) ||
        sharing_tell(t, &chunk, sizeof chunk, why))
        return -1;
    t->setup.chunk = chunk;
    return sharing_tell(t, &t->state, sizeof t->state, why);
}

/* ---- between two rounds ---- */

/* A rank sends its numbers, and behind them why it stops: 0 if it does not stop, the signal that
 * asked it to, or a negative number for its failure. */
static double code_of(const struct trainer *t)
{
    const struct agreed_stop *own = &t->own_stop;
    return own->status ? -(2.0 * (int)own->status + own->saves) : *t->asked;
}

/* Takes the code of a rank into account. A failure has precedence over a signal. */
static void agree(struct agreed_stop *all, int code, int rank)
{
    if (code < 0 ? all->status : all->status || all->signal) return;
    *all = (struct agreed_stop){ .signal = code > 0 ? code : 0,
                                 .status = code < 0 ? (enum status)(-code / 2) : STATUS_DONE,
                                 .saves = code < 0 && -code % 2,
                                 .rank = rank };
}

int sharing_keep(struct trainer *t, int status, bool saves, const struct fail *why)
{
    struct fail lost;
    if (sharing_count(t) == 1) return status;
    if (status >= 0 || t->own_stop.status) return 0;
    t->failure = *why;
    t->own_stop.status = why->status;
    /* A device that has failed cannot give its moments. */
    t->own_stop.saves = saves && !model_kernels(t->model)->sync(model_device(t->model), &lost);
    return 0;
}

bool sharing_stops(struct trainer *t)
{
    if (sharing_count(t) == 1) return setup_is_stopped(&t->setup);
    if (!t->agreed.status && !t->agreed.signal) t->agreed.signal = model_agreed(t->model);
    return t->agreed.status || t->agreed.signal;
}

static size_t message_bytes(int64_t count) { return (size_t)(count + 1) * sizeof(double); }

uint64_t sharing_bytes(int64_t ranks, int64_t count)
{
    return (uint64_t)(ranks * (ranks - 1)) * message_bytes(count);
}

int sharing_numbers(struct trainer *t, double *all, int64_t count, struct fail *why)
{
    int64_t ranks = sharing_count(t);
    if (ranks == 1) return 0;
    double *own = calloc((size_t)(ranks + 1), message_bytes(count)), *each;
    if (!own) return fail(why, "out of memory");
    each = own + count + 1;
    memcpy(own, all + ranks_place(t->ranks)->rank * count, (size_t)count * sizeof *own);
    own[count] = code_of(t);
    int status = ranks_all_gather(t->ranks, each, own, message_bytes(count), why);
    for (int64_t r = 0; r < ranks && !status; r++) {
        const double *of_rank = each + r * (count + 1);
        memcpy(all + r * count, of_rank, (size_t)count * sizeof *all);
        agree(&t->agreed, (int)of_rank[count], (int)r);
    }
    free(own);
    return status;
}

int sharing_fail_before_batches(struct trainer *t, struct fail *why)
{
    bool is_alone = sharing_keep(t, -1, true, why);
    int64_t count = t->setup.segments > 1 ? 0 : t->recipe->block;
    return is_alone || sharing_numbers(t, t->numbers, count, why) ? -1 : 1;
}

/* ---- what rank 0 does alone ---- */

/* An order below 0 is −status: all ranks end with this status. */
enum order { ORDER_GIVE_STATE = 1, ORDER_WAIT, ORDER_GO_ON };

int sharing_ask_for_state(struct trainer *t, struct fail *why)
{
    int order = ORDER_GIVE_STATE;
    return sharing_tell(t, &order, sizeof order, why);
}

int sharing_ask_to_wait(struct trainer *t, struct fail *why)
{
    int order = ORDER_WAIT;
    return sharing_tell(t, &order, sizeof order, why);
}

int sharing_meet(struct trainer *t, struct fail *why)
{
    int order = ORDER_GO_ON;
    for (;;) {
        if (sharing_tell(t, &order, sizeof order, why)) return -1;
        if (order == ORDER_GO_ON) return sharing_tell(t, &t->state, sizeof t->state, why);
        if (order < 0) return -order;
        if (order == ORDER_GIVE_STATE && checkpoint_send_state(t->model, why)) return -1;
    }
}

int sharing_end(struct trainer *t, enum status status, struct fail *why)
{
    int order = -(int)status;
    return sharing_tell(t, &order, sizeof order, why);
}
