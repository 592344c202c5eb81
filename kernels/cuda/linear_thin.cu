/* The thin products of adapters under dropout, by tensor cores: each reads its wide matrix once for
 * all linears of a group and applies their masks on the way, where products by cuBLASLt would want
 * a masked copy for each.
 *
 *     inner:  u_l = drop_l(x) A_l^T
 *     spread: dx += Σ_l mask_l ⊙ (du_l A_l) / (1 − p)
 *     outer:  dA_l += du_l^T drop_l(x)
 *
 * What is kept is not multiplied by 1 / (1 − p) one by one: the sums are. Making masks is most of
 * the work, ten rounds of Philox for eight elements of each linear.
 *
 * Ranks of up to 64, smaller ones with zeros up to it; sums in f32, in an order that depends on
 * shapes only. */
#include "mask.cuh"
#include "tile.cuh"

#include "cuda.cuh"

enum {
    BLOCK = 128,
    RANK = 64,    /* the most of one linear */
    INNER = 64,   /* columns of x in a step of u */
    PIECE = 1024, /* columns of x that a block of u sums over */
    U_ROWS = 32,  /* rows of a block of u */
    DX = 64,      /* rows and columns of a block of dx */
    DX_PAD = 4,   /* keeps a warp's columns in other banks */
    DA_BLOCK = 256,
    DA_ROWS = 64, /* rows of a step of dA */
    DA_COLUMNS = 32,
};

struct thin {
    const elem *x, *a, *du; /* [rows, in]; [ranks, in]; [rows, ranks] */
    elem *dx;
    float *partial, *da[LINEAR_GROUP_MOST]; /* [pieces, rows, ranks]; [rank, in], NULL: frozen */
    int64_t x_stride, du_stride, dx_stride;
    int rows, in, ranks, rank[LINEAR_GROUP_MOST], column[LINEAR_GROUP_MOST];
    uint32_t site[LINEAR_GROUP_MOST];
    mask drop;
};

size_t thin_bytes(const struct shape *s)
{
    size_t most_bytes = 0;
    for (int i = 0; i < LINEAR_SLOTS; i++) {
        size_t bytes =
            sizeof(float) * (size_t)(pieces(s->slot[i].in, PIECE) * s->chunk * s->slot[i].rank);
        most_bytes = bytes > most_bytes ? bytes : most_bytes;
    }
    return most_bytes;
}

#ifdef ELEM_F32
bool takes_thin(const struct device *, const struct group *, struct mat) { return false; }
void thin_inner(struct device *, struct mat, const struct group *, int64_t, struct dropout) {}
void thin_spread(struct device *, struct mat, struct mat, const struct group *, int64_t,
                 struct dropout)
{
}
void thin_outer(struct device *, const struct group *, struct mat, struct mat, int64_t,
                struct dropout)
{
}
#else

/* Of eight elements of x that begin at a column of that row. */
DEVICE lanes thin_lanes(const thin &t, int l, int row, int column)
{
    uint64_t e = (t.drop.first_row + (uint64_t)row) * t.in + column;
    return lanes_of(t.drop.key, e / 8, t.site[l]);
}

/* ---- u = drop(x) A^T ---- */

/* A thread's share of a tile of x on its way to shared memory. */
template <int ROWS, int C, int THREADS_> struct held {
    static constexpr int COUNT = ROWS * C / 8 / THREADS_;
    uint4 chunk[COUNT];
    DEVICE_MEMBER static int row(int i) { return ((int)threadIdx.x + i * THREADS_) / (C / 8); }
    DEVICE_MEMBER static int column(int i)
    {
        return ((int)threadIdx.x + i * THREADS_) % (C / 8) * 8;
    }
    /* Rows beyond the last repeat it: nothing of theirs is kept. */
    DEVICE_MEMBER void take(const thin &t, int first, int at)
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            chunk[i] =
                *(const uint4 *)(t.x + (int64_t)min(first + row(i), t.rows - 1) * t.x_stride + at +
                                 column(i));
    }
    /* Masked for one linear. */
    DEVICE_MEMBER void put(elem *tile, const thin &t, int l, int first, int at) const
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            lanes keep = thin_lanes(t, l, first + row(i), at + column(i));
            uint4 kept = make_uint4(chunk[i].x & kept_halves(keep.word[0], t.drop.least_kept),
                                    chunk[i].y & kept_halves(keep.word[1], t.drop.least_kept),
                                    chunk[i].z & kept_halves(keep.word[2], t.drop.least_kept),
                                    chunk[i].w & kept_halves(keep.word[3], t.drop.least_kept));
            *(uint4 *)tile_at<C>(tile, row(i), column(i)) = kept;
        }
    }
};

/* Grid: blocks of rows, pieces of columns. Warps 0 and 2 have the first 16 rows, 1 and 3 the
 * others; of the columns of u the even or the odd sixteens. */
template <int COUNT> KERNEL(BLOCK, 1) inner_kernel(const thin t)
{
    SHARED_DYNAMIC(memory);
    constexpr int X = U_ROWS * INNER, A = RANK * INNER, STAGE = COUNT * (X + A);
    elem *stages = (elem *)memory;
    int first = blockIdx.x * U_ROWS, from = blockIdx.y * PIECE, end = min(from + PIECE, t.in);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, half = warp % 2 * 16;
    float sum[COUNT][RANK / 32][2][4] = {};
    held<U_ROWS, INNER, BLOCK> h;
    auto fetch_a = [&](int stage, int at) {
        for (int l = 0; l < COUNT; l++)
            fetch<INNER, RANK, BLOCK>(stages + stage * STAGE + COUNT * X + l * A,
                                      t.a + (int64_t)t.column[l] * t.in + at, t.in, 0, t.rank[l]);
        copy_commit();
    };
    fetch_a(0, from);
    h.take(t, first, from);
    for (int at = from, stage = 0; at < end; at += INNER, stage = 1 - stage) {
        elem *x = stages + stage * STAGE, *a = x + COUNT * X;
#pragma unroll
        for (int l = 0; l < COUNT; l++)
            h.put(x + l * X, t, l, first, at);
        copy_wait<0>();
        block_sync(); /* this stage is there, and all are done with the other */
        if (at + INNER < end) {
            fetch_a(1 - stage, at + INNER);
            h.take(t, first, at + INNER);
        }
#pragma unroll
        for (int l = 0; l < COUNT; l++)
#pragma unroll
            for (int k = 0; k < INNER; k += 16) {
                uint32_t left[4], right[4];
                ldmatrix4(left, tile_at<INNER>(x + l * X, half + lane % 16, k + lane / 16 * 8));
#pragma unroll
                for (int n = 0; n < RANK / 32; n++) {
                    int r = (n * 2 + warp / 2) * 16;
                    ldmatrix4(right, tile_at<INNER>(a + l * A, r + lane % 8 + lane / 16 * 8,
                                                    k + lane / 8 % 2 * 8));
                    mma(sum[l][n][0], left, right[0], right[1]);
                    mma(sum[l][n][1], left, right[2], right[3]);
                }
            }
    }
    float *to = t.partial + (int64_t)blockIdx.y * t.rows * t.ranks;
#pragma unroll
    for (int l = 0; l < COUNT; l++)
#pragma unroll
        for (int n = 0; n < RANK / 32; n++)
#pragma unroll
            for (int e = 0; e < 8; e++) {
                int row = first + half + lane / 4 + e / 2 % 2 * 8;
                int r = (n * 2 + warp / 2) * 16 + e / 4 * 8 + lane % 4 * 2 + e % 2;
                if (row < t.rows && r < t.rank[l])
                    to[(int64_t)row * t.ranks + t.column[l] + r] = sum[l][n][e / 4][e % 4];
            }
}

/* u[row, r] = Σ of the pieces, in their order, / (1 − p). */
KERNEL(BLOCK, 1) inner_sum_kernel(elem *u, int64_t stride, const thin t, int count)
{
    int64_t n = (int64_t)blockIdx.x * BLOCK + threadIdx.x, all = (int64_t)t.rows * t.ranks;
    if (n >= all) return;
    float sum = 0;
    for (int p = 0; p < count; p++)
        sum += t.partial[p * all + n];
    u[n / t.ranks * stride + n % t.ranks] = narrow(sum * t.drop.scale);
}

/* ---- dx += Σ mask ⊙ (du A) / (1 − p) ---- */

/* Rows of du of one linear, zeros beyond its rank: a thread's columns are the same in each row. */
template <int ROWS, int THREADS_> DEVICE void fetch_du(elem *tile, const thin &t, int l, int first)
{
    int r = threadIdx.x % (RANK / 8) * 8;
    fetch<RANK, ROWS, THREADS_>(tile, t.du + t.column[l], t.du_stride, first,
                                r < t.rank[l] ? t.rows : 0);
}

KERNEL(BLOCK, 1) spread_kernel(const thin t, int count)
{
    SHARED_DYNAMIC(memory);
    constexpr int EACH = DX * DX / 8 / BLOCK, WIDTH = DX + DX_PAD;
    elem *du = (elem *)memory, *a = du + DX * RANK;
    float *product = (float *)(a + RANK * DX);
    int column = blockIdx.x * DX, first = blockIdx.y * DX;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float sum[EACH][8] = {};
    for (int l = 0; l < count; l++) {
        if (!t.rank[l]) continue;
        fetch<DX, RANK, BLOCK>(a, t.a + (int64_t)t.column[l] * t.in + column, t.in, 0, t.rank[l]);
        fetch_du<DX, BLOCK>(du, t, l, first);
        copy_commit();
        copy_wait<0>();
        block_sync(); /* the tiles are there, and all are done with the last product */
        float part[DX / 8][4] = {};
#pragma unroll
        for (int k = 0; k < RANK; k += 16) {
            uint32_t left[4], right[4];
            ldmatrix4(left, tile_at<RANK>(du, warp * 16 + lane % 16, k + lane / 16 * 8));
#pragma unroll
            for (int n = 0; n < DX / 8; n += 2) {
                ldmatrix4_trans(right, tile_at<DX>(a, k + lane % 16, n * 8 + lane / 16 * 8));
                mma(part[n], left, right[0], right[1]);
                mma(part[n + 1], left, right[2], right[3]);
            }
        }
#pragma unroll
        for (int n = 0; n < DX / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                product[(warp * 16 + lane / 4 + e / 2 * 8) * WIDTH + n * 8 + lane % 4 * 2 + e % 2] =
                    part[n][e];
        block_sync(); /* the product is there, and all are done with these tiles */
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int n = threadIdx.x + i * BLOCK, row = n / (DX / 8), at = n % (DX / 8) * 8;
            lanes keep = thin_lanes(t, l, first + row, column + at);
            const float *p = product + row * WIDTH + at;
            for (int j = 0; j < 8; j++)
                if (keep.word[j / 2] << (j % 2 ? 0 : 16) >= t.drop.least_kept << 16)
                    sum[i][j] += p[j];
        }
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int n = threadIdx.x + i * BLOCK, row = first + n / (DX / 8);
        if (row >= t.rows) continue;
        elem *to = t.dx + row * t.dx_stride + column + n % (DX / 8) * 8;
        pack<8> p;
        load(p, to);
        for (int j = 0; j < 8; j++)
            p.v[j] += sum[i][j] * t.drop.scale;
        store(to, p);
    }
}

/* ---- dA += du^T drop(x) ---- */

/* Grid: columns of x. A warp has sixteen rows of each dA, and every other sixteen rows of x: warps
 * 0 to 3 the even, the others the odd, whose sums are added last. */
template <int COUNT> KERNEL(DA_BLOCK, 1) outer_kernel(const thin t)
{
    SHARED_DYNAMIC(memory);
    constexpr int X = DA_ROWS * DA_COLUMNS, U = DA_ROWS * RANK, STAGE = COUNT * (X + U);
    elem *stages = (elem *)memory;
    int column = blockIdx.x * DA_COLUMNS, lane = threadIdx.x % 32;
    int warp = threadIdx.x / 32 % 4, odd = threadIdx.x / 128;
    float sum[COUNT][DA_COLUMNS / 8][4] = {};
    held<DA_ROWS, DA_COLUMNS, DA_BLOCK> h;
    auto fetch_all_du = [&](int stage, int first) {
        for (int l = 0; l < COUNT; l++)
            fetch_du<DA_ROWS, DA_BLOCK>(stages + stage * STAGE + COUNT * X + l * U, t, l, first);
        copy_commit();
    };
    fetch_all_du(0, 0);
    h.take(t, 0, column);
    for (int first = 0, stage = 0; first < t.rows; first += DA_ROWS, stage = 1 - stage) {
        elem *x = stages + stage * STAGE, *du = x + COUNT * X;
#pragma unroll
        for (int l = 0; l < COUNT; l++)
            h.put(x + l * X, t, l, first, column);
        copy_wait<0>();
        block_sync(); /* this stage is there, and all are done with the other */
        if (first + DA_ROWS < t.rows) {
            fetch_all_du(1 - stage, first + DA_ROWS);
            h.take(t, first + DA_ROWS, column);
        }
#pragma unroll
        for (int l = 0; l < COUNT; l++)
#pragma unroll
            for (int i = 0; i < DA_ROWS / 32; i++) {
                uint32_t left[4], right[4];
                int k = i * 32 + odd * 16;
                ldmatrix4_trans(left, tile_at<RANK>(du + l * U, k + lane % 8 + lane / 16 * 8,
                                                    warp * 16 + lane / 8 % 2 * 8));
#pragma unroll
                for (int n = 0; n < DA_COLUMNS / 8; n += 2) {
                    ldmatrix4_trans(right, tile_at<DA_COLUMNS>(x + l * X, k + lane % 16,
                                                               n * 8 + lane / 16 * 8));
                    mma(sum[l][n], left, right[0], right[1]);
                    mma(sum[l][n + 1], left, right[2], right[3]);
                }
            }
    }
    float *other = (float *)memory + threadIdx.x % 128;
    block_sync(); /* all are done with the last stage */
#pragma unroll
    for (int l = 0; l < COUNT; l++)
#pragma unroll
        for (int i = 0; i < DA_COLUMNS / 2; i++)
            if (odd) other[(l * DA_COLUMNS / 2 + i) * 128] = sum[l][i / 4][i % 4];
    block_sync();
    if (odd) return;
#pragma unroll
    for (int l = 0; l < COUNT; l++)
#pragma unroll
        for (int i = 0; i < DA_COLUMNS / 2; i++) {
            int r = warp * 16 + lane / 4 + i % 4 / 2 * 8;
            int at = column + i / 4 * 8 + lane % 4 * 2 + i % 2;
            float all = sum[l][i / 4][i % 4] + other[(l * DA_COLUMNS / 2 + i) * 128];
            if (t.da[l] && r < t.rank[l]) t.da[l][(int64_t)r * t.in + at] += all * t.drop.scale;
        }
}

/* ---- launches ---- */

static_assert(LINEAR_GROUP_MOST == 3); /* kernels for groups of one to three */

static thin thin_of(struct device *dev, const struct group *g, int64_t rows, struct dropout drop)
{
    thin t = {};
    t.a = dev->slot[g->slot].a;
    t.partial = dev->thin;
    t.rows = (int)rows, t.in = (int)g->at[0].in;
    t.drop = mask_of(drop);
    for (int i = 0; i < g->count; i++) {
        t.rank[i] = (int)g->at[i].rank;
        t.column[i] = t.ranks;
        t.site[i] = g->at[i].site;
        t.da[i] = g->at[i].da_acc;
        t.ranks += t.rank[i];
    }
    return t;
}

bool takes_thin(const struct device *dev, const struct group *g, struct mat wide)
{
    /* Three linears want 72 KiB of shared memory, two 48. */
    if (dev->capability < 75 || dev->shared_bytes < g->count * (24 << 10) ||
        g->count > LINEAR_GROUP_MOST || g->at[0].in % DX || !mat_is_wide(wide, g->at[0].in))
        return false;
    for (int i = 0; i < g->count; i++)
        if (g->at[i].rank > RANK || g->at[i].rank % 8) return false;
    return true;
}

template <int COUNT> static void launch_inner(struct device *dev, const thin &t)
{
    constexpr size_t bytes = 2 * COUNT * (U_ROWS + RANK) * INNER * sizeof(elem);
    dim3 grid((unsigned)pieces(t.rows, U_ROWS), (unsigned)pieces(t.in, PIECE));
    allow_shared(dev, (const void *)&inner_kernel<COUNT>, bytes, "linear_thin");
    LAUNCH(inner_kernel<COUNT>, grid, dim3(BLOCK), bytes, dev->stream, t);
}

void thin_inner(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                struct dropout drop)
{
    thin t = thin_of(dev, g, rows, drop);
    t.x = elems(x), t.x_stride = x.stride;
    static void (*const launch[])(
        struct device *, const thin &) = { launch_inner<1>, launch_inner<2>, launch_inner<3> };
    launch[g->count - 1](dev, t);
    LAUNCH(inner_sum_kernel, dim3((unsigned)pieces(rows * t.ranks, BLOCK)), dim3(BLOCK), 0,
           dev->stream, elems(x) + t.in, x.stride, t, (int)pieces(t.in, PIECE));
    launched(dev, "linear_inner");
}

void thin_spread(struct device *dev, struct mat dx, struct mat du, const struct group *g,
                 int64_t rows, struct dropout drop)
{
    constexpr size_t bytes = 2 * DX * RANK * sizeof(elem) + DX * (DX + DX_PAD) * sizeof(float);
    thin t = thin_of(dev, g, rows, drop);
    t.du = elems(du), t.du_stride = du.stride;
    t.dx = elems(dx), t.dx_stride = dx.stride;
    dim3 grid((unsigned)(t.in / DX), (unsigned)pieces(rows, DX));
    LAUNCH(spread_kernel, grid, dim3(BLOCK), bytes, dev->stream, t, g->count);
    launched(dev, "linear_bwd_input");
}

template <int COUNT> static void launch_outer(struct device *dev, const thin &t)
{
    constexpr size_t bytes = 2 * COUNT * DA_ROWS * (DA_COLUMNS + RANK) * sizeof(elem);
    allow_shared(dev, (const void *)&outer_kernel<COUNT>, bytes, "linear_thin");
    LAUNCH(outer_kernel<COUNT>, dim3((unsigned)(t.in / DA_COLUMNS)), dim3(DA_BLOCK), bytes,
           dev->stream, t);
}

void thin_outer(struct device *dev, const struct group *g, struct mat du, struct mat x,
                int64_t rows, struct dropout drop)
{
    thin t = thin_of(dev, g, rows, drop);
    t.x = elems(x), t.x_stride = x.stride;
    t.du = elems(du), t.du_stride = du.stride;
    static void (*const launch[])(
        struct device *, const thin &) = { launch_outer<1>, launch_outer<2>, launch_outer<3> };
    launch[g->count - 1](dev, t);
    launched(dev, "linear_bwd_weight");
}
#endif
