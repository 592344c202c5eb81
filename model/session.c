#include "model/session.h"

#include "model/sample_ranks.h"

#include <math.h>

/* The most tokens of one forward, or of a segment. A layer's weights are converted (linear_prepare)
 * once for all of these tokens. */
enum { PIECE = 2048 };

static void set_context(struct model_setup *setup, int64_t context)
{
    int64_t segments = setup->segments > 1 ? setup->segments : 1, most = PIECE * segments;
    setup->positions = setup->context = context;
    setup->rows = sample_ranks_rows(context < most ? context : most, segments);
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
static void read_piece(struct session *s, const uint32_t *ids, int64_t count, int64_t length)
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

static void read_pieces(struct session *s, const uint32_t *ids, int64_t count)
{
    const struct session_watch *watch = count - s->count > s->chunk ? s->watch : NULL;
    if (watch) watch->begin(s->count, count);
    s->length = count;
    while (s->count < count && !setup_is_stopped(model_setup_of(s->model))) {
        int64_t left = count - s->count;
        if (watch) watch->at(s->count);
        read_piece(s, ids + s->count, left < s->chunk ? left : s->chunk, count);
    }
    if (watch) watch->end();
}

/* May a text of `count` tokens reuse the cached keys of its first `shared` tokens?
 *
 * With dynamic scaling, the angles of a key depend on the text's length when the key was computed,
 * if that is beyond the original context. As in transformers, a text that only appends tokens still
 * reuses such keys, and a changed text is computed from its beginning.
 *
 * longrope has other angles beyond the original context than within it. So a text that crosses this
 * border is computed from its beginning, as in Phi-3's prepare_inputs_for_generation. */
static bool may_share(const struct session *s, int64_t shared, int64_t count)
{
    const struct config *c = model_config(s->model);
    int64_t original = c->original_position;
    if (c->rope.type == ROPE_DYNAMIC) return count <= original || shared == s->count;
    if (c->rope.type == ROPE_LONGROPE) return (count > original) == (s->length > original);
    return true;
}

/* ---- several ranks ---- */

/* What rank 0 tells the others: the text has `count` tokens, of which they have read the first
 * `shared`. If only the last token is new, `id` is this token; otherwise the new tokens follow.
 * count 0: the end. */
struct order {
    int64_t count, shared, id;
};

static int send_order(struct session *s, const uint32_t *ids, int64_t count, int64_t shared,
                      struct fail *why)
{
    if (!s->ranks) return 0;
    struct order o = { count, shared, count ? ids[count - 1] : 0 };
    size_t bytes = (size_t)(count - shared) * sizeof *ids;
    model_at(s->model, "token %lld", (long long)count);
    /* Nothing is written to the ids, because rank 0 is the one that sends. */
    return ranks_broadcast(s->ranks, &o, sizeof o, why) ||
                   (count - shared > 1 &&
                    ranks_broadcast(s->ranks, (uint32_t *)(uintptr_t)(ids + shared), bytes, why))
               ? -1
               : 0;
}

int session_dismiss(struct session *s, struct fail *why) { return send_order(s, NULL, 0, 0, why); }

int session_follow(struct session *s, struct fail *why)
{
    struct order o;
    for (;;) {
        if (ranks_await_broadcast(s->ranks, &o, sizeof o, why)) return -1;
        if (!o.count) return 0;
        s->ids[o.count - 1] = (uint32_t)o.id;
        if (o.count - o.shared > 1 &&
            ranks_broadcast(s->ranks, s->ids + o.shared,
                            (size_t)(o.count - o.shared) * sizeof *s->ids, why))
            return -1;
        model_at(s->model, "token %lld", (long long)o.count);
        model_rewind(s->model, o.shared);
        s->count = o.shared;
        read_pieces(s, s->ids, o.count);
        if (model_last_logits(s->model, s->logits, why)) return -1;
    }
}

int session_read(struct session *s, const uint32_t *ids, int64_t count, struct fail *why)
{
    must(count > 0 && count <= s->context);
    /* The last token is read even if it is cached, because its logits are needed. */
    int64_t shared = 0, most = s->count < count ? s->count : count - 1;
    while (shared < most && s->ids[shared] == ids[shared])
        shared++;
    if (!may_share(s, shared, count)) shared = 0;
    model_rewind(s->model, shared);
    s->count = s->shared = shared;
    if (send_order(s, ids, count, shared, why)) return -1;
    read_pieces(s, ids, count);
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
