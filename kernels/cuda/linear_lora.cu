/* The adapters' products under dropout, on tensor cores. Each kernel reads its large matrix once
 * for all linear layers of a group and applies their masks in registers. cuBLASLt would need a
 * masked copy for each linear layer.
 *
 *     lora_fwd_a:  u_l = drop_l(x) A_lᵀ
 *     lora_bwd_x:  dx += Σ_l mask_l ⊙ (du_l A_l) / (1 − p)
 *     lora_bwd_a:  dA_l += du_lᵀ drop_l(x)
 *
 * Two things limit their speed. Masks need ten rounds of Philox for every eight elements of each
 * linear layer. And each block reads the small matrix again from the second-level cache, so tiles
 * have many rows.
 *
 * A warp makes the masks of 32 rows × 32 columns of one linear layer while the next tiles are being
 * loaded. A lane holds the mask of one row, one bit for each element. The lanes that need the bits
 * get them by shuffles, and apply them to the registers of a product. The sums are multiplied by 1
 * / (1 − p), instead of each kept element.
 *
 * A launch has up to three parts. A part is the adapter of one linear layer, padded to rank 64 with
 * zeros, or 64 rows of its A if its rank is larger. Sums are f32, in an order that depends on
 * shapes only.
 */
#include "kernels/cuda/linear_lora.cuh"

#include "kernels/cuda/device.cuh"

#ifdef ELEM_F32
bool suits_lora(const struct device *, const struct group *, struct mat) { return false; }
void lora_fwd_a(struct device *, struct mat, const struct group *, int64_t, struct dropout) {}
void lora_bwd_x(struct device *, struct mat, struct mat, const struct group *, int64_t,
                struct dropout)
{
}
void lora_bwd_a(struct device *, const struct group *, struct mat, struct mat, int64_t,
                struct dropout)
{
}
#else

/* ---- u = drop(x) Aᵀ ---- */

/* The grid is [tiles of rows, pieces of columns]. row0 is the warp's first row in the tile. */
template <int COUNT> KERNEL(COUNT *PART_THREADS, 4 / COUNT) fwd_a_kernel(const lora_launch t)
{
    SHARED_DYNAMIC(memory);
    constexpr int X = TILE * STEP, A = RANK * STEP, STAGE = X + COUNT * A;
    constexpr int FETCHING = COUNT == 1 ? 128 : 256; /* threads that load x */
    elem *stages = (elem *)memory;
    int part = threadIdx.x / PART_THREADS, thread = threadIdx.x % PART_THREADS;
    int lane = threadIdx.x % 32, row0 = thread / 32 * 32, g = lane / 4, q = lane % 4;
    int first = blockIdx.x * TILE, from = blockIdx.y * t.piece, end = min(from + t.piece, t.in);
    int rank = of_part(t.rank, part);
    uint32_t dropout_stream = of_part(t.dropout_stream, part);
    const elem *factor = t.a + (int64_t)of_part(t.column, part) * t.in;
    float sum[2][RANK / 8][4] = {};
    auto fetch_step = [&](int stage, int at) {
        elem *x = stages + stage * STAGE, *a = x + X + part * A;
        if (threadIdx.x < FETCHING)
            fetch<STEP, TILE, FETCHING>(x, t.x + at, t.x_stride, first, t.rows);
        fetch<STEP, RANK, PART_THREADS>(a, factor + at, t.in, 0, rank, thread);
        copy_commit();
    };
    fetch_step(0, from);
    for (int at = from, stage = 0; at < end; at += STEP, stage = 1 - stage) {
        const elem *x = stages + stage * STAGE, *a = x + X + part * A;
        uint32_t kept[STEP / 32];
#pragma unroll
        for (int h = 0; h < STEP / 32; h++)
            kept[h] = kept_word(t, dropout_stream, first + row0 + lane, at + h * 32);
        copy_wait<0>();
        block_sync(); /* This stage has arrived, and no warp needs the other one any more. */
        if (at + STEP < end) fetch_step(1 - stage, at + STEP);
#pragma unroll
        for (int h = 0; h < STEP / 32; h++) {
            /* The masks of row g + 8r. A thread multiplies two neighbouring columns of every eight.
             * The top bit of each byte of `even` is the mask of the first column, and the top bit
             * of each byte of `odd` is the mask of the second.
             */
            uint32_t even[4], odd[4];
#pragma unroll
            for (int r = 0; r < 4; r++) {
                odd[r] = shuffle(kept[h], g + 8 * r) << (3 - q);
                even[r] = odd[r] << 4;
            }
#pragma unroll
            for (int byte = 0; byte < 4; byte += 2) {
                int k = h * 32 + byte * 8;
                uint32_t left[4], right[RANK / 16][4];
#pragma unroll
                for (int n = 0; n < RANK / 16; n++)
                    ldmatrix4(right[n], tile_at<STEP>((elem *)a, n * 16 + lane % 8 + lane / 16 * 8,
                                                      k + lane / 8 % 2 * 8));
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    ldmatrix4(left, tile_at<STEP>((elem *)x, row0 + i * 16 + lane % 16,
                                                  k + lane / 16 * 8));
                    left[0] &= fill_halves(even[2 * i], odd[2 * i], byte);
                    left[1] &= fill_halves(even[2 * i + 1], odd[2 * i + 1], byte);
                    left[2] &= fill_halves(even[2 * i], odd[2 * i], byte + 1);
                    left[3] &= fill_halves(even[2 * i + 1], odd[2 * i + 1], byte + 1);
#pragma unroll
                    for (int n = 0; n < RANK / 16; n++) {
                        mma(sum[i][2 * n], left, right[n][0], right[n][1]);
                        mma(sum[i][2 * n + 1], left, right[n][2], right[n][3]);
                    }
                }
            }
        }
    }
    float *to = t.partial + (int64_t)blockIdx.y * t.rows * t.ranks + of_part(t.partial_at, part);
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int n = 0; n < RANK / 8; n++) {
            int row = first + row0 + g + 8 * r;
            if (row < t.rows && n * 8 < rank)
                store2(to + (int64_t)row * t.ranks + n * 8 + q * 2, sum[r / 2][n][r % 2 * 2],
                       sum[r / 2][n][r % 2 * 2 + 1]);
        }
}

/* Returns the results n … n + 7 of `all` results. Each is the sum of `count` partial sums, added in
 * order and divided by (1 − p). */
DEVICE pack<8> sum_of_pieces(const lora_launch &t, int64_t n, int64_t all, int count)
{
    pack<8> sum = {}, p;
    for (int i = 0; i < count; i++) {
        load(p, t.partial + i * all + n);
        for (int j = 0; j < 8; j++)
            sum.v[j] += p.v[j];
    }
    for (int j = 0; j < 8; j++)
        sum.v[j] *= t.drop.scale;
    return sum;
}

KERNEL(THREADS, 1) fwd_a_sum_kernel(const lora_launch t, int count)
{
    int64_t n = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 8, all = (int64_t)t.rows * t.ranks;
    if (n >= all) return;
    store(t.u + n / t.ranks * t.x_stride + n % t.ranks, sum_of_pieces(t, n, all, count));
}

/* ---- dx += Σ mask ⊙ (du A) / (1 − p) ---- */

/* The grid is [tiles of columns, tiles of rows]. */
template <int COUNT> KERNEL(DX_THREADS, 2) bwd_x_kernel(const lora_launch t)
{
    SHARED_DYNAMIC(memory);
    constexpr int DU = TILE * RANK, A = RANK * STEP;
    elem *du = (elem *)memory, *a = du + COUNT * DU, *dx = a + COUNT * A;
    int column = blockIdx.x * STEP, first = blockIdx.y * TILE;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4;
    /* row0 and column0: the warp's first row and column in the tile */
    int row0 = warp % 4 * 32, column0 = warp / 4 * 32;
    uint32_t kept[COUNT];
    float sum[2][4][4] = {};
#pragma unroll
    for (int l = 0; l < COUNT; l++) {
        fetch<STEP, RANK, DX_THREADS>(a + l * A, t.a + (int64_t)t.column[l] * t.in + column, t.in,
                                      0, t.rank[l]);
        fetch_du<TILE, DX_THREADS>(du + l * DU, t, t.column[l], t.rank[l], first, threadIdx.x);
    }
    fetch<STEP, TILE, DX_THREADS>(dx, t.dx + column, t.dx_stride, first, t.rows);
    copy_commit();
#pragma unroll
    for (int l = 0; l < COUNT; l++)
        kept[l] = kept_word(t, t.dropout_stream[l], first + row0 + lane, column + column0);
    copy_wait<0>();
    block_sync();
#pragma unroll
    for (int l = 0; l < COUNT; l++) {
        float product[2][4][4] = {};
#pragma unroll
        for (int k = 0; k < RANK; k += 16) {
            uint32_t left[4], right[2][4];
#pragma unroll
            for (int n = 0; n < 2; n++)
                ldmatrix4_trans(right[n], tile_at<STEP>(a + l * A, k + lane % 16,
                                                        column0 + n * 16 + lane / 16 * 8));
#pragma unroll
            for (int i = 0; i < 2; i++) {
                ldmatrix4(left,
                          tile_at<RANK>(du + l * DU, row0 + i * 16 + lane % 16, k + lane / 16 * 8));
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    mma(product[i][2 * n], left, right[n][0], right[n][1]);
                    mma(product[i][2 * n + 1], left, right[n][2], right[n][3]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 4; r++) {
            uint32_t odd = shuffle(kept[l], g + 8 * r) << (3 - q), even = odd << 4;
#pragma unroll
            for (int n = 0; n < 4; n++) {
                int e = r % 2 * 2;
                if (even >> (8 * n + 7) & 1) sum[r / 2][n][e] += product[r / 2][n][e];
                if (odd >> (8 * n + 7) & 1) sum[r / 2][n][e + 1] += product[r / 2][n][e + 1];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int n = 0; n < 4; n++) {
            uint32_t *two =
                (uint32_t *)tile_at<STEP>(dx, row0 + g + 8 * r, column0 + n * 8 + q * 2);
            const float *s = sum[r / 2][n] + r % 2 * 2;
            *two = pack2(widen((elem)*two) + s[0] * t.drop.scale,
                         widen((elem)(*two >> 16)) + s[1] * t.drop.scale);
        }
    block_sync();
#pragma unroll
    for (int i = 0; i < TILE * STEP / 8 / DX_THREADS; i++) {
        int n = threadIdx.x + i * DX_THREADS, row = n / (STEP / 8), at = n % (STEP / 8) * 8;
        if (first + row < t.rows)
            *(uint4 *)(t.dx + (first + row) * t.dx_stride + column + at) =
                *(const uint4 *)tile_at<STEP>(dx, row, at);
    }
}

/* ---- dA += duᵀ drop(x) ---- */

/* The grid is [tiles of columns, pieces of rows]. column0 is the warp's first column
 * in the tile. */
template <int COUNT> KERNEL(COUNT *PART_THREADS, 4 / COUNT) bwd_a_kernel(const lora_launch t)
{
    SHARED_DYNAMIC(memory);
    constexpr int X = STEP * TILE, DU = STEP * RANK, STAGE = X + COUNT * DU;
    constexpr int FETCHING = COUNT == 1 ? 128 : 256; /* threads that load x */
    elem *stages = (elem *)memory;
    int part = threadIdx.x / PART_THREADS, thread = threadIdx.x % PART_THREADS;
    int lane = threadIdx.x % 32, column0 = thread / 32 * 32, g = lane / 4, q = lane % 4;
    int column = blockIdx.x * TILE, from = blockIdx.y * t.piece, end = min(from + t.piece, t.rows);
    int rank = of_part(t.rank, part), du_column = of_part(t.column, part);
    /* This thread multiplies one of every eight columns. Each byte of `kept` has the masks of eight
     * columns. This shift moves the mask of the thread's column to the top of the byte. */
    int shift = 7 - (g / 2 + g % 2 * 4);
    uint32_t dropout_stream = of_part(t.dropout_stream, part);
    /* true if the eight columns that this thread loads are inside x */
    bool has_column = column + (int)threadIdx.x % (TILE / 8) * 8 < t.in;
    float sum[RANK / 16][4][4] = {};
    auto fetch_step = [&](int stage, int at) {
        elem *x = stages + stage * STAGE, *du = x + X + part * DU;
        if (threadIdx.x < FETCHING)
            fetch<TILE, STEP, FETCHING>(x, t.x + column, t.x_stride, at, has_column ? t.rows : 0);
        fetch_du<STEP, PART_THREADS>(du, t, du_column, rank, at, thread);
        copy_commit();
    };
    fetch_step(0, from);
    for (int at = from, stage = 0; at < end; at += STEP, stage = 1 - stage) {
        elem *x = stages + stage * STAGE, *du = x + X + part * DU;
        uint32_t kept[STEP / 32];
#pragma unroll
        for (int h = 0; h < STEP / 32; h++)
            kept[h] = kept_word(t, dropout_stream, at + h * 32 + lane, column + column0);
        copy_wait<0>();
        block_sync(); /* This stage has arrived, and no warp needs the other one any more. */
        if (at + STEP < end) fetch_step(1 - stage, at + STEP);
#pragma unroll
        for (int h = 0; h < STEP / 32; h++)
#pragma unroll
            for (int half = 0; half < 32; half += 16) {
                int k = h * 32 + half;
                /* elements and masks of the rows 2q, 2q + 1, 2q + 8, 2q + 9 */
                uint32_t left[RANK / 16][4], right[4], kept_rows[4];
#pragma unroll
                for (int r = 0; r < 4; r++)
                    kept_rows[r] = shuffle(kept[h], half + 2 * q + r % 2 + r / 2 * 8) << shift;
#pragma unroll
                for (int m = 0; m < RANK / 16; m++)
                    ldmatrix4_trans(left[m], tile_at<RANK>(du, k + lane % 8 + lane / 16 * 8,
                                                           m * 16 + lane / 8 % 2 * 8));
#pragma unroll
                for (int n = 0; n < 4; n += 2) {
                    ldmatrix4_trans(
                        right, tile_at<TILE>(x, k + lane % 16, column0 + n * 8 + lane / 16 * 8));
                    right[0] &= fill_halves(kept_rows[0], kept_rows[1], n);
                    right[1] &= fill_halves(kept_rows[2], kept_rows[3], n);
                    right[2] &= fill_halves(kept_rows[0], kept_rows[1], n + 1);
                    right[3] &= fill_halves(kept_rows[2], kept_rows[3], n + 1);
#pragma unroll
                    for (int m = 0; m < RANK / 16; m++) {
                        mma(sum[m][n], left[m], right[0], right[1]);
                        mma(sum[m][n + 1], left[m], right[2], right[3]);
                    }
                }
            }
    }
    float *to = t.partial + ((int64_t)blockIdx.y * t.ranks + of_part(t.partial_at, part)) * t.in;
#pragma unroll
    for (int m = 0; m < RANK / 16; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int r = m * 16 + g + h * 8, at = column + column0 + n * 8 + q * 2;
                if (r < rank && at < t.in)
                    store2(to + (int64_t)r * t.in + at, sum[m][n][2 * h], sum[m][n][2 * h + 1]);
            }
}

KERNEL(THREADS, 1) bwd_a_sum_kernel(const lora_launch t, int count)
{
    int64_t n = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 8, all = (int64_t)t.ranks * t.in;
    if (n >= all) return;
    int r = (int)(n / t.in), part = r >= t.partial_at[2] ? 2 : r >= t.partial_at[1] ? 1 : 0;
    float *to = of_part(t.da, part);
    if (!to) return;
    to += n - (int64_t)of_part(t.partial_at, part) * t.in;
    pack<8> sum = sum_of_pieces(t, n, all, count), p;
    load(p, to);
    for (int j = 0; j < 8; j++)
        p.v[j] += sum.v[j];
    store(to, p);
}

/* ---- parts ---- */

static_assert((int)MAX_GROUP <= (int)PARTS); /* A group whose ranks are at most 64 is one launch. */

/* How much of a group the launches so far have processed. */
struct launch_progress {
    int linear, rank; /* the linear layer, and the row of its A, at which the next part begins */
    int column;       /* the column of the group's u that belongs to this row of A */
};

/* Fills in the parts of the next launch. Returns false if there are none left. */
static bool next_parts(lora_launch &t, struct launch_progress *p, const struct group *g,
                       int max_parts)
{
    int count = 0;
    t.ranks = 0;
    while (count < max_parts && p->linear < g->count) {
        const struct linear *l = &g->at[p->linear];
        int rank = (int)min_i64(RANK, l->rank - p->rank);
        if (!rank) {
            p->linear++, p->rank = 0;
            continue;
        }
        t.rank[count] = rank;
        t.column[count] = p->column;
        t.partial_at[count] = t.ranks;
        t.dropout_stream[count] = l->dropout_stream;
        t.da[count] = l->da_acc ? l->da_acc + (int64_t)p->rank * l->in : NULL;
        t.ranks += rank, p->rank += rank, p->column += rank;
        count++;
    }
    for (int i = count; i < PARTS; i++)
        t.partial_at[i] = t.ranks;
    t.parts = count;
    return count > 0;
}

/* Returns the length of the pieces into which sums of `length` terms are cut. A block computes one
 * piece of one of the `tiles` tiles of results. The length is chosen so that a launch has about
 * blocks_wanted blocks. */
static int64_t piece_of(int parts, int64_t tiles, int64_t length)
{
    int64_t count = max_i64(1, min_i64(PIECES, blocks_wanted(parts) / tiles));
    return ceil_div(ceil_div(length, STEP), count) * STEP;
}

static lora_launch lora_launch_of(struct device *dev, const struct group *g, int64_t rows,
                                  struct dropout drop)
{
    lora_launch t = {};
    t.a = dev->slot[g->slot].a;
    t.partial = dev->lora_partial;
    t.rows = (int)rows, t.in = (int)g->at[0].in;
    t.drop = mask_of(drop);
    return t;
}

/* The shared memory of a block of fwd_a_kernel or bwd_a_kernel, in bytes. */
static size_t a_shared(int parts)
{
    return 2 * sizeof(elem) * (size_t)(TILE * STEP + parts * RANK * STEP);
}

static size_t bwd_x_shared(int parts)
{
    return sizeof(elem) * (size_t)(parts * (TILE + STEP) * RANK + TILE * STEP);
}

static int parts_allowed(const struct device *dev)
{
    int parts = PARTS;
    while (parts &&
           max_i64((int64_t)a_shared(parts), (int64_t)bwd_x_shared(parts)) > dev->shared_bytes)
        parts--;
    return parts;
}

bool suits_lora(const struct device *dev, const struct group *g, struct mat wide)
{
    if (!has_tensor_cores(dev) || !parts_allowed(dev) || g->at[0].in % STEP ||
        !mat_is_wide(wide, g->at[0].in))
        return false;
    for (int i = 0; i < g->count; i++)
        if (g->at[i].rank % 8 || !is_wide(g->at[i].da_acc, 8, 8, sizeof(float))) return false;
    return true;
}

/* ---- launches, by the number of parts ---- */

struct launch_target {
    struct device *dev;
    dim3 grid;
};

template <int COUNT> static void launch_fwd_a(const launch_target &c, const lora_launch &t)
{
    size_t shared = a_shared(COUNT);
    allow_shared(c.dev, (const void *)fwd_a_kernel<COUNT>, shared, "lora_down");
    LAUNCH(fwd_a_kernel<COUNT>, c.grid, dim3(COUNT * PART_THREADS), shared, c.dev->stream, t);
}

template <int COUNT> static void launch_bwd_x(const launch_target &c, const lora_launch &t)
{
    size_t shared = bwd_x_shared(COUNT);
    allow_shared(c.dev, (const void *)bwd_x_kernel<COUNT>, shared, "linear_bwd_input");
    LAUNCH(bwd_x_kernel<COUNT>, c.grid, dim3(DX_THREADS), shared, c.dev->stream, t);
}

template <int COUNT> static void launch_bwd_a(const launch_target &c, const lora_launch &t)
{
    size_t shared = a_shared(COUNT);
    allow_shared(c.dev, (const void *)bwd_a_kernel<COUNT>, shared, "linear_bwd_weight");
    LAUNCH(bwd_a_kernel<COUNT>, c.grid, dim3(COUNT * PART_THREADS), shared, c.dev->stream, t);
}

typedef void (*launch)(const launch_target &, const lora_launch &);
static const launch launches_fwd_a[] = { launch_fwd_a<1>, launch_fwd_a<2>, launch_fwd_a<3> };
static const launch launches_bwd_x[] = { launch_bwd_x<1>, launch_bwd_x<2>, launch_bwd_x<3> };
static const launch launches_bwd_a[] = { launch_bwd_a<1>, launch_bwd_a<2>, launch_bwd_a<3> };

static dim3 flat_grid(int64_t elements) { return dim3((unsigned)ceil_div(elements, THREADS * 8)); }

void lora_fwd_a(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                struct dropout drop)
{
    lora_launch t = lora_launch_of(dev, g, rows, drop);
    struct launch_progress p = {};
    int64_t tiles = ceil_div(rows, TILE);
    t.x = elems(x), t.x_stride = x.stride;
    while (next_parts(t, &p, g, parts_allowed(dev))) {
        t.piece = (int)piece_of(t.parts, tiles, t.in);
        t.u = elems(x) + t.in + t.column[0];
        int count = (int)ceil_div(t.in, t.piece);
        must(sizeof(float) * (size_t)(count * rows * t.ranks) <= lora_bytes(&dev->shape));
        launches_fwd_a[t.parts - 1]({ dev, dim3((unsigned)tiles, (unsigned)count) }, t);
        LAUNCH(fwd_a_sum_kernel, flat_grid(rows * t.ranks), dim3(THREADS), 0, dev->stream, t,
               count);
    }
    launched(dev, "lora_down");
}

void lora_bwd_x(struct device *dev, struct mat dx, struct mat du, const struct group *g,
                int64_t rows, struct dropout drop)
{
    lora_launch t = lora_launch_of(dev, g, rows, drop);
    struct launch_progress p = {};
    t.du = elems(du), t.du_stride = du.stride;
    t.dx = elems(dx), t.dx_stride = dx.stride;
    dim3 grid((unsigned)(t.in / STEP), (unsigned)ceil_div(rows, TILE));
    while (next_parts(t, &p, g, parts_allowed(dev)))
        launches_bwd_x[t.parts - 1]({ dev, grid }, t);
    launched(dev, "linear_bwd_input");
}

void lora_bwd_a(struct device *dev, const struct group *g, struct mat du, struct mat x,
                int64_t rows, struct dropout drop)
{
    lora_launch t = lora_launch_of(dev, g, rows, drop);
    struct launch_progress p = {};
    int64_t tiles = ceil_div(t.in, TILE);
    t.x = elems(x), t.x_stride = x.stride;
    t.du = elems(du), t.du_stride = du.stride;
    while (next_parts(t, &p, g, parts_allowed(dev))) {
        t.piece = (int)piece_of(t.parts, tiles, rows);
        int count = (int)ceil_div(rows, t.piece);
        must(sizeof(float) * (size_t)count * t.ranks * t.in <= lora_bytes(&dev->shape));
        launches_bwd_a[t.parts - 1]({ dev, dim3((unsigned)tiles, (unsigned)count) }, t);
        LAUNCH(bwd_a_sum_kernel, flat_grid(t.ranks * t.in), dim3(THREADS), 0, dev->stream, t,
               count);
    }
    launched(dev, "linear_bwd_weight");
}
#endif
