/* logits MODEL TOKENS [ADAPTER] - writes the logits of a text of synthetic tokens
 * (tests/lib/synthetic_model.h) as raw f32 to standard output. tests/golden/check_foreign.py
 * compares them with those of other programs. */
#include "lib/cli/die.h"
#include "model/batch.h"
#include "model/loaded.h"
#include "tests/lib/synthetic_model.h"

int main(int argc, char **argv)
{
    struct fail why;
    struct loaded l;
    struct model *m;
    struct batch b;
    die_init("logits", false);
    if (argc < 3) die_usage("logits MODEL TOKENS [ADAPTER]");
    int64_t count = strtoll(argv[2], NULL, 10);
    struct loaded_options o = { .model = argv[1], .adapter = argv[3], .force_base = argv[3] };
    or_die(loaded_open(&l, &o, &why), &why);
    struct model_setup setup = {
        .positions = count, .rows = count, .chunk = count, .device = "cpu"
    };
    or_die(loaded_model(&l, &setup, &m, &why), &why);
    or_die(batch_init(&b, count, &why), &why);
    uint32_t *ids = malloc((size_t)count * sizeof *ids);
    float *logits = malloc((size_t)(count * l.config.vocab) * sizeof *logits);
    if (!ids || !logits) die(STATUS_FAILED, "out of memory");
    for (int64_t t = 0; t < count; t++)
        ids[t] = synthetic_token(t, l.config.vocab);
    batch_add_window(&b, ids, count);
    model_forward(m, &b, (struct dropout){ 0 });
    or_die(model_logits(m, count, logits, &why), &why);
    size_t numbers = (size_t)(count * l.config.vocab);
    if (fwrite(logits, sizeof *logits, numbers, stdout) != numbers || fflush(stdout))
        die(STATUS_FAILED, "cannot write");
    free(ids);
    free(logits);
    batch_release(&b);
    model_close(m);
    loaded_close(&l);
    return 0;
}
