/* Products of few rows with weights as they are stored, for generating text. They are limited by
 * memory bandwidth.
 *
 * A warp has OUTS rows of a linear layer's weights and goes over their columns. A lane loads 16
 * bytes of each row at a time, so that enough loads are in flight. NF4 values are looked up in
 * shared memory (16 words in 16 banks) and multiplied by x. The products are summed in f32 over the
 * half block that a lane has, and the sum is multiplied by absmax. That is five instructions for
 * each value, which take longer than loading its half byte. So on GPUs with tensor cores, NF4 is
 * computed in another way (below).
 */
#include "kernels/cuda/nf4.cuh"

#include "kernels/cuda/device.cuh"

enum { WARPS = 4 };

struct decode_linear {
    const void *weight; /* not used if the type is NF4; `nf4` has the weight then */
    nf4_weight nf4;
    const float *b, *bias; /* b: LoRA's B; bias: the linear layer's, or NULL */
    float scale;
    int64_t out, rank, y_column, u_column;
};

struct decode_call {
    decode_linear at[MAX_GROUP];
    const elem *x, *residual;
    elem *y;
    float *y32; /* If it is not NULL, results are written here instead of to y. */
    int64_t x_stride, residual_stride, y_stride, in;
    int rows;
};

/* The part of a row of weights that a lane loads together: COUNT elements from `at` on. */
template <enum dtype TYPE> struct weight_piece;

template <> struct weight_piece<DTYPE_NF4> {
    static constexpr int COUNT = 32;
    uint4 codes;
    float absmax;
    DEVICE_MEMBER void load(const decode_linear &l, int64_t at, const float *map)
    {
        codes = ((const uint4 *)l.nf4.codes)[at / COUNT];
        absmax = absmax_of(l.nf4, map, at);
    }
    DEVICE_MEMBER void widen8(float *w, int part, const float *value) const
    {
        uint32_t word = part == 0 ? codes.x : part == 1 ? codes.y : part == 2 ? codes.z : codes.w;
        look_up(w, word, value);
    }
    DEVICE_MEMBER float scale() const { return absmax; }
};

template <> struct weight_piece<DTYPE_F32> {
    static constexpr int COUNT = 8;
    pack<8> p;
    DEVICE_MEMBER void load(const decode_linear &l, int64_t at, const float *)
    {
        ::load(p, (const float *)l.weight + at);
    }
    DEVICE_MEMBER void widen8(float *w, int, const float *) const
    {
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[i] = p.v[i];
    }
    DEVICE_MEMBER float scale() const { return 1; }
};

template <enum dtype TYPE> struct weight_piece {
    static constexpr int COUNT = 8;
    uint4 half;
    DEVICE_MEMBER void load(const decode_linear &l, int64_t at, const float *)
    {
        half = ((const uint4 *)l.weight)[at / COUNT];
    }
    DEVICE_MEMBER void widen8(float *w, int, const float *) const
    {
        pack<8> p;
        load_halves(p, (const uint16_t *)&half, TYPE == DTYPE_BF16);
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[i] = p.v[i];
    }
    DEVICE_MEMBER float scale() const { return 1; }
};

/* Computes sum[t][o] += x[t] · (row first + o of W), over this lane's elements. Beyond the last row
 * of W and of x, the last row is used again. */
template <enum dtype TYPE, int ROWS, int OUTS>
DEVICE void add_products(float (*sum)[OUTS], const decode_call &a, const decode_linear &l,
                         int64_t first, const float *value, const float *map)
{
    constexpr int COUNT = weight_piece<TYPE>::COUNT;
    for (int64_t i = threadIdx.x % 32 * COUNT; i < a.in; i += 32 * COUNT) {
        weight_piece<TYPE> w[OUTS];
        float part[ROWS][OUTS] = {};
#pragma unroll
        for (int o = 0; o < OUTS; o++)
            w[o].load(l, min(first + o, l.out - 1) * a.in + i, map);
#pragma unroll
        for (int s = 0; s < COUNT / 8; s++) {
            float wide[OUTS][8];
#pragma unroll
            for (int o = 0; o < OUTS; o++)
                w[o].widen8(wide[o], s, value);
#pragma unroll
            for (int t = 0; t < ROWS; t++) {
                pack<8> x;
                load(x, a.x + min(t, a.rows - 1) * a.x_stride + i + 8 * s);
#pragma unroll
                for (int o = 0; o < OUTS; o++)
#pragma unroll
                    for (int e = 0; e < 8; e++)
                        part[t][o] += wide[o][e] * x.v[e];
            }
        }
#pragma unroll
        for (int t = 0; t < ROWS; t++)
#pragma unroll
            for (int o = 0; o < OUTS; o++)
                sum[t][o] += part[t][o] * w[o].scale();
    }
}

/* Returns how many blocks should fit on a multiprocessor. Without this bound the kernel for
 * NF4 weights and one row of x uses 185 registers. Then each scheduler has only two warps, which
 * both wait for memory. The numbers are the largest with which no register spills. */
constexpr int blocks_for(int rows) { return rows == 1 ? 8 : rows == 8 ? 4 : 5; }

/* blockIdx.y is the index of the linear layer in its group. */
template <enum dtype TYPE, int ROWS, int OUTS>
KERNEL(WARPS * 32, blocks_for(ROWS))
decode_kernel(const decode_call a)
{
    SHARED_DYNAMIC(memory);
    nf4_tables *tables = (nf4_tables *)memory;
    const decode_linear &l = a.at[blockIdx.y];
    if (TYPE == DTYPE_NF4) fill_tables<WARPS * 32>(tables);
    int lane = threadIdx.x % 32;
    int64_t first = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * OUTS;
    if (first >= l.out) return;
    float sum[ROWS][OUTS] = {};
    add_products<TYPE, ROWS, OUTS>(sum, a, l, first, tables->value, tables->map);
    for (int64_t r = lane; r < l.rank; r += 32)
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            float b = l.scale * l.b[min(first + o, l.out - 1) * l.rank + r];
#pragma unroll
            for (int t = 0; t < ROWS; t++)
                sum[t][o] += b * widen(a.x[min(t, a.rows - 1) * a.x_stride + l.u_column + r]);
        }
#pragma unroll
    for (int t = 0; t < ROWS; t++)
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            float whole = warp_sum(sum[t][o]);
            int64_t row = first + o, column = l.y_column + row;
            if (lane || t >= a.rows || row >= l.out) continue;
            if (a.y32) {
                a.y32[t * a.y_stride + column] = whole;
                continue;
            }
            if (l.bias) whole += l.bias[row];
            if (a.residual) whole += widen(a.residual[t * a.residual_stride + column]);
            a.y[t * a.y_stride + column] = narrow(whole);
        }
}

/* ---- NF4 on tensor cores ----
 *
 * A thread block computes with TILE_OUTS rows of weights, the left operand. Its warps go over the
 * columns, GROUP NF4 blocks of 64 weights at a time. A lane works on two rows, and holds 8 bytes of
 * each NF4 block of them. The two codes in a byte are neighbours in the left operand, and a table
 * of 256 words gives both values in one look-up. Each lane has its own copy of the table, so that
 * there are no bank conflicts. The right operand is xᵀ: its eight columns are up to eight rows of
 * x. The sum over an NF4 block is multiplied by its absmax in f32. The 16 values are rounded to
 * elem before that; linear_prepare rounds the products with absmax. */
#ifndef ELEM_F32
enum { TILE_OUTS = 16, TILE_WARPS = 8, GROUP = 4, TILE_COLUMNS = GROUP * NF4_BLOCK };

struct pair_tables {
    /* [byte][lane]: the values of a byte's two codes, that of the high nibble first */
    uint32_t pair[256][32];
    float map[256], partial[TILE_WARPS][TILE_OUTS][DECODE_ROWS];
};

/* A thread fills the copies of one byte. The threads write their eight pieces of 16 bytes in
 * different orders, so that they use different banks. */
DEVICE void fill_pairs(pair_tables *t)
{
    int byte = threadIdx.x;
    uint32_t two = pack2(nf4_value[byte >> 4], nf4_value[byte & 15]);
#pragma unroll
    for (int i = 0; i < 8; i++)
        *(uint4 *)&t->pair[byte][(byte + i) % 8 * 4] = make_uint4(two, two, two, two);
    t->map[byte] = nf4_absmax_value[byte];
}

/* Returns both values of byte `b` of a word. `copy` is the address of this lane's copy of the
 * table. */
DEVICE uint32_t pair_of(uint32_t copy, uint32_t word, int b)
{
    return word_at(copy + byte_of(word, b) * sizeof(pair_tables::pair[0]));
}

/* The part of a row of weights that a lane loads together: 8 bytes of each of GROUP blocks, and the
 * absmax of these blocks. With double quantization (NESTED) the absmax are 8-bit codes that share
 * one scale. */
template <bool NESTED> struct row_group {
    uint2 codes[GROUP];
    float4 absmax;
    uint32_t absmax_bytes;
    float absmax_scale;
    DEVICE_MEMBER void load(const nf4_weight &w, int block, int quarter)
    {
        const uint2 *from = (const uint2 *)w.codes + (int64_t)block * 4 + quarter;
#pragma unroll
        for (int i = 0; i < GROUP; i++)
            codes[i] = from[i * 4];
        if (NESTED) {
            absmax_bytes = *(const uint32_t *)(w.absmax + block);
            absmax_scale = w.absmax_scale[(unsigned)block / NF4_NESTED_BLOCK];
        } else {
            absmax = *(const float4 *)(w.absmax_scale + block);
        }
    }
    DEVICE_MEMBER float scale(const float *map, float offset, int i) const
    {
        if (NESTED) return nested_absmax(map, byte_of(absmax_bytes, i), absmax_scale, offset);
        return i == 0 ? absmax.x : i == 1 ? absmax.y : i == 2 ? absmax.z : absmax.w;
    }
};

/* Adds the products of GROUP blocks to sum [16 rows of weights, 8 rows of x]. */
template <bool NESTED>
DEVICE void add_group(float *sum, uint32_t copy, const float *map, const row_group<NESTED> *rows,
                      float offset, const elem *x, bool has_x)
{
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        float part[4] = {};
        uint4 one = load16(x + i * NF4_BLOCK, has_x), two = load16(x + i * NF4_BLOCK + 8, has_x);
        uint32_t right[8] = { one.x, one.y, one.z, one.w, two.x, two.y, two.z, two.w };
#pragma unroll
        for (int s = 0; s < 4; s++) {
            uint32_t left[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const uint2 &codes = rows[j % 2].codes[i];
                left[j] = pair_of(copy, s < 2 ? codes.x : codes.y, s % 2 * 2 + j / 2);
            }
            mma(part, left, right[2 * s], right[2 * s + 1]);
        }
        float scale[2] = { rows[0].scale(map, offset, i), rows[1].scale(map, offset, i) };
#pragma unroll
        for (int j = 0; j < 4; j++)
            sum[j] += part[j] * scale[j / 2];
    }
}

/* blockIdx.y is the index of the linear layer in its group. */
template <bool NESTED> KERNEL(TILE_WARPS * 32, 4) decode_mma_kernel(const decode_call a)
{
    SHARED_DYNAMIC(memory);
    pair_tables *t = (pair_tables *)memory;
    const decode_linear &l = a.at[blockIdx.y];
    int first = blockIdx.x * TILE_OUTS, last = (int)l.out - 1, blocks = (int)(a.in / NF4_BLOCK);
    if (first > last) return;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    int first_block[2] = { min(first + g, last) * blocks, min(first + g + 8, last) * blocks };
    const elem *x = a.x + min(g, a.rows - 1) * a.x_stride + q * 16;
    uint32_t copy = shared_address(&t->pair[0][lane]);
    float sum[4] = {};
    row_group<NESTED> rows[2];
    int block = warp * GROUP;
    if (block < blocks) /* These loads are in flight while the table is filled. */
        for (int r = 0; r < 2; r++)
            rows[r].load(l.nf4, first_block[r] + block, q);
    fill_pairs(t);
    block_sync();
    while (block < blocks) {
        add_group(sum, copy, t->map, rows, l.nf4.offset, x + block * NF4_BLOCK, g < a.rows);
        block += TILE_WARPS * GROUP;
        if (block < blocks)
            for (int r = 0; r < 2; r++)
                rows[r].load(l.nf4, first_block[r] + block, q);
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
        t->partial[warp][g + j / 2 * 8][q * 2 + j % 2] = sum[j];
    block_sync();
    /* Sixteen threads share a row of weights. They add the sums of all warps, and the adapter's
     * product. */
    int out = threadIdx.x / 16, part = threadIdx.x % 16;
    const float *b = l.b + min(first + out, last) * l.rank;
    for (int64_t row = 0; row < a.rows; row++) {
        const elem *u = a.x + row * a.x_stride + l.u_column;
        float whole = part < TILE_WARPS ? t->partial[part][out][row] : 0;
        for (int64_t r = part; r < l.rank; r += 16)
            whole += l.scale * b[r] * widen(u[r]);
        for (int mask = 8; mask; mask /= 2)
            whole += shuffle_xor(whole, mask);
        int64_t column = l.y_column + first + out;
        if (part || first + out > last) continue;
        if (l.bias) whole += l.bias[first + out];
        if (a.residual) whole += widen(a.residual[row * a.residual_stride + column]);
        a.y[row * a.y_stride + column] = narrow(whole);
    }
}

/* True if the GPU has tensor cores, each row can be cut into groups of GROUP NF4 blocks, the absmax
 * of a group are aligned so that one load reads them, and either all layers have double
 * quantization or none has. */
static bool suits_mma(const struct device *dev, const decode_call &a, int count)
{
    if (!has_tensor_cores(dev) || a.in % TILE_COLUMNS) return false;
    for (int i = 0; i < count; i++) {
        const nf4_weight &w = a.at[i].nf4;
        bool is_aligned =
            w.absmax ? (uintptr_t)w.absmax % 4 == 0 : (uintptr_t)w.absmax_scale % 16 == 0;
        if (!is_aligned || !w.absmax != !a.at[0].nf4.absmax) return false;
    }
    return true;
}

template <bool NESTED>
static void launch_mma(struct device *dev, const decode_call &a, int count, int64_t max_out)
{
    dim3 grid((unsigned)ceil_div(max_out, TILE_OUTS), (unsigned)count);
    LAUNCH(decode_mma_kernel<NESTED>, grid, dim3(TILE_WARPS * 32), sizeof(pair_tables), dev->stream,
           a);
    launched(dev, "linear_decode");
}
#endif

template <enum dtype TYPE, int ROWS, int OUTS>
static void launch(struct device *dev, const decode_call &a, int count, int64_t max_out)
{
    dim3 grid((unsigned)ceil_div(max_out, WARPS * OUTS), (unsigned)count);
    LAUNCH((decode_kernel<TYPE, ROWS, OUTS>), grid, dim3(WARPS * 32), sizeof(nf4_tables),
           dev->stream, a);
    launched(dev, "linear_decode");
}

template <enum dtype TYPE>
static void launch_type(struct device *dev, const decode_call &a, int count)
{
    int64_t max_out = 0;
    for (int i = 0; i < count; i++)
        max_out = max_i64(max_out, a.at[i].out);
#ifndef ELEM_F32
    if (TYPE == DTYPE_NF4 && suits_mma(dev, a, count)) {
        if (a.at[0].nf4.absmax)
            launch_mma<true>(dev, a, count, max_out);
        else
            launch_mma<false>(dev, a, count, max_out);
        return;
    }
#endif
    if (a.rows == 1)
        launch<TYPE, 1, 4>(dev, a, count, max_out);
    else if (a.rows == 2)
        launch<TYPE, 2, 4>(dev, a, count, max_out);
    else if (a.rows <= 4)
        launch<TYPE, 4, 2>(dev, a, count, max_out);
    else
        launch<TYPE, 8, 2>(dev, a, count, max_out);
}

static void launch_decode(struct device *dev, const decode_call &a, enum dtype type, int count)
{
    if (type == DTYPE_NF4)
        launch_type<DTYPE_NF4>(dev, a, count);
    else if (type == DTYPE_BF16)
        launch_type<DTYPE_BF16>(dev, a, count);
    else if (type == DTYPE_F16)
        launch_type<DTYPE_F16>(dev, a, count);
    else
        launch_type<DTYPE_F32>(dev, a, count);
}

/* Does each row consist of whole weight_pieces, which can be read 16 bytes at a time? */
static bool is_readable_in_pieces(const struct linear *l)
{
    int64_t unit = l->type == DTYPE_NF4 ? 32 : 8;
    return l->in % unit == 0 && (uintptr_t)l->weight % 16 == 0;
}

bool suits_decode(const struct device *dev, const struct group *g, struct mat x, int64_t rows)
{
    if (dev->shape.has_backward || rows > DECODE_ROWS || g->count > MAX_GROUP ||
        !mat_is_wide(x, g->at[0].in))
        return false;
    for (int i = 0; i < g->count; i++)
        if (!is_readable_in_pieces(&g->at[i]) || g->at[i].type != g->at[0].type) return false;
    return true;
}

/* Computes u = x Aᵀ and writes it to the columns to the right of x. */
static void lora_down_decode(struct device *dev, struct mat x, const struct group *g, int64_t rows)
{
    decode_call a = {};
    int count = 0;
    a.x = elems(x), a.x_stride = x.stride, a.y = elems(x), a.y_stride = x.stride;
    a.in = g->at[0].in, a.rows = (int)rows;
    for (int64_t i = 0, column = a.in; i < g->count; column += g->at[i++].rank) {
        if (!g->at[i].rank) continue;
        decode_linear *l = &a.at[count++];
        l->weight = g->at[i].a;
        l->out = g->at[i].rank;
        l->y_column = column;
    }
    if (count) launch_decode(dev, a, DTYPE_F32, count);
}

void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows)
{
    decode_call a = {};
    lora_down_decode(dev, x, g, rows);
    a.x = elems(x), a.x_stride = x.stride, a.y = elems(y), a.y_stride = y.stride;
    a.residual = elems(residual), a.residual_stride = residual.stride;
    a.in = g->at[0].in, a.rows = (int)rows;
    int64_t y_column = 0, u_column = a.in;
    for (int i = 0; i < g->count; i++) {
        const struct linear *from = &g->at[i];
        a.at[i] = { .weight = from->weight,
                    .nf4 = { (const uint8_t *)from->weight, from->absmax, from->absmax_scale,
                             from->offset },
                    .b = from->b,
                    .bias = from->bias,
                    .scale = from->scale,
                    .out = from->out,
                    .rank = from->rank,
                    .y_column = y_column,
                    .u_column = u_column };
        y_column += from->out;
        u_column += from->rank;
    }
    launch_decode(dev, a, g->at[0].type, g->count);
}

void head_decode(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows)
{
    decode_call a = {};
    a.x = elems(x), a.x_stride = x.stride, a.y32 = logits, a.y_stride = head->out;
    a.in = head->in, a.rows = (int)rows;
    a.at[0].weight = head->weight;
    a.at[0].out = head->out;
    launch_decode(dev, a, head->type, 1);
}
