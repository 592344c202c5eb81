/* The GPU as a device: memory, one stream, scratch planned by shape, failures. */
#include "cuda.cuh"

static size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

/* Bytes of each part of the scratch, in order. */
struct parts {
    size_t slot, dropped, head, logits, dlogits, partial, squares, delta, workspace, fault;
};

static int64_t logit_rows(const struct shape *s)
{
    int64_t rows = LOGIT_BYTES / 4 / most(1, s->vocab) / 64 * 64;
    return least(most(64, rows), pieces(s->chunk, 64) * 64);
}

static struct parts parts_of(const struct shape *s)
{
    struct parts p = {};
    int64_t width = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    int64_t widest = most(s->ffn, most(s->dim, width));
    /* The widest group: three, two or one linears share an input. */
    int64_t qkv = (width + 2 * kv + 3 * s->rank) * (s->dim + 3 * s->rank);
    int64_t gate_up = (2 * s->ffn + 2 * s->rank) * (s->dim + 2 * s->rank);
    int64_t one = most((s->dim + s->rank) * (most(s->ffn, width) + s->rank), 0);
    /* Tests have groups of three of any width. */
    p.slot = rounded(sizeof(elem) * (size_t)most(qkv, most(gate_up, one)));
    if (s->rank && s->dropout > 0) p.dropped = rounded(sizeof(elem) * (size_t)(s->chunk * widest));
    p.head = rounded(sizeof(elem) * (size_t)(s->vocab * s->dim));
    p.logits = rounded(4 * (size_t)(logit_rows(s) * s->vocab));
    if (s->has_backward) {
        p.dlogits = rounded(sizeof(elem) * (size_t)(logit_rows(s) * s->vocab));
        p.partial = rounded(4 * (size_t)(GAIN_PIECES * widest));
        p.delta = rounded(4 * (size_t)(s->heads * s->rows));
    }
    p.squares = rounded(3 * 8 * SUM_PIECES);
    p.workspace = WORKSPACE;
    p.fault = rounded(8 * CHECKS);
    return p;
}

size_t cuda_plan(const struct shape *s, int threads)
{
    (void)threads;
    struct parts p = parts_of(s);
    return p.slot * LINEAR_SLOTS + p.dropped + p.head + p.logits + p.dlogits + p.partial +
           p.squares + p.delta + p.workspace + p.fault;
}

void cuda_check(struct device *dev, cudaError_t error, const char *operation)
{
    if (error == cudaSuccess || dev->has_failed) return;
    dev->has_failed = true;
    fail(&dev->failed, "device cuda: %s: %s", operation, cudaGetErrorString(error));
}

static int failure(cudaError_t error, const char *what, struct fail *why)
{
    if (error == cudaErrorInsufficientDriver)
        return fail(why, "device cuda: the driver is missing or too old for this plug-in");
    if (error == cudaErrorNoDevice) return fail(why, "device cuda: no GPU is there");
    return fail(why, "device cuda: %s: %s", what, cudaGetErrorString(error));
}

/* Of the architectures that this plug-in is compiled for, times ten. */
#ifndef LEAST_CAPABILITY
#define LEAST_CAPABILITY 70
#endif

static cudaError_t capability(int *tenfold)
{
    int major = 0, minor = 0;
    cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    *tenfold = 10 * major + minor;
    return error;
}

int cuda_probe(struct fail *why)
{
    int count = 0, has = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && !count) error = cudaErrorNoDevice;
    if (error == cudaSuccess) error = capability(&has);
    if (error != cudaSuccess) return failure(error, "looking for a GPU", why);
    if (has >= LEAST_CAPABILITY) return 0;
    return fail(why, "device cuda: %s needs compute capability %d.%d, this GPU has %d.%d",
                kernels_cuda.act_name, LEAST_CAPABILITY / 10, LEAST_CAPABILITY % 10, has / 10,
                has % 10);
}

uint64_t cuda_available(void)
{
    size_t available = 0, all = 0;
    return cudaMemGetInfo(&available, &all) == cudaSuccess ? available : 0;
}

int cuda_open(struct device **out, int threads, struct fail *why)
{
    (void)threads;
    *out = NULL;
    if (cuda_probe(why)) return -1;
    struct device *dev = (struct device *)calloc(1, sizeof *dev);
    if (!dev) return fail(why, "device cuda: out of memory");
    cudaError_t error =
        cudaDeviceGetAttribute(&dev->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    if (error == cudaSuccess) error = capability(&dev->capability);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking);
    if (error != cudaSuccess) {
        free(dev);
        return failure(error, "making a stream", why);
    }
    if (product_open(dev, why)) {
        cudaStreamDestroy(dev->stream);
        free(dev);
        return -1;
    }
    *out = dev;
    return 0;
}

void cuda_close(struct device *dev)
{
    if (!dev) return;
    cuda_release(dev, dev->scratch, dev->scratch_bytes);
    product_close(dev);
    cudaStreamDestroy(dev->stream);
    free(dev);
}

static int take(void **mem, size_t bytes, struct fail *why)
{
    size_t room = 0, total = 0;
    *mem = NULL;
    if (!bytes) return 0;
    cudaError_t error = cudaMalloc(mem, bytes);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&room, &total);
        return fail(why, "device cuda: out of memory: %zu bytes asked, %zu of %zu are free (%s)",
                    bytes, room, total, cudaGetErrorString(error));
    }
    return 0;
}

int cuda_alloc(struct device *dev, void **mem, size_t bytes, struct fail *why)
{
    if (take(mem, bytes, why)) return -1;
    if (bytes) cuda_zero(dev, *mem, bytes);
    return cuda_sync(dev, why);
}

void cuda_release(struct device *dev, void *mem, size_t bytes)
{
    (void)bytes;
    if (!mem) return;
    cuda_check(dev, cudaStreamSynchronize(dev->stream), "release");
    cudaFree(mem);
}

int cuda_reserve(struct device *dev, const struct shape *shape, struct fail *why)
{
    struct parts p = parts_of(shape);
    void *mem;
    cuda_release(dev, dev->scratch, dev->scratch_bytes);
    dev->scratch = NULL;
    dev->scratch_bytes = cuda_plan(shape, 0);
    /* Not zeroed: nobody may read what nobody wrote. */
    if (take(&mem, dev->scratch_bytes, why)) return -1;
    char *at = dev->scratch = (char *)mem;
    dev->shape = *shape;
    for (int i = 0; i < LINEAR_SLOTS; i++, at += p.slot)
        dev->slot[i].weight = (elem *)at;
    dev->slot_elems = p.slot / sizeof(elem);
    dev->dropped = (elem *)at;
    dev->head = (elem *)(at += p.dropped);
    dev->logits = (float *)(at += p.head);
    dev->dlogits = (elem *)(at += p.logits);
    dev->partial = (float *)(at += p.dlogits);
    dev->squares = (double *)(at += p.partial);
    dev->delta = (float *)(at += p.squares);
    dev->workspace = at += p.delta;
    dev->fault = (unsigned long long *)(at += p.workspace);
    dev->logit_rows = logit_rows(shape);
    dev->head_is_of = NULL;
    dev->checks = 0;
    return 0;
}

void cuda_upload(struct device *dev, void *to, const void *from, size_t bytes)
{
    /* Pageable memory: the call returns when the bytes have been taken. */
    cuda_check(dev, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, dev->stream),
               "upload");
}

void cuda_download(struct device *dev, void *to, const void *from, size_t bytes)
{
    cuda_check(dev, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, dev->stream),
               "download");
    cuda_check(dev, cudaStreamSynchronize(dev->stream), "download");
}

void cuda_zero(struct device *dev, void *mem, size_t bytes)
{
    cuda_check(dev, cudaMemsetAsync(mem, 0, bytes, dev->stream), "zero");
}

/* ---- checks ---- */

template <int N>
KERNEL(THREADS, 1)
finite_kernel(unsigned long long *fault, const elem *x, int64_t stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p;
        load(p, x + row * stride + i);
        for (int j = 0; j < N; j++)
            if ((float_as_bits(p.v[j]) & 0x7f800000) == 0x7f800000)
                atomic_min(fault, (unsigned long long)(row * cols + i + j));
    }
}

void finite_check(struct device *dev, const char *name, struct mat x, int64_t rows, int64_t cols)
{
    if (dev->checks == CHECKS || !rows) return;
    int i = dev->checks++;
    snprintf(dev->names[i], sizeof dev->names[i], "%s", name);
    dev->check_cols[i] = cols;
    cuda_check(dev, cudaMemsetAsync(dev->fault + i, 0xff, sizeof *dev->fault, dev->stream),
               "finite_check");
    if (mat_is_wide(x, cols))
        LAUNCH(finite_kernel<8>, dim3(rows), dim3(THREADS), 0, dev->stream, dev->fault + i,
               elems(x), x.stride, cols);
    else
        LAUNCH(finite_kernel<1>, dim3(rows), dim3(THREADS), 0, dev->stream, dev->fault + i,
               elems(x), x.stride, cols);
    launched(dev, "finite_check");
}

int cuda_sync(struct device *dev, struct fail *why)
{
    unsigned long long fault[CHECKS];
    int checks = dev->checks;
    dev->checks = 0;
    if (checks) cuda_download(dev, fault, dev->fault, (size_t)checks * sizeof *fault);
    cuda_check(dev, cudaStreamSynchronize(dev->stream), "at or before sync");
    for (int i = 0; i < checks && !dev->has_failed; i++)
        if (fault[i] != ~0ull) {
            dev->has_failed = true;
            fail(&dev->failed, "%s: row %lld, column %lld is not finite", dev->names[i],
                 (long long)fault[i] / dev->check_cols[i],
                 (long long)fault[i] % dev->check_cols[i]);
        }
    if (!dev->has_failed) return 0;
    *why = dev->failed;
    dev->has_failed = false;
    return -1;
}
