/* Attention of some heads, or of some groups of S2-Attn, has the same bits as in a call for all
 * heads and rows. So the ranks of a sample can divide it (model/heads.c, model/neighbours.c). */
#include "lib/common/bf16.h"
#include "tests/lib/backend.h"

#include <math.h>

static struct fail why;

/* One call of attention, as the model makes it. The matrices are on the device. */
struct call {
    int64_t rows, heads, kv_heads, dim;
    struct mat qkv, o, dout, gradients; /* gradients [rows, q | k | v] */
    float *lse;
    int32_t *low, *high; /* the device's copies of the starts */
    int64_t split;
};

static void *memory[64];
static size_t memory_bytes[64];
static int memory_count;

static void *bytes_of_device(size_t bytes)
{
    assert_true(memory_count < 64);
    assert_int_equal(k->alloc(dev, &memory[memory_count], bytes, &why), 0);
    memory_bytes[memory_count] = bytes;
    return memory[memory_count++];
}

static void release_from(int first)
{
    assert_int_equal(k->sync(dev, &why), 0);
    while (memory_count > first) {
        memory_count--;
        k->release(dev, memory[memory_count], memory_bytes[memory_count]);
    }
}

static struct mat matrix(int64_t rows, int64_t cols)
{
    int64_t stride = (cols + 7) / 8 * 8;
    return (struct mat){ bytes_of_device((size_t)(rows * stride * k->act_bytes)), stride };
}

static struct mat random_matrix(int64_t rows, int64_t cols)
{
    struct mat m = matrix(rows, cols);
    float *host = check_random_buffer((size_t)(rows * cols));
    for (int64_t i = 0; i < rows * cols; i++)
        host[i] *= 2;
    float *at = bytes_of_device((size_t)(rows * cols) * sizeof *at);
    k->upload(dev, at, host, (size_t)(rows * cols) * sizeof *at);
    k->cast_in(dev, m, at, rows, cols);
    check_free_all();
    return m;
}

static struct call new_call(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim)
{
    struct call c = { .rows = rows, .heads = heads, .kv_heads = kv_heads, .dim = dim };
    int64_t width = (heads + 2 * kv_heads) * dim;
    c.qkv = matrix(rows, width);
    c.gradients = matrix(rows, width);
    c.o = matrix(rows, heads * dim);
    c.dout = matrix(rows, heads * dim);
    c.lse = bytes_of_device((size_t)(rows * heads) * sizeof *c.lse);
    c.low = bytes_of_device((size_t)rows * sizeof *c.low);
    c.high = bytes_of_device((size_t)rows * sizeof *c.high);
    return c;
}

/* The columns of q, k and v in a matrix that has them side by side. */
struct columns {
    struct mat q, k, v;
};
static struct columns columns_of(const struct call *c, struct mat qkv)
{
    return (struct columns){ qkv, mat_columns(k, qkv, c->heads * c->dim),
                             mat_columns(k, qkv, (c->heads + c->kv_heads) * c->dim) };
}

/* Computes rows [first, end) in the forward. In the backward, c->rows rows. */
static void forward(const struct call *c, int64_t first, int64_t end, float *lse,
                    struct attention_starts starts)
{
    struct columns x = columns_of(c, mat_rows(k, c->qkv, first));
    k->attention_fwd(dev, mat_rows(k, c->o, first), lse, x.q, x.k, x.v, starts, end - first,
                     c->heads, c->kv_heads, c->dim, (float)(1 / sqrt((double)c->dim)));
}
static void backward(const struct call *c, struct attention_starts starts)
{
    struct columns x = columns_of(c, c->qkv), d = columns_of(c, c->gradients);
    k->attention_bwd(dev, d.q, d.k, d.v, c->dout, c->o, c->lse, x.q, x.k, x.v, starts, c->rows,
                     c->heads, c->kv_heads, c->dim, (float)(1 / sqrt((double)c->dim)));
}

/* Fails unless rows [0, rows) of `cols` columns of the two matrices have the same bits. */
static void same_bits(const char *what, struct mat a, struct mat b, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)(rows * cols * k->act_bytes);
    struct mat dense = { bytes_of_device(bytes), cols };
    char *first = malloc(bytes), *second = malloc(bytes);
    k->copy_rows(dev, dense, a, rows, cols);
    k->download(dev, first, dense.at, bytes);
    k->copy_rows(dev, dense, b, rows, cols);
    k->download(dev, second, dense.at, bytes);
    size_t size = (size_t)k->act_bytes, differ = 0, at = 0;
    bool is_same = !memcmp(first, second, bytes);
    for (size_t i = 0; i < bytes && !is_same; i += size)
        if (memcmp(first + i, second + i, size)) at = differ++ ? at : i / size;
    if (differ)
        fail_msg("%s: %zu of %zu values differ, the first in row %zu, column %zu", what, differ,
                 bytes / size, at / (size_t)cols, at % (size_t)cols);
    free(first);
    free(second);
}

/* Copies the columns of some heads, and of their key/value heads, from all rows of a matrix. */
static void take_heads(const struct call *all, const struct call *part, struct mat from,
                       struct mat to, int64_t head, int64_t kv, int64_t row, int64_t rows)
{
    struct columns x = columns_of(all, from), y = columns_of(part, to);
    k->copy_rows(dev, y.q, mat_columns(k, mat_rows(k, x.q, row), head * all->dim), rows,
                 part->heads * all->dim);
    k->copy_rows(dev, y.k, mat_columns(k, mat_rows(k, x.k, row), kv * all->dim), rows,
                 part->kv_heads * all->dim);
    k->copy_rows(dev, y.v, mat_columns(k, mat_rows(k, x.v, row), kv * all->dim), rows,
                 part->kv_heads * all->dim);
}

/* Compares rows of the part's outputs and gradients with those of all. */
static void compare(const char *what, const struct call *all, const struct call *part, int64_t head,
                    int64_t kv, int64_t row, int64_t row_of_part, int64_t rows)
{
    char text[80];
    struct columns x = columns_of(all, mat_rows(k, all->gradients, row));
    struct columns y = columns_of(part, mat_rows(k, part->gradients, row_of_part));
    const struct {
        const char *name;
        struct mat a, b;
        int64_t first, cols;
    } each[] = {
        { "o", mat_rows(k, all->o, row), mat_rows(k, part->o, row_of_part), head, part->heads },
        { "dq", x.q, y.q, head, part->heads },
        { "dk", x.k, y.k, kv, part->kv_heads },
        { "dv", x.v, y.v, kv, part->kv_heads },
    };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        snprintf(text, sizeof text, "%s, %s", what, each[i].name);
        same_bits(text, mat_columns(k, each[i].a, each[i].first * all->dim), each[i].b, rows,
                  each[i].cols * all->dim);
    }
}

/* `ranks` calls, each with a share of the heads. */
static void check_heads(const struct call *all, int64_t ranks)
{
    char what[80];
    for (int64_t p = 0; p < ranks; p++) {
        int before = memory_count;
        int64_t heads = all->heads / ranks, kv_heads = all->kv_heads / ranks;
        struct call part = new_call(all->rows, heads, kv_heads, all->dim);
        struct attention_starts starts = { all->low, all->high, all->split - p * heads };
        if (starts.split < 0) starts.split = 0;
        if (starts.split > heads) starts.split = heads;
        take_heads(all, &part, all->qkv, part.qkv, p * heads, p * kv_heads, 0, all->rows);
        k->copy_rows(dev, part.dout, mat_columns(k, all->dout, p * heads * all->dim), all->rows,
                     heads * all->dim);
        forward(&part, 0, part.rows, part.lse, starts);
        backward(&part, starts);
        snprintf(what, sizeof what, "heads %lld to %lld of %lld", (long long)(p * heads),
                 (long long)((p + 1) * heads - 1), (long long)all->heads);
        compare(what, all, &part, p * heads, p * kv_heads, 0, 0, all->rows);
        release_from(before);
    }
}

/* Writes the starts of rows [first, first + rows), counted from row `first`. */
static void put_starts(int32_t *to, const int32_t *all, int64_t first, int64_t rows)
{
    int32_t *list = malloc((size_t)rows * sizeof *list);
    for (int64_t t = 0; t < rows; t++)
        list[t] = all[first + t] > first ? (int32_t)(all[first + t] - first) : 0;
    k->upload(dev, to, list, (size_t)rows * sizeof *list);
    free(list);
}

/* Computes rows [first, end) of one half of the heads, which are whole groups, without the other
 * rows and heads. */
static void check_groups(const struct call *all, const int32_t *low, const int32_t *high, int half,
                         int64_t first, int64_t end)
{
    char what[80];
    int before_part = memory_count;
    int64_t heads = all->heads / 2, kv_heads = all->kv_heads / 2, from = first, to = end;
    struct attention_starts all_starts = { low, high, all->split };
    k->attention_extent(all_starts, all->rows, &from, &to);
    int64_t before = first - from, rows = end - first, with_zeros = to - from;
    assert_true(before >= 0 && to >= end && to <= all->rows);
    assert_true(before <= k->attention_margin && to - end <= k->attention_margin);
    struct call part = new_call(with_zeros, heads, kv_heads, all->dim);
    struct attention_starts starts = { part.low, part.high, half ? 0 : heads };
    struct mat inside = mat_rows(k, part.qkv, before);
    take_heads(all, &part, all->qkv, inside, half * heads, half * kv_heads, first, rows);
    k->copy_rows(dev, mat_rows(k, part.dout, before),
                 mat_columns(k, mat_rows(k, all->dout, first), half * heads * all->dim), rows,
                 heads * all->dim);
    put_starts(part.low, low, first, rows);
    put_starts(part.high, high, first, rows);
    float *lse = bytes_of_device((size_t)(rows * heads) * sizeof *lse);
    forward(&part, before, before + rows, lse, starts);
    float *host = calloc((size_t)(heads * with_zeros), sizeof *host);
    for (int64_t h = 0; h < heads; h++)
        k->download(dev, host + h * with_zeros + before, lse + h * rows,
                    (size_t)rows * sizeof *host);
    k->upload(dev, part.lse, host, (size_t)(heads * with_zeros) * sizeof *host);
    free(host);
    put_starts(part.low, low, from, with_zeros);
    put_starts(part.high, high, from, with_zeros);
    backward(&part, starts);
    snprintf(what, sizeof what, "%s heads, rows %lld to %lld", half ? "high" : "low",
             (long long)first, (long long)end - 1);
    compare(what, all, &part, half * heads, half * kv_heads, first, before, rows);
    release_from(before_part);
}

/* What a case has: G, rows after which a document begins (0: one document), and the window. */
struct mask {
    int64_t group, documents, window;
};

static void list_starts(int32_t *list, int64_t rows, struct mask m, bool is_high)
{
    int64_t half = m.group / 2;
    for (int64_t t = 0; t < rows; t++) {
        int64_t start = t / m.group * m.group;
        if (is_high) start = t < half ? 0 : (t - half) / m.group * m.group + half;
        /* Documents have different lengths. */
        int64_t document = 0;
        for (int64_t d = m.documents, n = 1; m.documents && d <= t; d += m.documents + 37 * n++)
            document = d;
        if (start < document) start = document;
        if (m.window && start < t + 1 - m.window) start = t + 1 - m.window;
        list[t] = (int32_t)start;
    }
}

static void check_case(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim, struct mask m)
{
    int32_t *low = malloc((size_t)rows * sizeof *low), *high = malloc((size_t)rows * sizeof *high);
    struct call all = new_call(rows, heads, kv_heads, dim);
    int64_t half = m.group / 2;
    all.split = heads / 2;
    all.qkv = random_matrix(rows, (heads + 2 * kv_heads) * dim);
    all.dout = random_matrix(rows, heads * dim);
    list_starts(low, rows, m, false);
    list_starts(high, rows, m, true);
    put_starts(all.low, low, 0, rows);
    put_starts(all.high, high, 0, rows);
    struct shape shape = { .rows = rows,
                           .chunk = rows,
                           .dim = heads * dim,
                           .ffn = 8,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = dim,
                           .vocab = 8,
                           .has_backward = true };
    struct attention_starts starts = { all.low, all.high, all.split };
    backend_reserve(shape);
    forward(&all, 0, rows, all.lse, starts);
    backward(&all, starts);
    shape.k_stride = shape.v_stride = all.qkv.stride;
    backend_reserve(shape);
    for (int64_t ranks = 2; ranks <= kv_heads; ranks *= 2)
        check_heads(&all, ranks);
    for (int shifted = 0; shifted < 2; shifted++) {
        /* Parts are single groups, and all groups from a border on. */
        for (int64_t first = 0, end = shifted ? half : m.group; first < rows; first = end) {
            if (first) end = first + m.group;
            if (end > rows) end = rows;
            check_groups(&all, low, high, shifted, first, end);
            if (first && end < rows) check_groups(&all, low, high, shifted, first, rows);
        }
    }
    free(low);
    free(high);
    release_from(0);
}

/* The emulation is slow, so its cases are small. REAL_GPU says that the device is a GPU. */
static bool is_emulated(void) { return !k->is_host && !getenv("REAL_GPU"); }

/* Kernels for 16 bits have other tiles for heads of 64 columns. Kernels in f32 have no such tiles,
 * and are emulated even more slowly. */
static int64_t emulated_dim(void) { return k->act_type == DTYPE_F32 ? 8 : 64; }

static void test_one_document(void **state)
{
    (void)state;
    if (is_emulated()) {
        /* The tiles of a GPU's kernels have at most 128 rows. */
        check_case(300, 2, 2, emulated_dim(), (struct mask){ 256, 0, 0 });
        check_case(256, 4, 2, emulated_dim() / 2, (struct mask){ 256, 0, 0 });
        return;
    }
    check_case(1400, 4, 4, 64, (struct mask){ 512, 0, 0 });
    check_case(1100, 8, 2, 24, (struct mask){ 1024, 0, 0 });
    check_case(1300, 2, 2, 128, (struct mask){ 1024, 0, 0 });
    if (k->is_host) return;
    /* As in a 7B and in a 8B, on which Hopper has kernels of its own. */
    check_case(8192, 32, 32, 128, (struct mask){ 2048, 0, 0 });
    check_case(8192, 32, 8, 128, (struct mask){ 2048, 0, 0 });
    check_case(16384 - 100, 8, 8, 64, (struct mask){ 4096, 0, 0 });
}

/* Groups are cut where documents begin, and documents begin anywhere. */
static void test_documents(void **state)
{
    (void)state;
    if (is_emulated()) {
        check_case(300, 2, 2, emulated_dim(), (struct mask){ 256, 90, 0 });
        return;
    }
    check_case(1400, 4, 4, 64, (struct mask){ 512, 90, 0 });
    check_case(1300, 4, 2, 100, (struct mask){ 512, 700, 0 });
    check_case(1024, 2, 2, 32, (struct mask){ 512, 1, 0 });
}

static void test_windows(void **state)
{
    (void)state;
    if (is_emulated()) {
        check_case(300, 2, 2, emulated_dim(), (struct mask){ 256, 0, 100 });
        return;
    }
    check_case(1100, 4, 4, 32, (struct mask){ 512, 0, 100 });
    check_case(1100, 4, 4, 32, (struct mask){ 512, 333, 1 });
}

/* The rows of q, k and v are a multiple of 4 KiB apart, as in models whose width is a power of two.
 * The rows of a part may have another distance. */
static void test_colliding_rows(void **state)
{
    (void)state;
    if (!k->is_host) return;
    check_case(1024, 8, 4, 64, (struct mask){ 1024, 0, 0 });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_document, buffers_close),
        cmocka_unit_test_teardown(test_documents, buffers_close),
        cmocka_unit_test_teardown(test_windows, buffers_close),
        cmocka_unit_test_teardown(test_colliding_rows, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
