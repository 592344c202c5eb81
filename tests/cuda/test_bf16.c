/* The CUDA backend in bf16 or f16, on a GPU or emulated, is compared with double precision on the
 * same rounded inputs, and with the CPU's kernels. All data goes through upload and download. */
#include "lib/common/bf16.h"
#include "model/batch.h"
#include "tests/lib/backend.h"

#include <math.h>
#include <unistd.h>

static struct fail why;
static const struct kernels *cpu;
static struct device *cpu_dev;

/* ---- values on the device ---- */

enum { ROOM = 512 };
static struct {
    void *at;
    size_t bytes;
} taken[ROOM];
static int taken_count;

static void *device_bytes(const void *from, size_t bytes)
{
    void *at;
    assert_true(taken_count < ROOM);
    assert_int_equal(k->alloc(dev, &at, bytes, &why), 0);
    if (from) k->upload(dev, at, from, bytes);
    taken[taken_count].at = at;
    taken[taken_count++].bytes = bytes;
    return at;
}

static void give_all_back(void)
{
    assert_int_equal(k->sync(dev, &why), 0);
    while (taken_count)
        k->release(dev, taken[taken_count - 1].at, taken[taken_count - 1].bytes), taken_count--;
}

/* Returns values in ±scale that both bf16 and f16 represent exactly. The smallest positive f16 is
 * 2^-24. */
static double *draw(size_t count, double scale)
{
    double *x = check_doubles(NULL, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = (double)bf16_to_float(bf16_from_float((float)(scale * check_random())));
        x[i] = rint(x[i] * 0x1p24) * 0x1p-24;
    }
    return x;
}

static float *floats_of(const double *x, size_t count)
{
    float *f = malloc((count + 1) * sizeof *f);
    for (size_t i = 0; i < count; i++)
        f[i] = (float)x[i];
    return f;
}

static void put_at(struct mat m, const double *x, int64_t rows, int64_t cols)
{
    float *host = floats_of(x, (size_t)(rows * cols));
    k->cast_in(dev, m, device_bytes(host, (size_t)(rows * cols) * 4), rows, cols);
    assert_int_equal(k->sync(dev, &why), 0);
    free(host);
}

static struct mat put(const double *x, int64_t rows, int64_t cols, int64_t stride)
{
    struct mat m = { device_bytes(NULL, (size_t)(rows * stride * k->act_bytes)), stride };
    put_at(m, x, rows, cols);
    return m;
}

static float *put_floats(const double *x, size_t count)
{
    float *host = floats_of(x, count), *at = device_bytes(host, count * 4);
    assert_int_equal(k->sync(dev, &why), 0);
    free(host);
    return at;
}

static void close_to(const char *what, struct mat got, const double *exact, int64_t rows,
                     int64_t cols, double bound)
{
    size_t count = (size_t)(rows * cols);
    float *at = device_bytes(NULL, count * 4), *host = malloc(count * 4);
    k->cast_out(dev, at, got, rows, cols);
    k->download(dev, host, at, count * 4);
    check_close(what, host, exact, count, bound);
    free(host);
}

static void floats_close_to(const char *what, const float *got, const double *exact, size_t count,
                            double bound)
{
    float *host = malloc(count * 4);
    k->download(dev, host, got, count * 4);
    check_close(what, host, exact, count, bound);
    free(host);
}

static void same_bits(struct mat a, struct mat b, int64_t rows, int64_t cols)
{
    size_t count = (size_t)(rows * cols);
    float *at = device_bytes(NULL, count * 4), *host[2] = { malloc(count * 4), malloc(count * 4) };
    for (int i = 0; i < 2; i++) {
        k->cast_out(dev, at, i ? b : a, rows, cols);
        k->download(dev, host[i], at, count * 4);
    }
    assert_memory_equal(host[0], host[1], count * 4);
    free(host[0]);
    free(host[1]);
}

/* ---- attention ---- */

struct attention_case {
    int64_t rows, heads, kv_heads, dim, past;
    const int32_t *first, *second;
    const double *q, *k, *v, *dout;
    double *o, *lse, *dq, *dk, *dv;
};

REFERENCE static void exact_head(const struct attention_case *c, int64_t h)
{
    int64_t wide = c->heads * c->dim, narrow = c->kv_heads * c->dim;
    int64_t kv = h * c->kv_heads / c->heads;
    double *p = malloc((size_t)(c->past + c->rows) * sizeof *p), scale = 1 / sqrt((double)c->dim);
    const int32_t *list = h < c->heads / 2 ? c->first : c->second;
    for (int64_t t = 0; t < c->rows; t++) {
        const double *q = c->q + t * wide + h * c->dim, *d = c->dout + t * wide + h * c->dim;
        double *o = c->o + t * wide + h * c->dim, top = -INFINITY, sum = 0, delta = 0;
        for (int64_t j = list[t]; j <= c->past + t; j++) {
            p[j] = 0;
            for (int64_t i = 0; i < c->dim; i++)
                p[j] += scale * q[i] * c->k[j * narrow + kv * c->dim + i];
            top = p[j] > top ? p[j] : top;
        }
        for (int64_t j = list[t]; j <= c->past + t; j++)
            sum += p[j] = exp(p[j] - top);
        c->lse[h * c->rows + t] = top + log(sum);
        for (int64_t j = list[t]; j <= c->past + t; j++)
            for (int64_t i = 0; i < c->dim; i++)
                o[i] += p[j] / sum * c->v[j * narrow + kv * c->dim + i];
        if (!c->dq) continue;
        for (int64_t i = 0; i < c->dim; i++)
            delta += o[i] * d[i];
        for (int64_t j = list[t]; j <= t; j++) {
            double dp = 0, weight = p[j] / sum;
            for (int64_t i = 0; i < c->dim; i++)
                dp += d[i] * c->v[j * narrow + kv * c->dim + i];
            double ds = weight * (dp - delta) * scale;
            for (int64_t i = 0; i < c->dim; i++) {
                c->dq[t * wide + h * c->dim + i] += ds * c->k[j * narrow + kv * c->dim + i];
                c->dk[j * narrow + kv * c->dim + i] += ds * q[i];
                c->dv[j * narrow + kv * c->dim + i] += weight * d[i];
            }
        }
    }
    free(p);
}

static int64_t window = INT64_MAX; /* the most keys that a row sees, including its own */

static int32_t *put_list(int32_t *list, int64_t rows, int64_t sample, int64_t group, int64_t shift,
                         int64_t from, int64_t past)
{
    for (int64_t t = 0; t < rows; t++) {
        int64_t base = t / sample * sample, at = t - base, start = 0;
        if (group) start = at < shift ? 0 : (at - shift) / group * group + shift;
        start += from + base;
        list[t] = (int32_t)(start > past + t + 1 - window ? start : past + t + 1 - window);
    }
    return device_bytes(list, (size_t)rows * sizeof *list);
}

/* If past is not 0, `group` is the first key of the second half of the heads. */
static void one_attention(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim,
                          int64_t sample, int64_t group, int64_t past)
{
    int64_t wide = heads * dim, narrow = kv_heads * dim, all = past + rows;
    size_t n = (size_t)(rows * wide), m = (size_t)(all * narrow);
    int32_t first[1024], second[1024];
    struct attention_case c = { rows,
                                heads,
                                kv_heads,
                                dim,
                                past,
                                first,
                                second,
                                draw(n, 2),
                                draw(m, 2),
                                draw(m, 1),
                                draw(n, 1),
                                check_doubles(NULL, n),
                                check_doubles(NULL, (size_t)(rows * heads)),
                                past ? NULL : check_doubles(NULL, n),
                                check_doubles(NULL, m),
                                check_doubles(NULL, m) };
    backend_reserve((struct shape){ .rows = all,
                                    .chunk = all,
                                    .keys = all,
                                    .dim = wide,
                                    .ffn = 8,
                                    .heads = heads,
                                    .kv_heads = kv_heads,
                                    .head_dim = dim,
                                    .vocab = 8,
                                    .has_backward = !past });
    int64_t from = past ? group : 0, size = past ? 0 : group;
    struct attention_starts starts = { put_list(first, rows, sample, size, 0, 0, past),
                                       put_list(second, rows, sample, size, size / 2, from, past),
                                       heads / 2 };
    for (int64_t h = 0; h < heads; h++)
        exact_head(&c, h);
    struct mat q = put(c.q, rows, wide, wide + 8), key = put(c.k, all, narrow, narrow + 16);
    struct mat v = put(c.v, all, narrow, narrow), d = put(c.dout, rows, wide, wide);
    struct mat o = put(c.q, rows, wide, wide);
    float *lse = put_floats(c.lse, (size_t)(rows * heads));
    float scale = (float)(1 / sqrt((double)dim));
    k->zero(dev, lse, (size_t)(rows * heads) * 4);
    if (past) {
        struct cache cache = { NULL, k->cache_type, all + 3, kv_heads, dim };
        /* A row has first the keys, then the values. */
        struct mat kv = put(c.k, all, narrow, 2 * narrow + 8);
        put_at(mat_columns(k, kv, narrow), c.v, all, narrow);
        cache.at = device_bytes(NULL, (size_t)(cache_elements(&cache) * k->act_bytes));
        k->cache_rows(dev, &cache, 0, kv, past);
        k->cache_rows(dev, &cache, past, mat_rows(k, kv, past), rows);
        k->attention_decode(dev, o, lse, q, &cache, starts, past, rows, heads, scale);
    } else {
        k->attention_fwd(dev, o, lse, q, key, v, starts, rows, heads, kv_heads, dim, scale);
    }
    close_to("attention_fwd o", o, c.o, rows, wide, 6e-3);
    floats_close_to("attention_fwd lse", lse, c.lse, (size_t)(rows * heads), 1e-5);
    if (!past && rows > 1) { /* with one row the softmax has no gradient */
        /* The gradients replace the inputs, as when the model calls it. */
        k->attention_bwd(dev, o, key, v, d, o, lse, q, key, v, starts, rows, heads, kv_heads, dim,
                         scale);
        close_to("attention_bwd dq", o, c.dq, rows, wide, 1.2e-2);
        close_to("attention_bwd dk", key, c.dk, rows, narrow, 1.2e-2);
        close_to("attention_bwd dv", v, c.dv, rows, narrow, 1.2e-2);
    }
    give_all_back();
    check_free_all();
}

/* Without the tensor-core instruction m16n8k8 a GPU has only the plain kernels. They have no tiles
 * in shared memory, so a long sequence tests nothing more. */
static bool keeps_tiles(void)
{
    const char *capability = getenv("EMULATION_CAPABILITY");
    return !capability || strcmp(capability, "75") >= 0;
}

/* With WIDE only heads of more than 64 columns are tested. A GPU with less shared memory has other
 * tiles for them, and another run has tested the kernels of the other heads already. */
static bool only_wide(void) { return getenv("WIDE"); }

/* Tests every variant of a tile, one or several query heads for each key head, incomplete last
 * tiles, groups of S2-Attn, samples, and a cache. */
static void test_attention(void **state)
{
    (void)state;
    static const int64_t dims[] = { 32, 64, 128 };
    bool is_long = keeps_tiles();
    for (int i = only_wide() ? 2 : 0; i < 3; i++) {
        one_attention(1, 2, 2, dims[i], 1, 0, 0);
        one_attention(150, 2, 1, dims[i], 150, 0, 0);
        one_attention(133, 4, 2, dims[i], 70, 24, 0);
        /* The first shifted head is the second one of its key head. */
        one_attention(70, 9, 3, dims[i], 70, 24, 0);
        if (is_long || !i) {
            one_attention(260, 2, 1, dims[i], 100, 0, 0); /* a sample ends inside a tile of keys */
            one_attention(390, 2, 1, dims[i], 390, 0, 0); /* every place for a tile is used again */
        }
        one_attention(70, 2, 2, dims[i], 70, 0, 61);
        one_attention(1, 2, 2, dims[i], 1, 0, 255);
        one_attention(1, 6, 1, dims[i], 1, 290, 600);
        /* More query heads per key head than a product has columns. */
        one_attention(1, 20, 2, dims[i], 1, 0, 300);
    }
    /* Heads that are padded: their size is a multiple of 16 bytes, or just an even number of
     * columns. */
    one_attention(133, 4, 2, 96, 70, 24, 0);
    one_attention(70, 2, 2, 80, 70, 0, 61);
    one_attention(150, 2, 1, 100, 150, 0, 0);
    one_attention(133, 4, 2, 100, 70, 24, 0);
    one_attention(70, 2, 2, 100, 70, 0, 61);
    one_attention(1, 2, 2, 100, 1, 0, 255);
    one_attention(1, 6, 1, 100, 1, 290, 600);
    if (only_wide()) return;
    one_attention(70, 9, 3, 22, 70, 24, 0);
    one_attention(64, 2, 2, 48, 64, 0, 0);
    one_attention(1, 3, 1, 2, 1, 0, 300);
    one_attention(33, 2, 1, 136, 33, 0, 0); /* the plain kernels */
    one_attention(1, 2, 1, 254, 1, 0, 300);
}

/* Windows that end inside a tile or span several tiles, in samples and in S2's groups. With a
 * cache, the rows see nothing in its first splits. */
static void test_windows(void **state)
{
    (void)state;
    static const int64_t dims[] = { 32, 64, 128 };
    for (int i = only_wide() ? 2 : 0; i < 3; i++) {
        window = 5;
        one_attention(150, 2, 1, dims[i], 150, 0, 0);
        one_attention(70, 2, 2, dims[i], 70, 0, 300);
        window = 70;
        if (keeps_tiles() || !i) one_attention(300, 2, 1, dims[i], 300, 0, 0);
        one_attention(133, 4, 2, dims[i], 90, 48, 0);
        window = 300;
        one_attention(1, 6, 1, dims[i], 1, 0, 700);
        one_attention(1, 2, 2, dims[i], 1, 0, 601);
    }
    window = 9;
    one_attention(64, 2, 2, 48, 64, 0, 0);  /* padded */
    one_attention(64, 2, 2, 136, 64, 0, 0); /* the plain kernels */
    one_attention(1, 2, 1, 48, 1, 0, 530);
    window = INT64_MAX;
}

/* ---- rows ---- */

static void test_rows(void **state)
{
    (void)state;
    enum { ROWS = 5, DIM = 520 };
    size_t n = ROWS * DIM;
    double *x = draw(n, 2), *gain = draw(DIM, 1), *dy = draw(n, 1), *dx0 = draw(n, 1);
    double *y = check_doubles(NULL, n), *dx = check_doubles(NULL, n);
    for (int t = 0; t < ROWS; t++) {
        double square = 0, mean = 0;
        for (int i = 0; i < DIM; i++)
            square += x[t * DIM + i] * x[t * DIM + i] / DIM;
        double r = 1 / sqrt(square + 1e-5);
        for (int i = 0; i < DIM; i++)
            mean += gain[i] * dy[t * DIM + i] * x[t * DIM + i] * r / DIM;
        for (int i = 0; i < DIM; i++) {
            y[t * DIM + i] = x[t * DIM + i] * r * gain[i];
            dx[t * DIM + i] =
                dx0[t * DIM + i] + r * (gain[i] * dy[t * DIM + i] - x[t * DIM + i] * r * mean);
        }
    }
    struct mat mx = put(x, ROWS, DIM, DIM + 8), my = put(x, ROWS, DIM, DIM);
    struct mat mdy = put(dy, ROWS, DIM, DIM), mdx = put(dx0, ROWS, DIM, DIM);
    float *g = put_floats(gain, DIM), *rstd = put_floats(gain, ROWS);
    k->rmsnorm_fwd(dev, my, rstd, mx, g, ROWS, DIM, 1e-5f);
    close_to("rmsnorm_fwd", my, y, ROWS, DIM, 0x1.02p-8);
    k->rmsnorm_bwd(dev, mdx, NULL, mdy, mx, rstd, g, ROWS, DIM);
    close_to("rmsnorm_bwd", mdx, dx, ROWS, DIM, 0x1.02p-8);
    /* SwiGLU: gate x, up dy, gradient dx0. */
    double *s = check_doubles(NULL, n), *dgate = check_doubles(NULL, n),
           *dup = check_doubles(NULL, n);
    for (size_t i = 0; i < n; i++) {
        double sigma = 1 / (1 + exp(-x[i]));
        s[i] = x[i] * sigma * dy[i];
        dgate[i] = dx0[i] * dy[i] * sigma * (1 + x[i] * (1 - sigma));
        dup[i] = dx0[i] * x[i] * sigma;
    }
    struct mat gate = put(x, ROWS, DIM, DIM), up = put(dy, ROWS, DIM, DIM);
    struct mat ds = put(dx0, ROWS, DIM, DIM);
    k->swiglu_fwd(dev, my, gate, up, ROWS, DIM);
    close_to("swiglu_fwd", my, s, ROWS, DIM, 0x1.02p-8);
    k->swiglu_bwd(dev, ds, gate, up, ROWS, DIM);
    same_bits(ds, my, ROWS, DIM);
    close_to("swiglu_bwd dgate", gate, dgate, ROWS, DIM, 0x1.02p-8);
    close_to("swiglu_bwd dup", up, dup, ROWS, DIM, 0x1.02p-8);
    give_all_back();
    check_free_all();
}

/* ---- linear layers with adapters under dropout ---- */

enum { LINEARS = 3 };

/* Tests u, dx, dA and dB of a group of linear layers. The dropout masks must equal the CPU's. */
static void one_group(int64_t rows, int64_t in, int count, const int64_t *ranks, float p)
{
    int64_t outs = 0, all = 0, out[LINEARS] = { 24, 16, 40 };
    struct linear l[LINEARS];
    struct dropout drop = { .key = 5, .p = p, .first_row = 7 };
    uint8_t *keep = malloc((size_t)(rows * in));
    for (int i = 0; i < count; i++)
        outs += out[i], all += ranks[i];
    int64_t stride = (in + all + 7) / 8 * 8 + 8, du_stride = (all + 8) / 8 * 8;
    double *x = draw((size_t)(rows * in), 2), *dy = draw((size_t)(rows * outs), 1);
    double *u = check_doubles(NULL, (size_t)(rows * all));
    double *du = check_doubles(NULL, (size_t)(rows * all));
    double *dx = check_doubles(NULL, (size_t)(rows * in));
    double *da[LINEARS], *db[LINEARS];
    const double scale = 0.5;
    for (int64_t i = 0, y_at = 0, u_at = 0; i < count; y_at += out[i], u_at += ranks[i++]) {
        int64_t r = ranks[i];
        double *w = draw((size_t)(out[i] * in), 1), *a = draw((size_t)(r * in), 1);
        double *b = draw((size_t)(out[i] * r), 1);
        da[i] = draw((size_t)(r * in), 1);
        db[i] = draw((size_t)(out[i] * r), 1);
        l[i] = (struct linear){ .type = DTYPE_F32,
                                .weight = put_floats(w, (size_t)(out[i] * in)),
                                .out = out[i],
                                .in = in,
                                .rank = r,
                                .scale = (float)scale,
                                .dropout_stream = (uint32_t)(3 + i),
                                .a = put_floats(a, (size_t)(r * in)),
                                .b = put_floats(b, (size_t)(out[i] * r)),
                                .da_acc = put_floats(da[i], (size_t)(r * in)),
                                .db_acc = put_floats(db[i], (size_t)(out[i] * r)) };
        cpu->dropout_mask(cpu_dev, keep, l[i].dropout_stream, rows, in, drop);
        for (int64_t t = 0; t < rows; t++) {
            const double *row = x + t * in, *d = dy + t * outs + y_at;
            for (int64_t o = 0; o < out[i]; o++)
                for (int64_t j = 0; j < in; j++)
                    dx[t * in + j] += d[o] * w[o * in + j];
            for (int64_t c = 0; c < r; c++) {
                double *uc = &u[t * all + u_at + c], *duc = &du[t * all + u_at + c];
                for (int64_t j = 0; j < in; j++)
                    if (keep[t * in + j]) *uc += row[j] / (1 - (double)p) * a[c * in + j];
                for (int64_t o = 0; o < out[i]; o++) {
                    *duc += scale * d[o] * b[o * r + c];
                    db[i][o * r + c] += scale * d[o] * *uc;
                }
                for (int64_t j = 0; j < in; j++) {
                    if (!keep[t * in + j]) continue;
                    dx[t * in + j] += *duc * a[c * in + j] / (1 - (double)p);
                    da[i][c * in + j] += *duc * row[j] / (1 - (double)p);
                }
            }
        }
    }
    struct group g = { l, count, 1, false };
    struct shape shape = small_shape(rows, in);
    shape.slot[1] = (struct slot_shape){ outs, in, all };
    shape.has_backward = true;
    shape.dropout = p;
    backend_reserve(shape);
    struct mat mx = put(x, rows, in, stride), mdy = put(dy, rows, outs, outs), dys[LINEARS];
    struct mat mdx = put(x, rows, in, in), mdu = put(u, rows, all, du_stride);
    for (int64_t i = 0, at = 0; i < count; at += out[i++])
        dys[i] = mat_columns(k, mdy, at);
    k->linear_prepare(dev, &g);
    k->lora_down(dev, mx, &g, rows, drop);
    close_to("u", mat_columns(k, mx, in), u, rows, all, 8e-3);
    close_to("x is as it was", mx, x, rows, in, 1e-9);
    k->linear_bwd_input(dev, mdx, mdu, dys, &g, rows, drop);
    close_to("du", mdu, du, rows, all, 8e-3);
    close_to("dx", mdx, dx, rows, in, 1.2e-2);
    k->linear_bwd_weight(dev, &g, dys, mdu, mx, rows, drop);
    for (int i = 0; i < count; i++) {
        floats_close_to("dA", l[i].da_acc, da[i], (size_t)(ranks[i] * in), 1.2e-2);
        floats_close_to("dB", l[i].db_acc, db[i], (size_t)(out[i] * ranks[i]), 1.2e-2);
    }
    free(keep);
    give_all_back();
    check_free_all();
}

/* Groups have one to three linear layers. Ranks are multiples of a tile or not, exceed what one
 * launch computes, or are 0. There are more columns and rows than one step, tile or piece of a
 * kernel has. Some cases have no dropout, or shapes that only the plain kernels support.
 */
static void test_linears(void **state)
{
    (void)state;
    static const int64_t wide[] = { 64, 64, 64 }, mixed[] = { 16, 8, 40 }, gap[] = { 8, 0, 64 };
    static const int64_t odd[] = { 4, 5, 6 }, high[] = { 136, 64, 72 };
    one_group(70, 128, 3, wide, 0.1f);
    one_group(33, 1088, 1, wide, 0.1f);
    one_group(9, 2112, 3, wide, 0.1f);
    one_group(1100, 64, 3, mixed, 0.2f);
    one_group(70, 128, 3, high, 0.1f);
    one_group(64, 192, 2, wide, 0.05f);
    one_group(130, 64, 3, mixed, 0.3f);
    one_group(9, 64, 3, gap, 0.1f);
    one_group(20, 64, 1, gap, 0.1f);
    one_group(20, 64, 3, odd, 0.1f);
    one_group(20, 72, 2, mixed, 0.1f);
    one_group(20, 128, 2, mixed, 0.7f);
    one_group(20, 128, 3, wide, 0);
    one_group(20, 37, 3, mixed, 0.1f); /* rows begin inside a block of masks */
    one_group(20, 37, 3, odd, 0);
}

/* ---- decoding: a few rows times the weights as they are stored ---- */

enum { FEW_OUT = 38 };

/* Tests y = residual + bias + x W^T + scale · u B^T for one kind of weights. Their values are w. */
static void few_of(struct linear l, const double *w, int64_t in, int64_t rows)
{
    enum { RANK = 8 };
    double *x = draw((size_t)(rows * in), 1), *residual = draw((size_t)(rows * FEW_OUT), 1);
    double *a = draw((size_t)(RANK * in), 0.2), *b = draw(FEW_OUT * RANK, 1);
    double *bias = draw(FEW_OUT, 3);
    double *y = check_doubles(NULL, (size_t)(rows * FEW_OUT));
    double *plain = check_doubles(NULL, (size_t)(rows * FEW_OUT));
    for (int64_t t = 0; t < rows; t++) {
        double u[RANK] = { 0 };
        for (int r = 0; r < RANK; r++)
            for (int64_t i = 0; i < in; i++)
                u[r] += x[t * in + i] * a[r * in + i];
        for (int o = 0; o < FEW_OUT; o++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += x[t * in + i] * w[o * in + i];
            plain[t * FEW_OUT + o] = sum;
            for (int r = 0; r < RANK; r++)
                sum += 0.5 * u[r] * b[o * RANK + r];
            y[t * FEW_OUT + o] = sum + residual[t * FEW_OUT + o] + bias[o];
        }
    }
    l.out = FEW_OUT, l.in = in, l.rank = RANK, l.scale = 0.5f;
    l.a = put_floats(a, (size_t)(RANK * in));
    l.b = put_floats(b, FEW_OUT * RANK);
    l.bias = put_floats(bias, FEW_OUT);
    struct linear bare = l;
    bare.rank = 0, bare.bias = NULL;
    struct group g = { &l, 1, 0, false };
    struct shape s = small_shape(rows, in);
    s.slot[0] = (struct slot_shape){ FEW_OUT, in, RANK };
    s.vocab = FEW_OUT;
    s.has_compact_weights = true;
    s.head_type = l.type == DTYPE_NF4 ? DTYPE_F32 : l.type;
    backend_reserve(s);
    struct mat mx = put(x, rows, in, in + RANK + 8);
    struct mat my = put(residual, rows, FEW_OUT, FEW_OUT + 2);
    k->linear_prepare(dev, &g);
    k->linear_fwd(dev, my, mx, &g, my, rows, (struct dropout){ 0 });
    close_to("few rows", my, y, rows, FEW_OUT, 8e-3);
    if (l.type != DTYPE_NF4) {
        float *logits = device_bytes(NULL, (size_t)(rows * FEW_OUT) * 4);
        k->head_logits(dev, logits, mx, &bare, rows);
        floats_close_to("few logits", logits, plain, (size_t)(rows * FEW_OUT), 4e-3);
    }
    give_all_back();
}

static void few_by_type(int64_t in, int64_t rows)
{
    size_t n = (size_t)(FEW_OUT * in), blocks = (n + 63) / 64;
    double *w = draw(n, 1), *rounded = check_doubles(NULL, n);
    for (size_t j = 0; j < n; j++) /* so that the nested scales differ */
        w[j] = ldexp(w[j], (int)(j / (size_t)in / 8));
    float *f = floats_of(w, n), *absmax = check_buffer(blocks), *y = check_buffer(n);
    uint16_t *half = (uint16_t *)check_buffer(n);
    few_of((struct linear){ .type = DTYPE_F32, .weight = put_floats(w, n) }, w, in, rows);
    for (int kind = DTYPE_BF16; kind <= DTYPE_F16; kind++) {
        for (size_t j = 0; j < n; j++) {
            half[j] = kind == DTYPE_BF16 ? bf16_from_float(f[j]) : f16_from_float(f[j]);
            rounded[j] =
                (double)(kind == DTYPE_BF16 ? bf16_to_float(half[j]) : f16_to_float(half[j]));
        }
        few_of((struct linear){ .type = (enum dtype)kind, .weight = device_bytes(half, n * 2) },
               rounded, in, rows);
    }
    uint8_t *codes = (uint8_t *)check_buffer(n), *nest = (uint8_t *)check_buffer(blocks);
    float *absmax_scale = check_buffer(8), offset = 0;
    cpu->nf4_codes(cpu_dev, codes, absmax, f, DTYPE_F32, (int64_t)n);
    for (int is_nested = 0; is_nested < 2; is_nested++) {
        if (is_nested) {
            cpu->nf4_offset(cpu_dev, &offset, absmax, (int64_t)blocks);
            cpu->nf4_nest(cpu_dev, nest, absmax_scale, absmax, offset, (int64_t)blocks);
        }
        cpu->nf4_dequantize(cpu_dev, y, codes, is_nested ? nest : NULL,
                            is_nested ? absmax_scale : absmax, offset, (int64_t)n);
        struct linear l = { .type = DTYPE_NF4,
                            .weight = device_bytes(codes, (n + 1) / 2),
                            .absmax = is_nested ? device_bytes(nest, blocks) : NULL,
                            .absmax_scale = is_nested ? device_bytes(absmax_scale, 32)
                                                      : device_bytes(absmax, blocks * 4),
                            .offset = is_nested ? offset : 0 };
        few_of(l, check_doubles(y, n), in, rows);
    }
    free(f);
    check_free_all();
}

/* There are three numbers of columns: two that the tiles of NF4 support and that are larger than
 * what a block's warps process at once, and one that they do not support. */
static void test_decoding_of_few_rows(void **state)
{
    (void)state;
    static const int64_t rows[] = { 1, 2, 3, 8, 9 };
    for (int i = 0; i < 5; i++) {
        few_by_type(1088, rows[i]);
        few_by_type(2304, rows[i]);
        few_by_type(37, rows[i]);
    }
}

/* ---- operations that must have the CPU's bits ---- */

static void same_bytes(const void *got, const void *exact, size_t bytes)
{
    void *host = malloc(bytes);
    k->download(dev, host, got, bytes);
    assert_memory_equal(host, exact, bytes);
    free(host);
}

static void test_operations_with_the_bits_of_the_cpu(void **state)
{
    (void)state;
    enum { N = 40000, STEPS = 3 };
    float *x = check_random_buffer(N), *m = check_buffer(N), *v = check_buffer(N);
    float *p = check_random_buffer(N), *scratch = check_buffer(N), *y = check_buffer(N);
    uint8_t *codes = (uint8_t *)check_buffer(N), *absmax = (uint8_t *)check_buffer(N);
    uint8_t *keep = (uint8_t *)check_buffer(N);
    float *absmax_scale = check_buffer(8), offset, theirs;
    struct dropout drop = { .key = 77, .p = 0.2f, .first_row = 3 };
    float *dx = device_bytes(x, N * 4), *dm = device_bytes(m, N * 4), *dv = device_bytes(v, N * 4);
    float *dp = device_bytes(p, N * 4), *dnested = device_bytes(NULL, 32);
    float *dscratch = device_bytes(NULL, N * 4);
    uint8_t *dcodes = device_bytes(NULL, N), *dabsmax = device_bytes(NULL, N);
    uint8_t *dkeep = device_bytes(NULL, N);
    cpu->nf4_codes(cpu_dev, codes, scratch, x, DTYPE_F32, N);
    cpu->nf4_offset(cpu_dev, &offset, scratch, N / 64);
    cpu->nf4_nest(cpu_dev, absmax, absmax_scale, scratch, offset, N / 64);
    k->nf4_codes(dev, dcodes, dscratch, dx, DTYPE_F32, N);
    k->nf4_offset(dev, &theirs, dscratch, N / 64);
    k->nf4_nest(dev, dabsmax, dnested, dscratch, theirs, N / 64);
    same_bytes(dcodes, codes, N / 2);
    same_bytes(dabsmax, absmax, N / 64);
    same_bytes(dnested, absmax_scale, 3 * 4);
    assert_true(theirs == offset);
    cpu->nf4_dequantize(cpu_dev, y, codes, absmax, absmax_scale, offset, N);
    k->nf4_dequantize(dev, dscratch, dcodes, dabsmax, dnested, offset, N);
    same_bytes(dscratch, y, N * 4);
    cpu->dropout_mask(cpu_dev, keep, 9, N / 40, 40, drop);
    k->dropout_mask(dev, dkeep, 9, N / 40, 40, drop);
    same_bytes(dkeep, keep, N);
    for (int step = 1; step <= STEPS; step++) {
        float *g = check_random_buffer(N), *dg = device_bytes(g, N * 4);
        double square, exact;
        cpu->fold(cpu_dev, g, x, N);
        k->fold(dev, dg, dx, N);
        same_bytes(dg, g, N * 4);
        cpu->sum_squares(cpu_dev, &exact, g, N);
        k->sum_squares(dev, &square, dg, N);
        assert_true(fabs(square - exact) < 1e-12 * exact);
        cpu->adamw(cpu_dev, p, m, v, g, N, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f, step, 0.5f);
        k->adamw(dev, dp, dm, dv, dg, N, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f, step, 0.5f);
        same_bytes(dp, p, N * 4);
        same_bytes(dg, g, N * 4);
    }
    give_all_back();
    check_free_all();
}

/* ---- a model ---- */

enum { SAMPLE = 48, MODEL_ROWS = 2 * SAMPLE };

#define SIZED(vocab, dim, ffn, more)                                                               \
    "{\"vocab_size\":" vocab ",\"hidden_size\":" dim ",\"intermediate_size\":" ffn ","             \
    "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,"                 \
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"initializer_range\":0.1,"                        \
    "\"max_position_embeddings\":64,\"tie_word_embeddings\":false,\"model_type\":" more "}"
/* A shape of this name has LoRA on embedding, head and q, under dropout. */
#define LORA "with LoRA"
static const char with_lora[] = LORA;
#define SHAPE(more) SIZED("96", "64", "112", more)
/* The shapes have the additions of each family. These are biases and a window in a layer; norms of
 * heads; a layer without RoPE; a window in all layers; factors that are not powers of two; norms
 * before and after attention and MLP; norms only after them, and of all heads together; fused
 * linear layers; longrope in a part of each head. Some sizes are not multiples of 8. */
static const char *const shapes[] = {
    SHAPE("\"llama\""),
    SHAPE("\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":9,\"max_window_layers\":1"),
    SHAPE("\"qwen3\",\"head_dim\":64"),
    SHAPE("\"smollm3\",\"no_rope_layer_interval\":2"),
    SHAPE("\"mistral\",\"sliding_window\":12,\"head_dim\":64"),
    SIZED("101", "51", "77", "\"llama\",\"head_dim\":22,\"attention_bias\":true"),
    SIZED("97", "60", "74", "\"llama\",\"head_dim\":100"),
    SHAPE("\"granite\",\"embedding_multiplier\":12.0,\"attention_multiplier\":0.1,"
          "\"residual_multiplier\":0.22,\"logits_scaling\":3.0,\"attention_bias\":true"),
    SHAPE("\"gemma3_text\",\"head_dim\":64,\"query_pre_attn_scalar\":50,\"sliding_window\":12,"
          "\"sliding_window_pattern\":2"),
    SHAPE("\"olmo2\",\"head_dim\":64"),
    SHAPE("\"llama\",\"_name_or_path\":\"" LORA "\""),
    SHAPE("\"phi3\",\"partial_rotary_factor\":0.75,\"original_max_position_embeddings\":32,"
          "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1,1,1,1,2,2,2,2,2,2],"
          "\"long_factor\":[1,1,1,1.5,2,2,3,4,5,6,7,8]},\"sliding_window\":20"),
    SIZED("97", "60", "74", "\"llama\",\"head_dim\":100,\"_name_or_path\":\"" LORA "\""),
};

struct one_step {
    float loss, *gradient;
    const struct parameters *p;
    struct model *m;
};

/* Gives every LoRA matrix numbers, because some begin as zeros. */
static void fill_adapters(struct model *m)
{
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        size_t count = (size_t)(t->rows * t->cols);
        if (t->kind == TRAINED_WEIGHT) continue;
        float *value = malloc(count * sizeof *value);
        for (size_t j = 0; j < count; j++)
            value[j] = (float)(((j * 2654435761u + (size_t)i) >> 7) % 64) / 128 - 0.25f;
        model_kernels(m)->upload(model_device(m), p->value + t->offset, value, count * 4);
        free(value);
    }
}

static void step_on(struct one_step *r, const char *shape, const char *device, bool keeps)
{
    bool has_lora = strstr(shape, with_lora);
    struct config c;
    struct batch b;
    uint32_t ids[SAMPLE], length = SAMPLE;
    struct attention_plan plan = { .group = 16 };
    assert_int_equal(config_parse(&c, shape, "shape", &why), 0);
    struct model_setup setup = { .method = METHOD_FULL,
                                 .is_training = true,
                                 .rank = has_lora ? 8 : 0,
                                 .alpha = 6,
                                 .targets = parts_of_role(ROLE_EMBEDDING) |
                                            parts_of_role(ROLE_HEAD) | 1u << PART_Q,
                                 .dropout = has_lora ? 0.25 : 0,
                                 .stored_layers = keeps ? STORES_ALL : 0,
                                 .inputs_on_host = !keeps,
                                 .outputs_on_host = !keeps,
                                 .moments_on_host = !keeps,
                                 .positions = 64,
                                 .rows = MODEL_ROWS,
                                 .chunk = 40,
                                 .device = device,
                                 .threads = 2 };
    assert_int_equal(model_open(&r->m, &setup, &c, NULL, 5, &why), 0);
    fill_adapters(r->m);
    assert_int_equal(batch_init(&b, MODEL_ROWS, &why), 0);
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < SAMPLE; i++)
            ids[i] = (uint32_t)((7 * i * i + 31 * s + i) % 96);
        struct sample one = {
            .ids = ids, .count = SAMPLE, .documents = &length, .document_count = 1
        };
        batch_add(&b, &one, &plan);
    }
    float nll[MODEL_ROWS], scale = 1.0f / (MODEL_ROWS - 2);
    model_forward(r->m, &b, (struct dropout){ .key = 3, .p = (float)setup.dropout });
    /* In f16 the gradients of these small models are too small for a normal number, unless they are
     * scaled, as `train` does it. */
    float loss_scale = model_kernels(r->m)->act_type == DTYPE_F16 ? 1024 : 1;
    if (model_loss(r->m, nll, scale * loss_scale, &why)) fail_msg("%s", why.text);
    model_backward(r->m);
    r->loss = 0;
    for (int i = 0; i < MODEL_ROWS; i++)
        r->loss += nll[i] * scale;
    r->p = model_parameters(r->m);
    r->gradient = malloc((size_t)r->p->count * 4);
    model_kernels(r->m)->download(model_device(r->m), r->gradient, r->p->gradient,
                                  (size_t)r->p->count * 4);
    for (int64_t i = 0; i < r->p->count; i++)
        r->gradient[i] /= loss_scale;
    batch_release(&b);
    config_release(&c);
}

static void end_step(struct one_step *r)
{
    free(r->gradient);
    model_close(r->m);
}

/* Returns the bound of a gradient's relative error.
 *
 * A value is rounded to 16 bits between two operations, with a relative error of at most u. If the
 * mantissas are uniform, the mean square of this error is (0.41 u)². The errors are independent, so
 * N of them add up to 0.41 u √N. In a layer of a LLaMA we count 26 roundings between input and
 * gradient: 14 in the forward (n, q, k, v, the rotated q and k, the probabilities, o, h, n, gate,
 * up, s and y), and 12 of their gradients. The head has 4. A Gemma's layer has 10 more: two
 * products before their norms, q and k after theirs, the two products again in the backward, and
 * the gradients of the products and of q and k. For a model of two layers the 56 roundings of a
 * LLaMA give 3.1 u, and the 76 of a Gemma 3.6 u; the bound is twice as much. An OLMo 2's layer has
 * fewer roundings than a Gemma's: it lacks two of a Gemma's norms.
 *
 * The errors that remain are roundings, and no fault: with the same sources the errors are 1e-5 in
 * f32 (test_families). In bf16 the errors are 7.9 times the errors in f16 (mean of 254 matrices),
 * as u is 8 times as large. The gradient of a bias of the keys is a small difference of large sums,
 * because this bias changes all scores of a row nearly equally. */
static double rounding_bound(const struct model *m, enum part part)
{
    double u = model_kernels(m)->act_type == DTYPE_F16 ? 0x1p-11 : 0x1p-8;
    int roundings = model_config(m)->has_post_norms ? 2 * 36 + 4 : 2 * 26 + 4;
    return (part == PART_K_BIAS ? 2 : 1) * 2 * 0.41 * u * sqrt(roundings);
}

/* Runs one step of a whole model. The loss and the gradient of every matrix are close to the CPU's.
 * The bits are the same the second time, in which activations are recomputed. */
static void one_model(const char *shape)
{
    struct one_step exact, got, again;
    step_on(&exact, shape, "cpu", true);
    step_on(&got, shape, check_device(), true);
    step_on(&again, shape, check_device(), false);
    assert_true(fabsf(got.loss - exact.loss) < 2e-3f * exact.loss);
    for (int64_t i = 0; i < exact.p->at_count; i++) {
        const struct trainable *t = &exact.p->at[i];
        double distance = 0, size = 0;
        for (int64_t j = t->offset; j < t->offset + t->rows * t->cols; j++) {
            double d = (double)got.gradient[j] - (double)exact.gradient[j];
            distance += d * d;
            size += (double)exact.gradient[j] * (double)exact.gradient[j];
        }
        double bound = rounding_bound(got.m, t->tensor->part);
        if (!(sqrt(distance) <= bound * sqrt(size)))
            print_error("%s: %g of %g, more than %g\n", t->tensor->name, sqrt(distance), sqrt(size),
                        bound);
        assert_true(sqrt(distance) <= bound * sqrt(size));
    }
    assert_memory_equal(again.gradient, got.gradient, (size_t)got.p->count * 4);
    assert_true(again.loss == got.loss);
    end_step(&exact);
    end_step(&got);
    end_step(&again);
}

static void test_model(void **state)
{
    (void)state;
    /* The plain kernels know no sizes of tiles, so every fifth shape is enough: one without
     * additions, one with biases and odd sizes, and one with LoRA. */
    assert_non_null(strstr(shapes[10], LORA));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i += keeps_tiles() ? 1 : 5)
        one_model(shapes[i]);
}

static int open_both(void **state)
{
    if (kernels_open(&cpu, "cpu", &why) || cpu->open(&cpu_dev, 2, &why)) return -1;
    int status = backend_open(state);
    check_memory = NULL; /* buffers are in the host's memory */
    return status;
}

static int close_both(void **state)
{
    cpu->close(cpu_dev);
    return backend_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_linears),
        cmocka_unit_test(test_decoding_of_few_rows),
        cmocka_unit_test(test_operations_with_the_bits_of_the_cpu),
        cmocka_unit_test(test_model),
    };
    /* ONLY=pattern selects tests for compute-sanitizer, under which a test takes long. SKIP=pattern
     * leaves out tests whose kernels another run has tested already on a similar GPU. */
    if (getenv("ONLY")) cmocka_set_test_filter(getenv("ONLY"));
    if (getenv("SKIP")) cmocka_set_skip_filter(getenv("SKIP"));
    return cmocka_run_group_tests(tests, open_both, close_both);
}
