/* Matrix products in f32 by oneDNN's gemm, which generates code for the CPU it runs on, and in bf16
 * by gemm_tiles.c. The caller has cut the work into tasks, so each product runs on one thread. */
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

extern void omp_set_num_threads(int threads); /* a function of libgomp, which oneDNN uses */

static void use_one_thread(void)
{
    static __thread bool is_single;
    if (is_single) return;
    omp_set_num_threads(1); /* affects this thread only */
    is_single = true;
}

static atomic_bool lacks_memory;

bool gemm_lacks_memory(void) { return atomic_load(&lacks_memory); }

/* oneDNN allocates memory to pack operands in, which may fail. */
static void check_status(dnnl_status_t status)
{
    if (status == dnnl_out_of_memory)
        atomic_store(&lacks_memory, true);
    else
        must(status == dnnl_success);
}

static void multiply(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
                     float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                     float beta, float *c, int64_t ldc)
{
    use_one_thread();
    dnnl_status_t status = dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', m, n, k,
                                      alpha, a, lda, b, ldb, beta, c, ldc);
    check_status(status);
}

void gemm_describe(char *text, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    /* Only these two instruction sets affect products in f32. ONEDNN_MAX_CPU_ISA may lower what the
     * CPU has. */
    int has = (int)dnnl_get_effective_cpu_isa();
    bool has_512 = (has & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
    bool has_avx2 = (has & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2;
    snprintf(text, size, "oneDNN %d.%d.%d, %s%s", version->major, version->minor, version->patch,
             has_512    ? "AVX-512"
             : has_avx2 ? "AVX2"
                        : "neither AVX2 nor AVX-512",
             amx_usable() ? ", AMX" : "");
}

static bool is_limited(int resource)
{
    struct rlimit limit;
    return !getrlimit(resource, &limit) && limit.rlim_cur != RLIM_INFINITY;
}

/* oneDNN generates its code at the first product, and ends the program if it gets no memory for
 * that. So this function first tries whether the memory is there. Where memory is limited (ulimit
 * -v, -d), it also makes the first product of each kind now, while nothing else allocates. Without
 * a limit that would only cost time for programs that never multiply. */
int gemm_begin(struct fail *why)
{
    enum { NEEDED = 64 << 20, EDGE = 48 };
    static const int64_t columns[] = { EDGE, 1, 8 };
    float *memory = mmap(NULL, NEEDED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || munmap(memory, NEEDED))
        return fail(why,
                    "device cpu: not enough memory: matrix products need %d MiB more "
                    "(ulimit -v?)",
                    NEEDED >> 20);
    if (!is_limited(RLIMIT_AS) && !is_limited(RLIMIT_DATA)) return 0;
    memory = calloc(3 * EDGE * EDGE, sizeof *memory);
    if (!memory) return fail(why, "device cpu: not enough memory");
    float *b = memory + EDGE * EDGE, *c = b + EDGE * EDGE;
    for (int i = 0; i < 4; i++)
        for (size_t n = 0; n < sizeof columns / sizeof *columns; n++)
            for (int beta = 0; beta < 2; beta++)
                multiply(i & 1, i >> 1, EDGE, columns[n], EDGE, 1, memory, EDGE, b, EDGE,
                         (float)beta, c, EDGE);
    free(memory);
    return gemm_lacks_memory() ? fail(why, "device cpu: not enough memory") : 0;
}

#if defined(__AVX512F__)

enum { COPIES = 0 };

int64_t gemm_depth(int64_t m, int64_t stride)
{
    (void)m, (void)stride;
    return INT64_MAX;
}

static void gemm_f32(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n,
                     int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc)
{
    (void)scratch;
    multiply(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

#else

/* Let k be the outer dimension of an operand. If its rows are a multiple of 4 KiB apart, they all
 * use the same few lines of the first-level cache. oneDNN reads some columns of all rows at a time,
 * so it would read each line again and again, at half its speed. Such an operand is copied to rows
 * with another distance first. */
enum { COPY_K = 256, COPY_COLUMNS = 512, APART = 16, MIN_COPY_M = 32 };

struct copies {
    _Alignas(64) float a[COPY_K * (COPY_COLUMNS + APART)], b[COPY_K * (COPY_COLUMNS + APART)];
};

enum { COPIES = sizeof(struct copies) };

static bool collides(int64_t stride) { return stride % 1024 == 0; }

int64_t gemm_depth(int64_t m, int64_t stride)
{
    return m >= MIN_COPY_M && collides(stride) ? COPY_K : INT64_MAX;
}

/* Copies the rows of x to `to`; *stride becomes the distance of the copied rows. */
static const float *copied(float *to, const float *x, int64_t *stride, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        memcpy(to + r * (cols + APART), x + r * *stride, (size_t)cols * sizeof *to);
    *stride = cols + APART;
    return to;
}

static void gemm_f32(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n,
                     int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc)
{
    struct copies *copies = scratch;
    bool a_collides = a_transposed && collides(lda) && m <= COPY_COLUMNS;
    bool b_collides = !b_transposed && collides(ldb);
    if (m < MIN_COPY_M || !(a_collides || b_collides)) {
        multiply(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    for (int64_t i = 0; i < k; i += COPY_K) {
        int64_t depth = min_i64(COPY_K, k - i), a_stride = lda;
        const float *left = a_transposed ? a + i * lda : a + i;
        if (a_collides) left = copied(copies->a, left, &a_stride, depth, m);
        for (int64_t j = 0; j < n; j += COPY_COLUMNS) {
            int64_t cols = min_i64(COPY_COLUMNS, n - j), b_stride = ldb;
            const float *right = b_transposed ? b + j * ldb + i : b + i * ldb + j;
            if (b_collides) right = copied(copies->b, right, &b_stride, depth, cols);
            multiply(a_transposed, b_transposed, m, cols, depth, alpha, left, a_stride, right,
                     b_stride, i ? 1 : beta, c + j, ldc);
        }
    }
}

#endif

#if defined(GEMM_BF16)

/* Operands are packed in blocks that stay in the second-level cache. A block consists of whole
 * tiles. */
enum { BLOCK_M = 256, BLOCK_N = 512, BLOCK_K = 512, MIN_BF16_K = 8 };

struct blocks {
    _Alignas(64) bf16 a[BLOCK_M * BLOCK_K], b[BLOCK_N * BLOCK_K];
};

size_t gemm_scratch_bytes(void) { return sizeof(struct blocks) + COPIES; }

static void gemm_bf16(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n,
                      int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                      int64_t ldb, float beta, float *c, int64_t ldc)
{
    struct blocks *blocks = scratch;
    for (int64_t j = 0; j < n; j += BLOCK_N)
        for (int64_t l = 0; l < k; l += BLOCK_K) {
            int64_t cols = min_i64(BLOCK_N, n - j), depth = min_i64(BLOCK_K, k - l);
            int64_t count = ceil_div(depth, TILE_K), apart = count * TILE_ELEMENTS;
            const float *right = b_transposed ? b + j * ldb + l : b + l * ldb + j;
            struct tiles left_tiles = { blocks->a, apart }, right_tiles = { blocks->b, apart };
            pack_tiles(right_tiles, (struct source){ right, ldb, !b_transposed, alpha }, true, cols,
                       depth);
            for (int64_t i = 0; i < m; i += BLOCK_M) {
                int64_t rows = min_i64(BLOCK_M, m - i);
                const float *left = a_transposed ? a + l * lda + i : a + i * lda + l;
                pack_tiles(left_tiles, (struct source){ left, lda, a_transposed, 1 }, false, rows,
                           depth);
                multiply_tiles(c + i * ldc + j, ldc, left_tiles, right_tiles, rows, cols, count,
                               l || beta != 0);
            }
        }
}

void gemm(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
          float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc)
{
    /* For sums of few terms, rounding the operands would cost more than it saves. */
    if (k >= MIN_BF16_K)
        gemm_bf16(scratch, a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c,
                  ldc);
    else
        gemm_f32(scratch, a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

#else

size_t gemm_scratch_bytes(void) { return COPIES; }

void gemm(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
          float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc)
{
    gemm_f32(scratch, a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

#endif
