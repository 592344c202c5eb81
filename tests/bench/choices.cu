/* choices [SCALE] - measures alternatives to the choices of the CUDA backend, as JSON lines. It
 * compares shapes of attention's tiles. For the products of a 7B it compares cuBLASLt's first
 * answer, which the backend uses, with the fastest of eight. The program fails if attention differs
 * from its first variant by more than the rounding of bf16. SCALE 1 (default) is 8192 tokens of 32
 * heads; larger scales divide this, for the emulation. */
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/attention_mma.cu"
#include "kernels/cuda/gemm_cublaslt.cu"

extern "C" {
#include "lib/cli/die.h"
#include "tests/bench/measured.h"
}

static int64_t scale = 1;

/* some() returns random elements, the same ones for every operand. result() returns memory for a
 * result. */
static elem *some(int64_t rows, int64_t cols)
{
    static elem *pool;
    const int64_t size = 8192 * 22016 / scale;
    if (!pool) pool = (elem *)measured_mat(1, size, size).at;
    must(rows * cols <= size);
    return pool;
}
static elem *result(int64_t rows, int64_t cols)
{
    return (elem *)measured_bytes((size_t)(rows * cols) * sizeof(elem));
}

/* ---- attention ---- */

/* Starts attention on the device. Returns false if this variant does not support the sizes. */
typedef bool launcher(struct device *, const attention &);

struct run {
    const attention *a;
    launcher *launch;
};

static void attend(void *arg)
{
    const run *r = (const run *)arg;
    r->launch(measured_device, *r->a);
}

/* Returns the largest difference from the first call's result. The elements are at most about 1. */
static double difference(const elem *at, size_t count, float *first, bool is_first)
{
    elem *now = (elem *)malloc(count * sizeof *now);
    double most = 0;
    measured->download(measured_device, now, at, count * sizeof *now);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)now[i] << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        if (is_first) first[i] = x;
        double off = fabs((double)x - (double)first[i]);
        if (!(off <= most)) most = off;
    }
    free(now);
    return most;
}

struct choice {
    const char *tiles;
    size_t shared;
    launcher *launch;
};

/* Counts the operations of products over a triangle: two products in the forward, three in dq, four
 * in dk and dv. */
static void compare(const char *what, const attention &a, int products, const elem *at,
                    const choice *choices, int count)
{
    size_t n = (size_t)a.rows * (size_t)a.heads * 128;
    float *first = (float *)malloc(n * sizeof *first);
    double work = products * (double)a.rows * (double)a.rows * a.heads * 128;
    for (int i = 0; i < count; i++) {
        run r = { &a, choices[i].launch };
        if ((size_t)measured_device->shared_bytes < choices[i].shared) continue;
        if (!choices[i].launch(measured_device, a)) continue;
        double s = measured_seconds(attend, &r, scale > 1 ? 0 : 0.02);
        double off = difference(at, n, first, i == 0);
        if (!(off <= 0.01))
            die(STATUS_FAILED, "%s, %s: %g from the first", what, choices[i].tiles, off);
        printf("{\"choice\":\"%s\",\"of\":\"%s\",\"tokens\":%d,\"TFLOP_per_second\":%.4g}\n",
               choices[i].tiles, what, a.rows, work / s / 1e12);
    }
    free(first);
}

template <void (*LAUNCH_)(struct device *, const attention &)>
static bool always(struct device *dev, const attention &a)
{
    LAUNCH_(dev, a);
    return true;
}

/* clang-format off */
#define FWD(keys, warps, m)                                                        \
    { #keys " keys, " #warps " warps of " #m " x 16 rows",                         \
      fwd_bytes(128, keys, warps, m), always<launch_fwd<128, false, keys, warps, m>> }
#define DQ(keys, warps, m, stages)                                                 \
    { #keys " keys, " #warps " warps of " #m " x 16 rows, stages " #stages,        \
      dq_bytes(128, keys, warps, m, stages), always<launch_dq<128, false, keys, warps, m, stages>> }
#define DKDV(queries, warps)                                                       \
    { #queries " queries, " #warps " warps of 16 keys",                            \
      dkdv_bytes(128, queries, warps), always<launch_dkdv<128, false, queries, warps>> }
#define HOPPER_(launch) { "Hopper's", 0, launch }
/* clang-format on */

static const choice forward[] = { FWD(64, 4, 2), FWD(64, 4, 1),  FWD(32, 4, 2),
                                  FWD(64, 8, 1), FWD(128, 4, 1), HOPPER_(wgmma_fwd) };
static const choice dq[] = { DQ(32, 4, 2, 2), DQ(64, 8, 1, 2), DQ(64, 8, 1, 1),  DQ(64, 4, 1, 1),
                             DQ(32, 8, 1, 2), DQ(64, 4, 1, 2), HOPPER_(wgmma_dq) };
static const choice dkdv[] = { DKDV(64, 8), DKDV(32, 8), DKDV(16, 4),
                               DKDV(64, 4), DKDV(32, 4), HOPPER_(wgmma_dkdv) };

static void measure_attention(int rows)
{
    int heads = (int)max_i64(1, 32 / scale), width = heads * 128;
    attention a = {};
    int32_t *starts = (int32_t *)measured_bytes((size_t)rows * sizeof *starts); /* zeros: causal */
    row_stats *stats = (row_stats *)measured_bytes(sizeof *stats * (size_t)rows * (size_t)heads);
    a.q = some(rows, width), a.k = some(rows, width), a.v = some(rows, width);
    a.dout = some(rows, width), a.o = result(rows, width);
    a.dq = result(rows, width), a.dk = result(rows, width), a.dv = result(rows, width);
    a.q_stride = a.k_stride = a.v_stride = a.dout_stride = a.o_stride = width;
    a.dq_stride = a.dk_stride = a.dv_stride = width;
    a.lse = (float *)measured_bytes(sizeof(float) * (size_t)rows * (size_t)heads);
    a.stats = stats; /* zeros: the weights are then e^score, which takes the same time */
    a.low_heads = a.high_heads = starts;
    a.rows = rows, a.heads = a.kv_heads = heads, a.head_dim = 128;
    a.scale = 1 / sqrtf(128);
    compare("forward", a, 2, a.o, forward, sizeof forward / sizeof *forward);
    compare("dq", a, 3, a.dq, dq, sizeof dq / sizeof *dq);
    compare("dk and dv", a, 4, a.dk, dkdv, sizeof dkdv / sizeof *dkdv);
}

/* ---- products ---- */

struct multiplied {
    const struct gemm *p;
    const gemm_plan *a;
};

static void multiply_once(void *arg)
{
    const multiplied *m = (const multiplied *)arg;
    check(measured_device, run_plan(measured_device, m->p, m->a), m->p);
}

static void measure_product(const char *what, bool a_transposed, bool b_transposed, bool is_f32,
                            int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb)
{
    struct gemm p = {};
    cublasLtMatmulHeuristicResult_t results[8];
    int count = 0, fastest = 0;
    p.a_transposed = a_transposed, p.b_transposed = b_transposed, p.is_f32 = is_f32;
    p.m = m, p.n = n, p.k = k, p.lda = lda, p.ldb = ldb, p.ldc = p.ldd = n;
    p.alpha = 1, p.beta = is_f32 ? 1 : 0;
    p.a = some(a_transposed ? k : m, lda), p.b = some(b_transposed ? n : k, ldb);
    p.d = measured_bytes((size_t)(m * n) * (is_f32 ? 4 : sizeof(elem)));
    p.c = p.d;
    gemm_plan a = {};
    gemm_shape q = gemm_shape_of(&p);
    cublasStatus_t status = ask_heuristic(measured_device->gemm_plans->lt, &a, q, results,
                                          sizeof results / sizeof *results, &count);
    check(measured_device, status, &p);
    double taken = 0, best = 0;
    for (int i = 0; i < count; i++) {
        a.algorithm = results[i].algo;
        multiplied arg = { &p, &a };
        double s = measured_seconds(multiply_once, &arg, scale > 1 ? 0 : 0.02);
        if (!i) taken = s;
        if (!i || s < best) best = s, fastest = i;
    }
    double work = 2 * (double)m * (double)n * (double)k / 1e12;
    printf("{\"choice\":\"cuBLASLt\",\"of\":\"%s\",\"m\":%lld,\"n\":%lld,\"k\":%lld,"
           "\"first_TFLOP_per_second\":%.4g,\"fastest_TFLOP_per_second\":%.4g,\"fastest\":%d,"
           "\"of_answers\":%d}\n",
           what, (long long)m, (long long)n, (long long)k, work / taken, work / best, fastest,
           count);
    destroy_plan(&a);
}

static void measure_products(int64_t rows)
{
    int64_t dim = 4096 / scale, ffn = 11008 / scale / 8 * 8, r = 64 / scale;
    const struct {
        const char *name;
        int64_t count, in, out;
    } groups[] = { { "q k v", 3, dim, dim },
                   { "o", 1, dim, dim },
                   { "up gate", 2, dim, ffn },
                   { "down", 1, ffn, dim } };
    for (const auto &g : groups) {
        char what[64];
        int64_t outs = g.count * g.out, ranks = g.count * r, width = g.in + ranks;
        snprintf(what, sizeof what, "%s forward", g.name);
        measure_product(what, false, true, false, rows, outs, width, width, width);
        snprintf(what, sizeof what, "%s to x", g.name);
        measure_product(what, false, false, false, rows, g.in, outs, outs, width);
        snprintf(what, sizeof what, "%s to u", g.name);
        measure_product(what, false, false, false, rows, ranks, outs, outs, width);
        snprintf(what, sizeof what, "%s to B", g.name);
        measure_product(what, true, false, true, g.out, r, rows, outs, width);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) scale = strtoll(argv[1], NULL, 10);
    measured_begin("choices", &kernels_cuda);
    measured_reserve(small_shape(8, 8)); /* cuBLASLt's workspace */
    for (int rows = 2048; rows <= 8192; rows *= 2) {
        if (rows != 4096) measure_attention((int)(rows / scale));
        measure_products(rows / scale);
    }
    measured->close(measured_device);
    return 0;
}
