/* Quantizes to NF4 with double quantization; converts NF4 and all other types of weights to elem.
 * The kernels are limited by memory bandwidth. */
#include "kernels/cuda/nf4.cuh"

#include "kernels/cuda/device.cuh"

/* ---- to elem or f32 ---- */

/* Rows that a block decodes. Each thread has one load of each row in flight. */
enum { DECODED_ROWS = 4 };

/* What a thread reads of DECODED_ROWS rows: codes and absmax of N elements each. */
template <int N> struct raw_codes {
    uint32_t codes[DECODED_ROWS], absmax[DECODED_ROWS];
    float absmax_scale[DECODED_ROWS];
    DEVICE_MEMBER void load(const nf4_weight &w, int64_t e, int64_t cols, int64_t count)
    {
#pragma unroll
        for (int r = 0; r < DECODED_ROWS; r++, e += cols) {
            if (e >= count) break;
            codes[r] = N == 8 ? *(const uint32_t *)(w.codes + e / 2) : w.codes[e / 2];
            absmax[r] = w.absmax ? w.absmax[e / NF4_BLOCK] : 0;
            absmax_scale[r] = w.absmax_scale[e / (w.absmax ? NF4_NESTED : NF4_BLOCK)];
        }
    }
};

/* Decodes a tensor of `count` elements; row r of out gets the elements from r · cols on. Codes are
 * loaded while earlier codes are decoded; the first codes are loaded while the tables are
 * filled. */
template <class T, int N>
KERNEL(THREADS, 1)
nf4_kernel(T *out, int64_t stride, const nf4_weight w, int64_t cols, int64_t count)
{
    SHARED_DYNAMIC(memory);
    nf4_tables *tables = (nf4_tables *)memory;
    int64_t first = (int64_t)blockIdx.x * DECODED_ROWS, i = threadIdx.x * N;
    raw_codes<N> now, next;
    if (i < cols) now.load(w, first * cols + i, cols, count);
    fill_tables<THREADS>(tables);
    for (; i < cols; i += THREADS * N, now = next) {
        if (i + THREADS * N < cols) next.load(w, first * cols + i + THREADS * N, cols, count);
#pragma unroll
        for (int r = 0; r < DECODED_ROWS; r++) {
            int64_t row = first + r, e = row * cols + i;
            if (e >= count) break;
            float v[8], absmax = absmax_from(w, tables->map, now.absmax[r], now.absmax_scale[r]);
            pack<N> p;
            look_up(v, now.codes[r], tables->value);
            /* If N is 1, now.codes[r] is a single byte, which holds element e and its neighbour. */
            for (int j = 0; j < N; j++)
                p.v[j] = mul_rn(v[N == 8 ? j : e % 2], absmax);
            store(out + row * stride + i, p);
        }
    }
}

template <class T>
static void decode(struct device *dev, T *out, int64_t stride, const nf4_weight &w, int64_t rows,
                   int64_t cols, int64_t count)
{
    bool is_aligned =
        is_wide(out, stride, cols, sizeof *out) && count % 8 == 0 && (uintptr_t)w.codes % 4 == 0;
    dim3 grid((unsigned)ceil_div(rows, DECODED_ROWS)), threads(THREADS);
    if (!rows) return;
    if (is_aligned)
        LAUNCH((nf4_kernel<T, 8>), grid, threads, sizeof(nf4_tables), dev->stream, out, stride, w,
               cols, count);
    else
        LAUNCH((nf4_kernel<T, 1>), grid, threads, sizeof(nf4_tables), dev->stream, out, stride, w,
               cols, count);
    launched(dev, "nf4_dequantize");
}

void nf4_dequantize(struct device *dev, float *x, const uint8_t *codes, const uint8_t *absmax,
                    const float *absmax_scale, float offset, int64_t count)
{
    decode(dev, x, NF4_NESTED, { codes, absmax, absmax_scale, offset },
           nf4_nested_block_count(count), NF4_NESTED, count);
}

/* Converts rows of bf16 or f16, which are dense in `from`. A block has one row. */
template <int N>
KERNEL(THREADS, 1)
half_rows_kernel(elem *to, int64_t stride, const uint16_t *from, bool is_bf16, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p;
        load_halves(p, from + row * cols + i, is_bf16);
        store(to + row * stride + i, p);
    }
}

void weight_to_elems(struct device *dev, elem *to, int64_t stride, const struct linear *l)
{
    dim3 rows((unsigned)l->out), threads(THREADS);
    if (l->type == DTYPE_NF4) {
        decode(dev, to, stride,
               { (const uint8_t *)l->weight, l->absmax, l->absmax_scale, l->offset }, l->out, l->in,
               l->out * l->in);
    } else if (l->type == DTYPE_F32) {
        cast_in(dev, { (struct act *)to, stride }, (const float *)l->weight, l->out, l->in);
    } else {
        const uint16_t *from = (const uint16_t *)l->weight;
        bool is_bf16 = l->type == DTYPE_BF16;
        if (is_wide(to, stride, l->in, sizeof *to) && is_wide(from, l->in, l->in, sizeof *from))
            LAUNCH(half_rows_kernel<8>, rows, threads, 0, dev->stream, to, stride, from, is_bf16,
                   l->in);
        else
            LAUNCH(half_rows_kernel<1>, rows, threads, 0, dev->stream, to, stride, from, is_bf16,
                   l->in);
    }
    launched(dev, "linear_prepare");
}

/* ---- from f32 ---- */

/* Returns the NF4 code of x, which is the number of thresholds below x. If x is equal to a
 * threshold, the lower code is returned. */
DEVICE uint8_t code_of(float x)
{
    uint8_t code = 0;
    for (int i = 0; i < 15; i++)
        code = (uint8_t)(code + (x > nf4_threshold[i]));
    return code;
}

/* Returns the index of the value of the 8-bit map that is nearest to x. If two are equally near,
 * the even index is taken, as in kernels/cpu/nf4.c. */
DEVICE uint8_t absmax_code(float x)
{
    int low = 0, high = 255;
    while (low < high) {
        int middle = (low + high) / 2;
        float border = mul_rn(add_rn(nf4_absmax_value[middle], nf4_absmax_value[middle + 1]), 0.5f);
        if (middle % 2 ? x >= border : x > border)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint8_t)low;
}

/* Returns |x| as bits, so that infinity and NaN compare as the largest. */
DEVICE uint32_t magnitude(float x) { return float_as_bits(x) & 0x7fffffff; }

DEVICE float weight_at(const void *x, enum dtype type, int64_t i)
{
    if (type == DTYPE_F32) return ((const float *)x)[i];
    uint16_t half = ((const uint16_t *)x)[i];
    return type == DTYPE_BF16 ? bits_as_float((uint32_t)half << 16) : half_as_float(half);
}

/* Each warp quantizes one block of 64 weights. Each lane quantizes two adjacent weights, whose
 * codes share a byte. */
KERNEL(THREADS, 1)
code_kernel(uint8_t *codes, float *absmax, const void *x, enum dtype type, int64_t count)
{
    int64_t block = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / 32, lane = threadIdx.x % 32;
    int64_t e = block * NF4_BLOCK + 2 * lane;
    float a = e < count ? weight_at(x, type, e) : 0;
    float b = e + 1 < count ? weight_at(x, type, e + 1) : 0;
    uint32_t bits = warp_largest(larger(magnitude(a), magnitude(b)));
    if (e >= count) return;
    float block_max = bits_as_float(bits);
    if (lane == 0) absmax[block] = block_max;
    float inverse = 1 / (block_max > 1e-38f ? block_max : 1e-38f);
    /* An odd count is padded with 0, whose code is 7. */
    uint8_t first = code_of(mul_rn(a, inverse));
    uint8_t second = e + 1 < count ? code_of(mul_rn(b, inverse)) : 7;
    codes[e / 2] = (uint8_t)(first << 4 | second);
}

void nf4_codes(struct device *dev, uint8_t *codes, float *absmax, const void *x, enum dtype type,
               int64_t count)
{
    must(type != DTYPE_NF4);
    int64_t blocks = nf4_block_count(count);
    if (!blocks) return;
    LAUNCH(code_kernel, dim3((unsigned)ceil_div(blocks * 32, THREADS)), dim3(THREADS), 0,
           dev->stream, codes, absmax, x, type, count);
    launched(dev, __func__);
}

/* Computes the mean of absmax in double. A single thread adds block after block. */
KERNEL(1, 1) offset_kernel(double *offset, const float *absmax, int64_t blocks)
{
    double sum = 0;
    for (int64_t i = 0; i < blocks; i++)
        sum += (double)absmax[i];
    *offset = blocks ? sum / (double)blocks : 0;
}

void nf4_offset(struct device *dev, float *offset, const float *absmax, int64_t blocks)
{
    double mean;
    LAUNCH(offset_kernel, dim3(1), dim3(1), 0, dev->stream, dev->squares, absmax, blocks);
    launched(dev, __func__);
    device_download(dev, &mean, dev->squares, sizeof mean);
    *offset = (float)mean;
}

/* A block quantizes the absmax values of one nested block. Its scale is max |absmax − offset|. */
KERNEL(NF4_NESTED_BLOCK, 1)
nest_kernel(uint8_t *codes, float *absmax_scale, const float *absmax, float offset, int64_t blocks)
{
    SHARED_DYNAMIC(memory);
    float *warp_max = (float *)memory;
    int64_t i = (int64_t)blockIdx.x * NF4_NESTED_BLOCK + threadIdx.x;
    float distance = i < blocks ? absmax[i] - offset : 0, scale = fabsf(distance);
    for (int mask = 16; mask; mask /= 2)
        scale = fmaxf(scale, shuffle_xor(scale, mask));
    if (threadIdx.x % 32 == 0) warp_max[threadIdx.x / 32] = scale;
    block_sync();
    for (int w = 0; w < NF4_NESTED_BLOCK / 32; w++)
        scale = fmaxf(scale, warp_max[w]);
    if (threadIdx.x == 0) absmax_scale[blockIdx.x] = scale;
    float inverse = 1 / scale;
    if (i < blocks) codes[i] = scale > 0 ? absmax_code(mul_rn(distance, inverse)) : 0;
}

void nf4_nest(struct device *dev, uint8_t *absmax, float *absmax_scale, const float *absmax_f32,
              float offset, int64_t blocks)
{
    if (!blocks) return;
    LAUNCH(nest_kernel, dim3((unsigned)ceil_div(blocks, NF4_NESTED_BLOCK)), dim3(NF4_NESTED_BLOCK),
           8 * 4, dev->stream, absmax, absmax_scale, absmax_f32, offset, blocks);
    launched(dev, __func__);
}

/* ---- the error of quantizing ---- */

KERNEL(THREADS, 1)
error_kernel(double *parts, const void *x, enum dtype type, const nf4_weight w, int64_t count,
             int64_t size)
{
    SHARED_DYNAMIC(memory);
    double *scratch = (double *)memory, squares = 0, error_squares = 0, max_error = 0;
    int64_t first = blockIdx.x * size, end = first + size < count ? first + size : count;
    for (int64_t e = first + threadIdx.x; e < end; e += THREADS) {
        float absmax = absmax_of(w, nf4_absmax_value, e);
        uint8_t codes = w.codes[e / 2];
        float value = weight_at(x, type, e);
        double d =
            (double)fabsf(value - mul_rn(nf4_value[e % 2 ? codes & 15 : codes >> 4], absmax));
        squares += (double)value * (double)value;
        error_squares += d * d;
        max_error = d > max_error ? d : max_error;
    }
    squares = block_sum(squares, scratch);
    error_squares = block_sum(error_squares, scratch);
    for (int mask = 16; mask; mask /= 2) {
        double other = shuffle_xor(max_error, mask);
        max_error = other > max_error ? other : max_error;
    }
    block_sync();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = max_error;
    block_sync();
    if (threadIdx.x) return;
    for (int i = 0; i < THREADS / 32; i++)
        max_error = scratch[i] > max_error ? scratch[i] : max_error;
    parts[3 * blockIdx.x] = squares;
    parts[3 * blockIdx.x + 1] = error_squares;
    parts[3 * blockIdx.x + 2] = max_error;
}

void nf4_error(struct device *dev, struct nf4_error *error, const void *x, enum dtype type,
               const uint8_t *codes, const uint8_t *absmax, const float *absmax_scale, float offset,
               int64_t count)
{
    struct nf4_error parts[SUM_PIECES];
    int64_t size = ceil_div(count, SUM_PIECES), tasks = size ? ceil_div(count, size) : 0;
    must(type != DTYPE_NF4);
    *error = { 0, 0, 0 };
    if (!tasks) return;
    const nf4_weight w = { codes, absmax, absmax_scale, offset };
    LAUNCH(error_kernel, dim3((unsigned)tasks), dim3(THREADS), 32 * sizeof(double), dev->stream,
           dev->squares, x, type, w, count, size);
    launched(dev, __func__);
    device_download(dev, parts, dev->squares, (size_t)tasks * sizeof *parts);
    for (int64_t i = 0; i < tasks; i++) {
        error->squares += parts[i].squares;
        error->error_squares += parts[i].error_squares;
        error->max_error =
            parts[i].max_error > error->max_error ? parts[i].max_error : error->max_error;
    }
}
