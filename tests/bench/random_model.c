/* random_model CONFIG OUT_DIR DTYPE [TOKENIZER] - writes a model directory of random weights, shard
 * by shard (normal, deviation 0.02, gains 1; DTYPE bf16, f16 or f32). It is used for benchmarks and
 * for tests at full size. */
#include "lib/cli/die.h"
#include "lib/common/bf16.h"
#include "lib/common/output.h"
#include "lib/llama/model_directory.h"

#include <math.h>

enum { PIECE = 1 << 16, POOL = 1 << 20 };

struct source {
    const struct tensor *table;
    const enum dtype *dtypes;
    float normal[POOL]; /* each piece of weights is a copy from another place in it */
    uint64_t state;
};

static struct fail why;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static double uniform(uint64_t *state) { return ((double)(next(state) >> 11) + 0.5) * 0x1p-53; }

static int produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *f)
{
    struct source *s = arg;
    const struct tensor *t = &s->table[index];
    bool is_wide = s->dtypes[index] == DTYPE_F32, is_bf16 = s->dtypes[index] == DTYPE_BF16;
    static float wide[PIECE];
    static uint16_t half[PIECE];
    for (int64_t left = t->rows * t->cols; left > 0; left -= PIECE) {
        size_t n = left < PIECE ? (size_t)left : PIECE;
        const float *from = s->normal + next(&s->state) % (POOL - PIECE);
        for (size_t i = 0; i < n; i++) {
            float x = t->role == ROLE_NORM ? 1 : 0.02f * from[i];
            wide[i] = x;
            half[i] = is_bf16 ? bf16_from_float(x) : f16_from_float(x);
        }
        const void *data = is_wide ? (const void *)wide : half;
        if (safetensors_put(w, data, n * (is_wide ? 4 : 2), f)) return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    /* Zeros, so that these megabytes are not stored in the program's file. */
    static struct source s;
    struct config c;
    struct tensor *table;
    die_init("random_model", false);
    s.state = 88172645463325252u;
    if (argc < 4) die_usage("random_model CONFIG OUT_DIR bf16|f16|f32 [TOKENIZER_DIR]");
    enum dtype dtype = !strcmp(argv[3], "f32")   ? DTYPE_F32
                       : !strcmp(argv[3], "f16") ? DTYPE_F16
                                                 : DTYPE_BF16;
    or_die(config_read(&c, argv[1], &why), &why);
    int64_t count = tensors_list(&c, &table, &why);
    or_die((int)count, &why);
    enum dtype *dtypes = malloc((size_t)count * sizeof *dtypes);
    for (int64_t i = 0; dtypes && i < count; i++)
        dtypes[i] = dtype;
    for (int i = 0; i < POOL; i++)
        s.normal[i] =
            (float)(sqrt(-2 * log(uniform(&s.state))) * cos(2 * M_PI * uniform(&s.state)));
    s.table = table;
    s.dtypes = dtypes;
    struct companions *companions = NULL;
    struct companions_place from = { .folder = argv[4] };
    if (argv[4]) or_die(companions_read(&companions, from, &why), &why);
    struct model_directory_job job = { .config = &c,
                                       .headers = model_directory_headers(table, count, dtypes),
                                       .count = count,
                                       .dtype = dtype,
                                       .produce = produce,
                                       .arg = &s,
                                       .companions = companions,
                                       .max_shard_bytes = (uint64_t)4 << 30 };
    or_die(model_directory_make(argv[2], &job, &why), &why);
    free((void *)job.headers);
    companions_free(companions);
    free(dtypes);
    free(table);
    config_release(&c);
    return 0;
}
