#include "model/batch.h"

#include "lib/stream/targets.h"

int batch_check_attention(const struct attention_plan *a, struct fail *why)
{
    if (!a->group || a->group % 2 == 0) return 0;
    return fail_usage(why, "shifted short attention needs an even group, not %lld",
                      (long long)a->group);
}

int batch_init(struct batch *b, int64_t rows, struct fail *why)
{
    *b = (struct batch){ 0 };
    int32_t *block = malloc((size_t)rows * 5 * sizeof *block);
    if (!block) return fail(why, "out of memory");
    b->id = block;
    b->target = block + rows;
    b->position = block + 2 * rows;
    b->low_starts = block + 3 * rows;
    b->high_starts = block + 4 * rows;
    return 0;
}

void batch_release(struct batch *b)
{
    free(b->id);
    *b = (struct batch){ 0 };
}

int64_t sample_targets(const struct sample *s, const struct attention_plan *a)
{
    struct target_walk w = target_walk_begin(s, a->masks_documents);
    int64_t sum = 0;
    for (size_t t = 0; t < s->count; t++)
        sum += target_walk_to(&w, (int64_t)t);
    return sum;
}

int64_t batch_add(struct batch *b, const struct sample *s, const struct attention_plan *a)
{
    struct target_walk w = target_walk_begin(s, a->masks_documents);
    b->group = a->group;
    int64_t base = b->rows, targets = 0, half = a->group / 2;
    for (int64_t t = 0; t < (int64_t)s->count; t++) {
        int64_t row = base + t, first = 0, second = 0;
        bool is_target = target_walk_to(&w, t);
        if (t > 0) b->target[row - 1] = is_target ? (int32_t)s->ids[t] : -1;
        targets += is_target;
        if (a->group) {
            first = t / a->group * a->group;
            second = t < half ? 0 : (t - half) / a->group * a->group + half;
        }
        if (a->masks_documents) {
            if (first < w.document_start) first = w.document_start;
            if (second < w.document_start) second = w.document_start;
        }
        b->id[row] = (int32_t)s->ids[t];
        b->position[row] = (int32_t)t;
        b->low_starts[row] = (int32_t)(base + first);
        b->high_starts[row] = (int32_t)(base + second);
    }
    b->rows += (int64_t)s->count;
    b->target[b->rows - 1] = -1;
    return targets;
}

void batch_add_window(struct batch *b, const uint32_t *ids, int64_t count)
{
    b->group = 0;
    for (int64_t t = 0; t < count; t++) {
        int64_t row = b->rows + t;
        b->id[row] = (int32_t)ids[t];
        b->target[row] = t + 1 < count ? (int32_t)ids[t + 1] : -1;
        b->position[row] = (int32_t)t;
        b->low_starts[row] = b->high_starts[row] = (int32_t)b->rows;
    }
    b->rows += count;
}
