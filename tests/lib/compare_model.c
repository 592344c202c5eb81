#include "tests/lib/compare_model.h"

#include "model/batch.h"
#include "tests/lib/synthetic_model.h"

static struct fail why;

static const char *name_of(const json_t *item)
{
    return json_string_value(json_object_get(item, "name"));
}

void compare_logits(const struct weights *w, const struct config *config, const json_t *item,
                    int64_t chunk, const struct stored_tensor *exact, double bound)
{
    struct model *m;
    struct batch b;
    int64_t count = json_integer_value(json_object_get(item, "tokens")), vocab = w->config.vocab;
    const json_t *rows = json_object_get(item, "rows");
    struct model_setup setup = { .positions = count,
                                 .rows = count,
                                 .chunk = count < chunk ? count : chunk,
                                 .device = check_device() };
    assert_int_equal(model_open(&m, &setup, config, w, 0, &why), 0);
    assert_int_equal(batch_init(&b, count, &why), 0);
    uint32_t *ids = synthetic_ids(count, vocab);
    float *logits = malloc((size_t)(count * vocab) * sizeof *logits), *got = malloc(exact->bytes);
    double *wanted = check_doubles(exact->data, exact->bytes / 4);
    assert_true(logits && got);
    batch_add_window(&b, ids, count);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_logits(m, count, logits, &why), 0);
    for (size_t i = 0; i < json_array_size(rows); i++)
        memcpy(got + (int64_t)i * vocab,
               logits + json_integer_value(json_array_get(rows, i)) * vocab, (size_t)vocab * 4);
    check_close(name_of(item), got, wanted, exact->bytes / 4, bound);
    free(ids);
    free(logits);
    free(got);
    batch_release(&b);
    model_close(m);
}

struct compare_merged compare_merge(const struct compare_merge *how, const char *directory)
{
    const struct weights *w = how->base;
    const struct tensor *table = how->table ? how->table : w->table;
    struct merger m;
    enum dtype dtypes[64];
    assert_true(w->count <= 64);
    for (int64_t i = 0; i < w->count; i++)
        dtypes[i] = how->dtype;
    const struct merger_job merging = { .base = w,
                                        .table = table,
                                        .count = w->count,
                                        .parts = how->adapters,
                                        .part_count = how->adapter_count,
                                        .dtypes = dtypes,
                                        .threads = how->threads };
    if (merger_open(&m, &merging, &why)) fail_msg("%s", why.text);
    struct model_directory_job job = { .config = how->config ? how->config : &w->config,
                                       .headers = model_directory_headers(table, w->count, dtypes),
                                       .count = w->count,
                                       .produce = merger_produce,
                                       .arg = &m,
                                       .dtype = how->dtype,
                                       .max_shard_bytes = how->max_shard_bytes };
    if (model_directory_make(directory, &job, &why)) fail_msg("%s", why.text);
    struct compare_merged result = { m.merged, m.replaced };
    free((void *)job.headers);
    merger_close(&m);
    return result;
}
