/* The output head with cross-entropy, in chunks of rows. Logits are f32. */
#include "kernels/cuda/device.cuh"

/* A block computes the nll of one row of scale · logits and, unless d is NULL, d = dscale · scale ·
 * (softmax − onehot). Both are 0 for a row that is not scored. */
KERNEL(THREADS, 1)
loss_kernel(float *nll, elem *d, const float *logits, int64_t stride, const int32_t *target,
            int64_t vocab, float scale, float dscale)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x;
    const float *z = logits + row * stride;
    int32_t at = target[row];
    float max_logit = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS)
        max_logit = fmaxf(max_logit, scale * z[i]);
    for (int mask = 16; mask; mask /= 2)
        max_logit = fmaxf(max_logit, shuffle_xor(max_logit, mask));
    float *max_logits = (float *)memory + 32;
    if (threadIdx.x % 32 == 0) max_logits[threadIdx.x / 32] = max_logit;
    block_sync();
    for (int w = 0; w < THREADS / 32; w++)
        max_logit = fmaxf(max_logit, max_logits[w]);
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS)
        sum += expf(scale * z[i] - max_logit);
    sum = block_sum(sum, (float *)memory);
    if (threadIdx.x == 0) nll[row] = at < 0 ? 0 : max_logit + logf(sum) - scale * z[at];
    if (!d) return;
    dscale *= scale;
    float factor = at < 0 ? 0 : dscale / sum;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS)
        d[row * stride + i] =
            narrow(expf(scale * z[i] - max_logit) * factor - (i == at ? dscale : 0));
}

/* Returns the head's weights as elem: the stored weights, or a copy of them. In inference they are
 * copied only once. */
static const elem *prepare_head(struct device *dev, const struct linear *head)
{
    must(head->type != DTYPE_NF4);
    if (head->type == kernels_cuda.act_type) return (const elem *)head->weight;
    must(dev->shape.head_type != kernels_cuda.act_type);
    if (dev->shape.has_backward || dev->head_source != head->weight)
        weight_to_elems(dev, dev->head, head->in, head);
    dev->head_source = head->weight;
    return dev->head;
}

static void head_gemm(struct device *dev, float *logits, int64_t stride, struct mat x,
                      int64_t first, int64_t rows, const elem *weight, const struct linear *head)
{
    struct gemm p = {};
    p.b_transposed = p.is_f32 = true;
    p.m = rows;
    p.n = head->out;
    p.k = head->in;
    p.alpha = 1;
    p.a = elems(x) + first * x.stride;
    p.lda = x.stride;
    p.b = weight;
    p.ldb = head->in;
    p.c = p.d = logits;
    p.ldc = p.ldd = stride;
    gemm(dev, &p);
}

/* ---- the head's adapter ---- */

/* Copies B [vocab, rank] to dev->head_b. Its rows there are row_stride(rank) apart. */
static void prepare_adapter(struct device *dev, const struct linear *head)
{
    must(head->rank <= dev->shape.head_rank);
    cast_in(dev, { (struct act *)dev->head_b, row_stride(head->rank) }, head->b, head->out,
            head->rank);
}

/* Computes logits += scale · u Bᵀ. u is to the right of x. */
static void add_adapter(struct device *dev, float *logits, int64_t stride, struct mat x,
                        int64_t first, int64_t rows, const struct linear *head)
{
    struct gemm p = {};
    p.b_transposed = p.is_f32 = true;
    p.m = rows;
    p.n = head->out;
    p.k = head->rank;
    p.alpha = head->scale;
    p.beta = 1;
    p.a = elems(x) + first * x.stride + head->in;
    p.lda = x.stride;
    p.b = dev->head_b;
    p.ldb = row_stride(head->rank);
    p.c = p.d = logits;
    p.ldc = p.ldd = stride;
    gemm(dev, &p);
}

/* Computes du = scale · dlogits B, and db += scale · dlogitsᵀ u. */
static void adapter_backward(struct device *dev, struct mat du, struct mat x, int64_t first,
                             int64_t rows, const struct linear *head)
{
    int64_t stride = row_stride(head->out);
    struct gemm p = {};
    p.m = rows;
    p.n = head->rank;
    p.k = head->out;
    p.alpha = head->scale;
    p.a = dev->dlogits;
    p.lda = stride;
    p.b = dev->head_b;
    p.ldb = row_stride(head->rank);
    p.c = p.d = elems(du) + first * du.stride;
    p.ldc = p.ldd = du.stride;
    gemm(dev, &p);
    if (!head->db_acc) return;
    p.a_transposed = p.is_f32 = true;
    p.m = head->out;
    p.k = rows;
    p.beta = 1;
    p.b = elems(x) + first * x.stride + head->in;
    p.ldb = x.stride;
    p.c = p.d = head->db_acc;
    p.ldc = p.ldd = head->rank;
    gemm(dev, &p);
}

/* ---- operations ---- */

void head_loss(struct device *dev, float *nll, struct mat dx, struct mat du, float *dweight_acc,
               struct mat x, const struct linear *head, float logit_scale, const int32_t *target,
               int64_t rows, float dscale)
{
    must((!dweight_acc || dx.at) && (!head->rank || x.stride >= head->in + head->rank));
    const elem *weight = prepare_head(dev, head);
    if (head->rank) prepare_adapter(dev, head);
    int64_t vocab = head->out, dim = head->in, stride = row_stride(vocab);
    for (int64_t first = 0; first < rows; first += dev->logit_rows) {
        int64_t n = min_i64(dev->logit_rows, rows - first);
        head_gemm(dev, dev->logits, stride, x, first, n, weight, head);
        if (head->rank) add_adapter(dev, dev->logits, stride, x, first, n, head);
        LAUNCH(loss_kernel, dim3((unsigned)n), dim3(THREADS), 64 * 4, dev->stream, nll + first,
               dx.at ? dev->dlogits : (elem *)NULL, dev->logits, stride, target + first, vocab,
               logit_scale, dscale);
        launched(dev, __func__);
        if (!dx.at) continue;
        struct gemm p = {};
        p.m = n;
        p.n = dim;
        p.k = vocab;
        p.alpha = 1;
        p.a = dev->dlogits;
        p.lda = stride;
        p.b = weight;
        p.ldb = dim;
        p.c = p.d = elems(dx) + first * dx.stride;
        p.ldc = p.ldd = dx.stride;
        gemm(dev, &p);
        if (head->rank) adapter_backward(dev, du, x, first, n, head);
        if (!dweight_acc) continue;
        p.a_transposed = p.is_f32 = true;
        p.m = vocab;
        p.k = n;
        p.beta = 1;
        p.b = elems(x) + first * x.stride;
        p.ldb = x.stride;
        p.c = p.d = dweight_acc;
        p.ldc = p.ldd = dim;
        gemm(dev, &p);
    }
}

void head_logits(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows)
{
    const struct group g = { head, 1, 0, false };
    if (suits_decode(dev, &g, x, rows))
        head_decode(dev, logits, x, head, rows);
    else
        head_gemm(dev, logits, head->out, x, 0, rows, prepare_head(dev, head), head);
    if (!head->rank) return;
    prepare_adapter(dev, head);
    add_adapter(dev, logits, head->out, x, 0, rows, head);
}
