/* sums MODEL lora|full [ROWS] [DEVICE] - measures what the order of sums costs one process: each
 * batch of an update but the first computes its gradients in a scratch, which is zeroed before and
 * folded into the update's gradient after. MODEL is a base with weights. Prints the CPU seconds of
 * a batch of ROWS tokens (512), the CPU seconds of zero and fold for all of its gradients, and the
 * second number as a share of the first. Both are medians of five, measured in turn. */
#include "lib/cli/die.h"
#include "model/batch.h"
#include "model/model.h"

#include <string.h>
#include <time.h>

enum { TIMES = 5 };

static struct fail why;

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double median(double *seconds)
{
    for (int i = 1; i < TIMES; i++)
        for (int j = i; j > 0 && seconds[j] < seconds[j - 1]; j--) {
            double lower = seconds[j];
            seconds[j] = seconds[j - 1];
            seconds[j - 1] = lower;
        }
    return seconds[TIMES / 2];
}

static void compute(struct model *m, struct batch *b, float *nll)
{
    model_forward(m, b, (struct dropout){ 0 });
    or_die(model_loss(m, nll, 1e-4f, &why), &why);
    model_backward(m);
    or_die(model_kernels(m)->sync(model_device(m), &why), &why);
}

static struct model *open_model(struct weights *w, bool is_lora, int64_t rows, const char *device)
{
    struct model *m;
    struct model_setup setup = { .method = is_lora ? METHOD_LORA : METHOD_FULL,
                                 .is_training = true,
                                 .rank = is_lora ? 64 : 0,
                                 .alpha = 64,
                                 .targets = parts_of_role(ROLE_LINEAR),
                                 .batches = 1 << 20,
                                 .positions = rows,
                                 .rows = rows,
                                 .device = device,
                                 .threads = 1 };
    or_die(model_open(&m, &setup, NULL, w, 1, &why), &why);
    return m;
}

static void fill(struct batch *b, int64_t rows, int64_t vocab)
{
    or_die(batch_init(b, rows, &why), &why);
    b->rows = rows;
    for (int64_t i = 0; i < rows; i++) {
        b->id[i] = b->target[i] = (int32_t)(i * 7919 % vocab);
        b->position[i] = (int32_t)i;
        b->low_starts[i] = b->high_starts[i] = 0;
    }
}

int main(int argc, char **argv)
{
    struct weights w;
    struct batch b;
    double whole[TIMES], sums[TIMES];
    void *scratch;
    die_init("sums", false);
    int64_t rows = argc > 3 ? strtol(argv[3], NULL, 10) : 512;
    if (argc < 3 || rows < 1) die_usage("sums MODEL lora|full [ROWS] [DEVICE]");
    or_die(weights_open(&w, argv[1], false, &why), &why);
    struct model *m = open_model(&w, !strcmp(argv[2], "lora"), rows, argc > 4 ? argv[4] : "cpu");
    const struct kernels *k = model_kernels(m);
    const struct parameters *p = model_parameters(m);
    size_t bytes = (size_t)p->count * sizeof(float);
    float *nll = malloc((size_t)rows * sizeof *nll);
    if (!nll) die(STATUS_FAILED, "out of memory");
    or_die(k->alloc(model_device(m), &scratch, bytes, &why), &why);
    fill(&b, rows, model_config(m)->vocab);
    compute(m, &b, nll);
    for (int i = 0; i < TIMES; i++) {
        double begun = cpu_seconds();
        compute(m, &b, nll);
        whole[i] = cpu_seconds() - begun;
        begun = cpu_seconds();
        k->zero(model_device(m), scratch, bytes);
        k->fold(model_device(m), p->gradient, scratch, p->count);
        or_die(k->sync(model_device(m), &why), &why);
        sums[i] = cpu_seconds() - begun;
    }
    double batch = median(whole), order = median(sums);
    printf("{\"method\":\"%s\",\"rows\":%lld,\"parameters\":%lld,\"batch_seconds\":%.4g,"
           "\"zero_and_fold_seconds\":%.4g,\"percent\":%.3g}\n",
           argv[2], (long long)rows, (long long)p->count, batch, order, 100 * order / batch);
    batch_release(&b);
    k->release(model_device(m), scratch, bytes);
    model_close(m);
    weights_close(&w);
    free(nll);
}
