#include "model/optimiser.h"

#include <math.h>

double optimiser_rate(const struct optimiser *o, int64_t done)
{
    if (o->schedule == SCHEDULE_CONSTANT) return o->learning_rate;
    if (done < o->warmup) return o->learning_rate * (double)done / (double)o->warmup;
    if (o->schedule == SCHEDULE_CONSTANT_WITH_WARMUP) return o->learning_rate;
    double span = (double)(o->steps - o->warmup);
    double progress = span > 0 ? (double)(done - o->warmup) / span : 1;
    if (progress > 1) progress = 1;
    if (o->schedule == SCHEDULE_LINEAR) return o->learning_rate * (1 - progress);
    return o->learning_rate * 0.5 * (1 + cos(M_PI * progress));
}

bool optimiser_agrees(const struct optimiser *a, const struct optimiser *b, int64_t first,
                      int64_t last)
{
    for (int64_t done = first; done < last; done++)
        if (optimiser_rate(a, done) != optimiser_rate(b, done)) return false;
    return true;
}

struct optimiser_call {
    const struct optimiser *o;
    struct model *m;
    int64_t done;
    float scale;
};

static bool decays(const struct tensor *t) { return !tensor_is_vector(t); }

/* Updates those of the values [first, end) that this rank owns. */
static void update(const struct optimiser_call *u, const struct section *s, int64_t first,
                   int64_t end, bool with_decay)
{
    const struct parameters *p = model_parameters(u->m);
    const struct optimiser *o = u->o;
    int64_t own_end = s->own.first + s->own.count;
    if (first < s->own.first) first = s->own.first;
    if (end > own_end) end = own_end;
    if (first >= end) return;
    int64_t at = s->own.at + first - s->own.first;
    model_kernels(u->m)->adamw(
        model_device(u->m), p->value + first, p->moment1 + at, p->moment2 + at, p->gradient + at,
        end - first, (float)optimiser_rate(o, u->done), (float)o->beta1, (float)o->beta2,
        (float)o->eps, with_decay ? (float)o->decay : 0, u->done + 1, u->scale);
}

int optimiser_step(const struct optimiser *o, struct model *m, int64_t done, double loss_scale,
                   double *norm, struct fail *why)
{
    const struct kernels *k = model_kernels(m);
    struct device *dev = model_device(m);
    const struct parameters *p = model_parameters(m);
    double sum;
    model_range_begin(m, "optimiser");
    if (model_sum_squares(m, &sum, why)) {
        model_range_end(m);
        return -1;
    }
    *norm = sqrt(sum) / loss_scale;
    if (!isfinite(*norm)) {
        k->zero(dev, p->gradient, (size_t)p->own_count * 4);
        model_end_update(m);
        model_range_end(m);
        return 1;
    }
    double scale = o->max_norm > 0 ? o->max_norm / (*norm + 1e-6) : 1;
    if (scale > 1) scale = 1;
    struct optimiser_call u = { o, m, done, (float)(scale / loss_scale) };
    for (int64_t i = 0, next; i < p->at_count; i = next) {
        /* Weight decay does not apply to biases and the gains of norms. Neighbouring matrices of a
         * section with the same decay are updated in one call. */
        next = i + 1;
        while (next < p->at_count && p->at[next].section == p->at[i].section &&
               (o->decay == 0 || decays(p->at[next].tensor) == decays(p->at[i].tensor)))
            next++;
        const struct section *s = &p->section[p->at[i].section];
        bool is_last = next == p->at_count || p->at[next].section != p->at[i].section;
        update(&u, s, p->at[i].offset, is_last ? s->first + s->count : p->at[next].offset,
               decays(p->at[i].tensor));
    }
    int status = model_allgather_values(m, why);
    model_end_update(m);
    model_range_end(m);
    return status ? status : k->sync(dev, why);
}
