#include "tests/lib/synthetic_model.h"

#include "lib/common/bf16.h"
#include "lib/common/output.h"
#include "lib/tensorfile/safetensors.h"

#include <math.h>

enum { STEPS = 2048, TOKENS = 1 << 20 };

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

double synthetic_number(uint64_t sequence, uint64_t i)
{
    uint64_t n = mix(mix(sequence) + i) >> 52; /* 12 bits */
    return ((double)n - STEPS) / STEPS;
}

uint32_t synthetic_token(int64_t t, int64_t vocab)
{
    return (uint32_t)(mix(mix(TOKENS) + (uint64_t)t) % (uint64_t)vocab);
}

uint32_t *synthetic_ids(int64_t count, int64_t vocab)
{
    uint32_t *ids = malloc((size_t)count * sizeof *ids);
    must(ids);
    for (int64_t t = 0; t < count; t++)
        ids[t] = synthetic_token(t, vocab);
    return ids;
}

float *synthetic_values(const struct tensor *t, int64_t index)
{
    int64_t count = t->rows * t->cols;
    float *values = malloc((size_t)count * sizeof *values);
    must(values);
    double scale = exp2(nearbyint(log2(2 / sqrt((double)t->cols))));
    for (int64_t i = 0; i < count; i++) {
        double u = synthetic_number((uint64_t)index, (uint64_t)i);
        values[i] = (float)(t->role == ROLE_NORM ? 1 + u / 8 : u * scale);
    }
    return values;
}

void synthetic_model(const char *directory, const char *config, const char *dtype)
{
    struct fail why;
    struct config c;
    struct tensor *table;
    struct safetensors_writer *w;
    char path[4096];
    enum dtype type = !strcmp(dtype, "f32")   ? DTYPE_F32
                      : !strcmp(dtype, "f16") ? DTYPE_F16
                                              : DTYPE_BF16;
    must(!output_directory(directory, &why));
    snprintf(path, sizeof path, "%s/config.json", directory);
    must(!output_text(path, config, &why));
    must(!config_read(&c, path, &why));
    int64_t count = tensors_list(&c, &table, &why);
    must(count > 0);
    struct tensor_header *headers = calloc((size_t)count, sizeof *headers);
    must(headers);
    for (int64_t i = 0; i < count; i++)
        headers[i] = (struct tensor_header){ table[i].name,
                                             type,
                                             tensor_is_vector(&table[i]) ? 1 : 2,
                                             { table[i].rows, table[i].cols } };
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    must(!safetensors_create(&w, path, headers, (size_t)count, &why));
    for (int64_t i = 0; i < count; i++) {
        float *values = synthetic_values(&table[i], i);
        size_t n = (size_t)(table[i].rows * table[i].cols);
        for (size_t j = 0; j < n && c.norm_adds_one && table[i].role == ROLE_NORM; j++)
            values[j] -= 1;
        uint16_t *half = (uint16_t *)(void *)values; /* narrows the values in place */
        for (size_t j = 0; j < n && type != DTYPE_F32; j++) {
            float x = values[j];
            half[j] = type == DTYPE_F16 ? f16_from_float(x) : bf16_from_float(x);
        }
        must(!safetensors_put(w, values, n * dtype_size(type), &why));
        free(values);
    }
    must(!safetensors_finish(w, &why));
    free(headers);
    free(table);
    config_release(&c);
}
