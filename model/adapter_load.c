#include "model/adapter_load.h"

void fit_set_up(const struct fit *fit, const struct adapter *a, struct model_setup *setup)
{
    setup->rank = a->rank;
    setup->alpha = a->alpha;
    setup->targets = a->targets;
    setup->modules_to_save = a->modules_to_save;
    setup->each = fit->each;
}

int adapter_load(const struct adapter *a, struct model *m, struct fail *why)
{
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        float *values = adapter_values(a, t->tensor, (int)t->kind, t->rows, t->cols, why);
        if (!values) return -1;
        model_kernels(m)->upload(model_device(m), p->value + t->offset, values,
                                 (size_t)(t->rows * t->cols) * 4);
        free(values);
    }
    return 0;
}
