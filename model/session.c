#include "model/session.h"

#include "model/sample_ranks.h"

#include <math.h>

/* The largest number of tokens of one forward, or of a segment. A layer's weights are converted
 * (linear_prepare) once for all of these tokens. */
enum { CHUNK_TOKENS = 2048 };

static void set_context(struct model_setup *setup, int64_t context)
{
    int64_t segments = setup->segments > 1 ? setup->segments : 1, max = CHUNK_TOKENS * segments;
    setup->positions = setup->context = context;
    setup->rows = sample_ranks_rows(context < max ? context : max, segments);
}

struct model_setup session_setup(int64_t context, const char *device, int threads)
{
    struct model_setup setup = { .method = METHOD_FROZEN, .device = device, .threads = threads };
    set_context(&setup, context);
    return setup;
}

void session_share(struct model_setup *setup, struct ranks *r, int64_t parts, int64_t segments)
{
    setup->segments = segments;
    setup->parts = setup->sample_parts = parts;
    setup->part = ranks_place(r)->rank;
    setup->ranks = r;
    set_context(setup, setup->context);
}

int session_longest(const struct loaded *l, const struct model_setup *setup,
                    struct memory_limits limits, int64_t *longest, struct fail *why)
{
    const struct kernels *k;
    struct memory_plan plan;
    int64_t too_long = setup->context + 1;
    *longest = 0;
    if (kernels_choose(&k, setup->device, true, why)) return -1;
    while (too_long - *longest > 1) {
        struct model_setup own = *setup;
        set_context(&own, *longest + (too_long - *longest) / 2);
        if (loaded_plan(l, &own, &plan, why)) return -1;
        if (memory_fits(&plan, k, limits))
            *longest = own.context;
        else
            too_long = own.context;
    }
    return 0;
}

int session_open(struct session *s, const struct loaded *l, const struct model_setup *setup,
                 struct fail *why)
{
    *s = (struct session){ .context = setup->context, .chunk = setup->rows };
    if (setup->parts > 1) s->ranks = setup->ranks;
    s->ids = malloc((size_t)setup->context * sizeof *s->ids);
    s->logits = malloc((size_t)l->config.vocab * sizeof *s->logits);
    if (!s->ids || !s->logits) {
        session_close(s);
        return fail(why, "out of memory");
    }
    int status = loaded_model(l, setup, &s->model, why);
    if (!status) status = batch_init(&s->batch, s->chunk, why);
    if (status) session_close(s);
    return status;
}

void session_close(struct session *s)
{
    model_close(s->model);
    batch_release(&s->batch);
    free(s->ids);
    free(s->logits);
    *s = (struct session){ 0 };
}

/* length: tokens of the whole text that is being read. */
static void read_chunk(struct session *s, const uint32_t *ids, int64_t count, int64_t length)
{
    struct batch *b = &s->batch;
    for (int64_t t = 0; t < count; t++) {
        b->id[t] = (int32_t)(s->ids[s->count + t] = ids[t]);
        b->target[t] = -1;
        b->position[t] = (int32_t)(s->count + t);
        b->low_starts[t] = b->high_starts[t] = 0;
    }
    b->rows = count;
    b->length = length;
    model_forward(s->model, b, (struct dropout){ 0 });
    if (setup_is_stopped(model_setup_of(s->model)))
        model_rewind(s->model, s->count);
    else
        s->count += count;
}

static void read_chunks(struct session *s, const uint32_t *ids, int64_t count)
{
    const struct session_watch *watch = count - s->count > s->chunk ? s->watch : NULL;
    if (watch) watch->begin(s->count, count);
    s->length = count;
    while (s->count < count && !setup_is_stopped(model_setup_of(s->model))) {
        int64_t left = count - s->count;
        if (watch) watch->at(s->count);
        read_chunk(s, ids + s->count, left < s->chunk ? left : s->chunk, count);
    }
    if (watch) watch->end();
}

/* May a text of `count` tokens reuse the cached keys of its first `reused` tokens?
 *
 * With dynamic scaling, the angles of a key depend on the text's length when the key was computed,
 * if that is beyond the original context. As in transformers, a text that only appends tokens still
 * reuses such keys, and a changed text is computed from its beginning.
 *
 * longrope has other angles beyond the original context than within it. So a text that crosses this
 * border is computed from its beginning, as in Phi-3's prepare_inputs_for_generation. */
static bool may_reuse(const struct session *s, int64_t reused, int64_t count)
{
    const struct config *c = model_config(s->model);
    int64_t original = c->original_position;
    if (c->rope.type == ROPE_DYNAMIC) return count <= original || reused == s->count;
    if (c->rope.type == ROPE_LONGROPE) return (count > original) == (s->length > original);
    return true;
}

/* ---- several ranks ---- */

/* The message with which rank 0 makes the others read: the text has `count` tokens, and the keys of
 * the first `reused` are in the cache. If only the last token is new, `id` is this token; otherwise
 * the new tokens follow in a second message. count 0: the session ends. */
struct read_request {
    int64_t count, reused, id;
};

static int broadcast_request(struct session *s, const uint32_t *ids, int64_t count, int64_t reused,
                             struct fail *why)
{
    if (!s->ranks) return 0;
    struct read_request request = { count, reused, count ? ids[count - 1] : 0 };
    size_t bytes = (size_t)(count - reused) * sizeof *ids;
    model_at(s->model, "token %lld", (long long)count);
    /* Nothing is written to the ids, because rank 0 is the one that sends. */
    return ranks_broadcast(s->ranks, &request, sizeof request, why) ||
                   (count - reused > 1 &&
                    ranks_broadcast(s->ranks, (uint32_t *)(uintptr_t)(ids + reused), bytes, why))
               ? -1
               : 0;
}

int session_dismiss(struct session *s, struct fail *why)
{
    return broadcast_request(s, NULL, 0, 0, why);
}

int session_follow(struct session *s, struct fail *why)
{
    struct read_request request;
    for (;;) {
        if (ranks_await_broadcast(s->ranks, &request, sizeof request, why)) return -1;
        if (!request.count) return 0;
        s->ids[request.count - 1] = (uint32_t)request.id;
        if (request.count - request.reused > 1 &&
            ranks_broadcast(s->ranks, s->ids + request.reused,
                            (size_t)(request.count - request.reused) * sizeof *s->ids, why))
            return -1;
        model_at(s->model, "token %lld", (long long)request.count);
        model_rewind(s->model, request.reused);
        s->count = request.reused;
        read_chunks(s, s->ids, request.count);
        if (model_last_logits(s->model, s->logits, why)) return -1;
    }
}

int session_read(struct session *s, const uint32_t *ids, int64_t count, struct fail *why)
{
    must(count > 0 && count <= s->context);
    /* The last token is read even if it is cached, because its logits are needed. */
    int64_t reused = 0, max = s->count < count ? s->count : count - 1;
    while (reused < max && s->ids[reused] == ids[reused])
        reused++;
    if (!may_reuse(s, reused, count)) reused = 0;
    model_rewind(s->model, reused);
    s->count = s->reused = reused;
    if (broadcast_request(s, ids, count, reused, why)) return -1;
    read_chunks(s, ids, count);
    if (s->count < count) return 1;
    if (model_last_logits(s->model, s->logits, why)) return -1;
    int64_t vocab = model_config(s->model)->vocab;
    for (int64_t i = 0; i < vocab; i++)
        if (!isfinite(s->logits[i]))
            return fail(
                why,
                "logits of token %lld are not finite: a value in the weights or the adapter is not "
                "(fetch or train them again), or 16 bits are too few (--device cpu)",
                (long long)s->count);
    return 0;
}

int session_append(struct session *s, uint32_t id, struct fail *why)
{
    must(s->count < s->context);
    s->ids[s->count] = id;
    return session_read(s, s->ids, s->count + 1, why);
}
