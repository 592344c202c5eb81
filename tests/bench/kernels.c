/* kernels DEVICE [SCALE] - measures the speed of single operations of a backend, as JSON lines. The
 * device's own copy and the preparation of NF4 weights are in GB/s, products and attention in
 * TFLOP/s. SCALE 1 (default) is LLaMA-2-7B's width and up to 16384 tokens; 8 is an eighth of both,
 * for a CPU. */
#include "tests/bench/measured.h"

#include "lib/cli/die.h"

#include <math.h>

static const struct kernels *k;
static struct device *dev;
static int64_t scale = 1;

static struct shape shape_of(int64_t rows, int64_t dim, int64_t ffn)
{
    return (struct shape){ .rows = rows,
                           .chunk = rows,
                           .dim = dim,
                           .ffn = ffn,
                           .heads = dim / 128,
                           .kv_heads = dim / 128,
                           .head_dim = 128,
                           .vocab = 1024,
                           .slot = { { ffn, dim, 0 } },
                           .has_compact_weights = true };
}

static struct mat random_mat(int64_t rows, int64_t cols) { return measured_mat(rows, cols, cols); }

static double seconds(void (*call)(void *), void *arg) { return measured_seconds(call, arg, 0.3); }

struct copying {
    struct mat from;
    struct cache to;
};

static void copy(void *arg)
{
    const struct copying *c = arg;
    k->cache_rows(dev, &c->to, 0, c->from, c->to.capacity);
}

struct multiplying {
    struct group g;
    struct mat x, y;
    int64_t rows;
};

static void prepare(void *arg) { k->linear_prepare(dev, &((struct multiplying *)arg)->g); }

static void multiply(void *arg)
{
    const struct multiplying *c = arg;
    struct mat none = { NULL, 0 };
    k->linear_fwd(dev, c->y, c->x, &c->g, none, c->rows, (struct dropout){ 0 });
}

struct attending {
    struct mat q, key, v, o, dout, dq, dk, dv;
    float *lse;
    struct attention_starts starts;
    struct cache cache; /* used by attend_cached */
    int64_t rows, heads;
};

static void attend(void *arg)
{
    const struct attending *a = arg;
    k->attention_fwd(dev, a->o, a->lse, a->q, a->key, a->v, a->starts, a->rows, a->heads, a->heads,
                     128, 1 / sqrtf(128));
}

/* Computes the last row of a full cache. */
static void attend_cached(void *arg)
{
    const struct attending *a = arg;
    k->attention_decode(dev, a->o, a->lse, a->q, &a->cache, a->starts, a->cache.capacity - 1, 1,
                        a->heads, 1 / sqrtf(128));
}

static void attend_back(void *arg)
{
    const struct attending *a = arg;
    k->attention_bwd(dev, a->dq, a->dk, a->dv, a->dout, a->o, a->lse, a->q, a->key, a->v, a->starts,
                     a->rows, a->heads, a->heads, 128, 1 / sqrtf(128));
}

static void measure_linear(void)
{
    int64_t rows = 8192 / scale, in = 4096 / scale, out = 11008 / scale;
    size_t count = (size_t)(in * out);
    struct shape shape = shape_of(rows, in, out);
    shape.has_backward = true;
    measured_reserve(shape);
    struct mat y = random_mat(rows, out);
    struct copying c = { random_mat(rows, out), { y.at, k->act_type, rows, 1, out / 2 } };
    double bytes = 2.0 * (double)(rows * out * k->act_bytes);
    printf("{\"operation\":\"copy\",\"GB_per_second\":%.1f}\n", bytes / seconds(copy, &c) / 1e9);
    struct linear l = measured_nf4(in, out);
    struct multiplying m = { { &l, 1, 0 }, random_mat(rows, in), y, rows };
    bytes = (double)count * (0.5 + 1.0 / 64 + 4.0 / 16384 + (double)k->act_bytes);
    printf("{\"operation\":\"NF4 weights prepared\",\"GB_per_second\":%.1f}\n",
           bytes / seconds(prepare, &m) / 1e9);
    printf("{\"operation\":\"linear %lld x %lld x %lld\",\"TFLOP_per_second\":%.2f}\n",
           (long long)rows, (long long)in, (long long)out,
           2.0 * (double)rows * (double)count / seconds(multiply, &m) / 1e12);
}

static void measure_attention(int64_t rows)
{
    int64_t heads = 32 / scale > 0 ? 32 / scale : 1, width = heads * 128;
    struct shape shape = shape_of(rows, width, width);
    shape.has_backward = true;
    measured_reserve(shape);
    int32_t *first = calloc((size_t)rows, sizeof *first), *starts;
    if (!first) die(STATUS_FAILED, "out of memory");
    starts = measured_bytes((size_t)rows * sizeof *starts);
    k->upload(dev, starts, first, (size_t)rows * sizeof *starts);
    free(first);
    struct attending a = { .q = random_mat(rows, width),
                           .key = random_mat(rows, width),
                           .v = random_mat(rows, width),
                           .o = random_mat(rows, width),
                           .dout = random_mat(rows, width),
                           .dq = random_mat(rows, width),
                           .dk = random_mat(rows, width),
                           .dv = random_mat(rows, width),
                           .lse = measured_bytes((size_t)(rows * heads) * sizeof(float)),
                           .starts = { starts, starts, heads },
                           .rows = rows,
                           .heads = heads };
    /* The forward computes two products of the scores' lower triangle, the backward five. */
    double work = 2.0 * (double)rows * (double)rows * (double)width / 2;
    double forward = seconds(attend, &a), backward = seconds(attend_back, &a);
    printf("{\"operation\":\"attention\",\"tokens\":%lld,\"forward_TFLOP_per_second\":%.2f,"
           "\"backward_TFLOP_per_second\":%.2f}\n",
           (long long)rows, 2 * work / forward / 1e12, 5 * work / backward / 1e12);
    struct mat *all[] = { &a.q, &a.key, &a.v, &a.o, &a.dout, &a.dq, &a.dk, &a.dv };
    for (int i = 0; i < 8; i++)
        k->release(dev, all[i]->at, (size_t)(rows * width * k->act_bytes));
    k->release(dev, a.lse, (size_t)(rows * heads) * sizeof(float));
    k->release(dev, starts, (size_t)rows * sizeof *starts);
}

/* Measures the operations on one row, as in decoding. The rate counts the bytes of the weights, or
 * of a cache of 8192 keys and values. */
static void measure_decoding(void)
{
    int64_t in = 4096 / scale, out = 11008 / scale, keys = 8192 / scale, heads = in / 128;
    size_t count = (size_t)(in * out);
    if (!heads) return;
    struct shape shape = shape_of(8, in, out);
    shape.keys = keys;
    measured_reserve(shape);
    struct linear l = measured_nf4(in, out);
    struct multiplying m = { { &l, 1, 0 }, random_mat(1, in), random_mat(1, out), 1 };
    prepare(&m);
    double bytes = (double)count * (0.5 + 1.0 / 64 + 4.0 / 16384);
    printf("{\"operation\":\"one row by NF4 weights\",\"GB_per_second\":%.1f}\n",
           bytes / seconds(multiply, &m) / 1e9);
    int32_t *span = measured_bytes(sizeof *span);
    k->zero(dev, span, sizeof *span);
    struct mat kv = random_mat(64, 2 * in);
    for (int64_t share = 1; share <= 4 && share <= heads; share *= 4) {
        struct attending a = { .q = random_mat(1, in),
                               .o = random_mat(1, in),
                               .lse = measured_bytes((size_t)heads * sizeof(float)),
                               .starts = { span, span, heads },
                               .cache = { NULL, k->cache_type, keys, heads / share, 128 },
                               .rows = 1,
                               .heads = heads };
        size_t size = (size_t)cache_elements(&a.cache) * (k->cache_type == DTYPE_F32 ? 4 : 2);
        a.cache.at = measured_bytes(size);
        for (int64_t first = 0; first < keys; first += 64)
            k->cache_rows(dev, &a.cache, first, kv, keys - first < 64 ? keys - first : 64);
        printf("{\"operation\":\"one row of attention, %lld keys, %lld heads a key\","
               "\"GB_per_second\":%.1f}\n",
               (long long)keys, (long long)share, (double)size / seconds(attend_cached, &a) / 1e9);
    }
}

int main(int argc, char **argv)
{
    scale = measured_open("kernels", argc, argv);
    k = measured, dev = measured_device;
    measure_linear();
    for (int64_t rows = 2048; rows <= 16384; rows *= 2)
        measure_attention(rows / scale);
    measure_decoding();
    k->close(dev);
    return 0;
}
