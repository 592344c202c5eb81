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

int optimiser_step(const struct optimiser *o, struct model *m, int64_t done, double loss_scale,
                   double *norm, struct fail *why)
{
    const struct kernels *k = model_kernels(m);
    struct device *dev = model_device(m);
    const struct parameters *p = model_parameters(m);
    double sum;
    model_range_begin(m, "optimiser");
    if (model_sum_squares(m, &sum, why)) return -1;
    *norm = sqrt(sum) / loss_scale;
    if (!isfinite(*norm)) {
        k->zero(dev, p->gradient, (size_t)p->count * 4);
        model_end_update(m);
        model_range_end(m);
        return 1;
    }
    double scale = o->max_norm > 0 ? o->max_norm / (*norm + 1e-6) : 1;
    if (scale > 1) scale = 1;
    scale /= loss_scale;
    for (int64_t i = 0; i < p->at_count;) {
        /* Weight decay does not apply to the gains of norms. Neighbouring matrices with the same
         * decay are updated in one call. */
        bool decays = !tensor_is_vector(p->at[i].tensor);
        int64_t first = p->at[i].offset, next = i;
        while (next < p->at_count &&
               (o->decay == 0 || !tensor_is_vector(p->at[next].tensor) == decays))
            next++;
        int64_t end = next < p->at_count ? p->at[next].offset : p->count;
        k->adamw(dev, p->value + first, p->moment1 + first, p->moment2 + first, p->gradient + first,
                 end - first, (float)optimiser_rate(o, done), (float)o->beta1, (float)o->beta2,
                 (float)o->eps, decays ? (float)o->decay : 0, done + 1, (float)scale);
        i = next;
    }
    model_end_update(m);
    model_range_end(m);
    return k->sync(dev, why);
}
