#include "tools/train/sharing.h"

bool sharing_is_first(const struct trainer *t) { return ranks_place(t->ranks)->rank == 0; }
int64_t sharing_count(const struct trainer *t) { return ranks_place(t->ranks)->count; }

int sharing_tell(struct trainer *t, void *at, size_t bytes, struct fail *why)
{
    return sharing_count(t) > 1 ? ranks_spread(t->ranks, at, bytes, why) : 0;
}

/* ---- agreement ---- */

/* What must be equal on all ranks. */
struct agreement {
    char recipe[RECIPE_TEXT];
    char data[STREAM_DIGEST_TEXT], eval_data[STREAM_DIGEST_TEXT];
    char tokenizer[STREAM_DIGEST_TEXT], base[STREAM_DIGEST_TEXT], adapter[STREAM_DIGEST_TEXT];
    char rope[160], device[80], version[32], level[32], chunk[24];
    struct kernels_fact facts[KERNELS_FACTS];
};

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

static int describe(const struct trainer *t, struct agreement *a, struct fail *why)
{
    const struct run_state *s = &t->state;
    const struct kernels *k;
    memset(a, 0, sizeof *a);
    if (kernels_choose(&k, t->setup.device, t->plan_only, why)) return -1;
    memcpy(a->recipe, s->recipe, sizeof a->recipe);
    copy_text(a->data, sizeof a->data, s->data);
    if (t->eval_count)
        copy_text(a->eval_data, sizeof a->eval_data, reader_digest(t->eval_files[0].samples));
    copy_text(a->tokenizer, sizeof a->tokenizer, s->tokenizer);
    copy_text(a->base, sizeof a->base, s->base);
    copy_text(a->adapter, sizeof a->adapter, t->adapter ? t->adapter->digest : NULL);
    copy_text(a->rope, sizeof a->rope, s->rope);
    copy_text(a->device, sizeof a->device, s->device);
    copy_text(a->version, sizeof a->version, LONGQLORA_VERSION);
    copy_text(a->level, sizeof a->level, kernels_level(k));
    snprintf(a->chunk, sizeof a->chunk, "%lld", (long long)s->chunk);
    k->describe(a->facts);
    return 0;
}

/* Fails, naming the first key of the recipe that differs. */
static int fail_recipe(const char *theirs, const char *ours, const char *place, struct fail *why)
{
    struct fail ignored;
    json_t *first = json_read_text(theirs, strlen(theirs), "recipe", &ignored);
    json_t *own = json_read_text(ours, strlen(ours), "recipe", &ignored), *value;
    const char *key;
    json_object_foreach(own, key, value)
    {
        json_t *other = json_object_get(first, key);
        if (other && json_equal(other, value)) continue;
        char *a = other ? json_dumps(other, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        fail_usage(why, "%s: another recipe than rank 0: %s is %s there, and %s here", place, key,
                   a ? a : "not", b ? b : "?");
        free(a);
        free(b);
        break;
    }
    json_decref(first);
    json_decref(own);
    return -1;
}

static int compare(const struct agreement *first, const struct agreement *own, const char *place,
                   struct fail *why)
{
    struct {
        const char *what, *first, *own;
    } texts[] = { { "version", first->version, own->version },
                  { "samples", first->data, own->data },
                  { "evaluation samples", first->eval_data, own->eval_data },
                  { "tokenizer", first->tokenizer, own->tokenizer },
                  { "base", first->base, own->base },
                  { "adapter", first->adapter, own->adapter },
                  { "rope", first->rope, own->rope },
                  { "device", first->device, own->device },
                  { "level of the CPU kernels", first->level, own->level },
                  { "rows of a chunk", first->chunk, own->chunk } };
    if (strcmp(first->recipe, own->recipe) != 0)
        return fail_recipe(first->recipe, own->recipe, place, why);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i].first, texts[i].own) != 0)
            return fail_usage(why, "%s: another %s than rank 0: %s there, %s here", place,
                              texts[i].what, texts[i].first, texts[i].own);
    for (int i = 0; i < KERNELS_FACTS; i++)
        if (strcmp(first->facts[i].value, own->facts[i].value) != 0)
            return fail_usage(why, "%s: another %s than rank 0: %s there, %s here", place,
                              own->facts[i].what, first->facts[i].value, own->facts[i].value);
    return 0;
}

int sharing_agree(struct trainer *t, struct fail *why)
{
    const struct ranks_place *p = ranks_place(t->ranks);
    struct agreement own, first;
    char place[160];
    if (p->count == 1) return 0;
    if (describe(t, &own, why)) return -1;
    first = own;
    if (sharing_tell(t, &first, sizeof first, why)) return -1;
    snprintf(place, sizeof place, "on %s", ranks_host(t->ranks, p->rank));
    if (compare(&first, &own, place, why)) return -1;
    double all[1], *numbers = p->count > 1 ? calloc((size_t)p->count, sizeof *numbers) : all;
    if (!numbers) return fail(why, "out of memory");
    /* No rank goes on before all have agreed. */
    int status = ranks_share(t->ranks, numbers, all, sizeof *all, why);
    free(numbers);
    return status;
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

/* ---- between two batches ---- */

struct number {
    double value;
    struct agreed_stop stop;
};

int sharing_keep(struct trainer *t, int status, bool saves, const struct fail *why)
{
    if (sharing_count(t) == 1) return status;
    if (status < 0 && !t->own_stop.status) {
        struct fail lost;
        t->failure = *why;
        t->own_stop.status = why->status;
        t->own_stop.rank = ranks_place(t->ranks)->rank;
        /* A device that has failed cannot give its moments. */
        t->own_stop.saves = saves && !model_kernels(t->model)->sync(model_device(t->model), &lost);
    }
    return 0;
}

/* Takes the stop of the next rank into account. A failure has precedence over a signal. */
static void agree(struct agreed_stop *all, const struct agreed_stop *next)
{
    if (next->status ? !all->status : !all->status && !all->signal) *all = *next;
}

bool sharing_stops(struct trainer *t)
{
    if (sharing_count(t) == 1) return setup_is_stopped(&t->setup);
    if (t->model && !t->agreed.status && !t->agreed.signal)
        t->agreed.signal = model_agreed(t->model);
    return t->agreed.status || t->agreed.signal;
}

int sharing_numbers(struct trainer *t, double mine, double *all, struct fail *why)
{
    int64_t count = sharing_count(t);
    struct number own = { mine, t->own_stop };
    if (count == 1) {
        *all = mine;
        return 0;
    }
    own.stop.signal = *t->setup.stop;
    struct number *numbers = calloc((size_t)count, sizeof *numbers);
    int status = numbers ? ranks_share(t->ranks, numbers, &own, sizeof own, why)
                         : fail(why, "out of memory");
    for (int64_t r = 0; r < count && !status; r++) {
        all[r] = numbers[r].value;
        agree(&t->agreed, &numbers[r].stop);
    }
    free(numbers);
    return status;
}

int sharing_fail_before_batches(struct trainer *t, struct fail *why)
{
    return sharing_keep(t, -1, true, why) || sharing_numbers(t, 0, t->numbers, why) ? -1 : 1;
}

/* ---- what rank 0 does alone ---- */

/* An order below 0 is −status: all ranks end with this status. */
enum order { ORDER_GIVE_STATE = 1, ORDER_GO_ON };

int sharing_ask_for_state(struct trainer *t, struct fail *why)
{
    int order = ORDER_GIVE_STATE;
    return sharing_tell(t, &order, sizeof order, why);
}

int sharing_meet(struct trainer *t, struct fail *why)
{
    int order = ORDER_GO_ON;
    for (;;) {
        if (sharing_tell(t, &order, sizeof order, why)) return -1;
        if (order == ORDER_GO_ON) return sharing_tell(t, &t->state, sizeof t->state, why);
        if (order < 0) return -order;
        if (checkpoint_give_state(t->model, why)) return -1;
    }
}

int sharing_end(struct trainer *t, enum status status, struct fail *why)
{
    int order = -(int)status;
    return sharing_tell(t, &order, sizeof order, why);
}
