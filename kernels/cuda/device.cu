/* The GPU as a device: memory, streams, scratch planned from the shape, and failures. */
#include "kernels/cuda/device.cuh"

size_t device_plan(const struct shape *s, int threads)
{
    (void)threads;
    return cuda_scratch_bytes(s, kernels_cuda.act_type);
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

static int chosen; /* the number of the GPU that this process uses */

int device_count(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void device_choose(int number) { chosen = number; }
cudaError_t device_use() { return cudaSetDevice(chosen); }

/* The lowest compute capability that this plug-in is compiled for, times ten. */
#ifndef MIN_CAPABILITY
#define MIN_CAPABILITY 70
#endif

static cudaError_t capability(int *tenfold)
{
    int major = 0, minor = 0;
    cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, chosen);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, chosen);
    *tenfold = 10 * major + minor;
    return error;
}

int device_probe(struct fail *why)
{
    int count = 0, has = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && !count) error = cudaErrorNoDevice;
    if (error == cudaSuccess) error = capability(&has);
    if (error != cudaSuccess) return failure(error, "looking for a GPU", why);
    if (has >= MIN_CAPABILITY) return 0;
    return fail(why, "device cuda: %s needs compute capability %d.%d, this GPU has %d.%d",
                kernels_cuda.act_name, MIN_CAPABILITY / 10, MIN_CAPABILITY % 10, has / 10,
                has % 10);
}

/* The lowest compute capability that multiplies in fp8, times ten. */
enum { FP8_CAPABILITY = 89 };

int device_probe_fp8(struct fail *why)
{
    int has = 0;
    if (kernels_cuda.act_type == DTYPE_F16) return fail_usage(why, CUDA_F16_LACKS_FP8);
    if (!device_count() || capability(&has) != cudaSuccess || has >= FP8_CAPABILITY) return 0;
    return fail_usage(why,
                      "device cuda: products in fp8 need compute capability %d.%d, this GPU has "
                      "%d.%d: set fp8: false",
                      FP8_CAPABILITY / 10, FP8_CAPABILITY % 10, has / 10, has % 10);
}

uint64_t device_available(void)
{
    size_t available = 0, all = 0;
    if (device_use() != cudaSuccess) return 0;
    return cudaMemGetInfo(&available, &all) == cudaSuccess ? available : 0;
}

/* Writes the version of the driver's kernel module: the first word that begins with a digit in the
 * driver's file. Writes "" if there is no such file. */
static void module_version(char version[64])
{
    char line[256] = "", word[64];
    int at = 0, length;
    FILE *file = fopen("/proc/driver/nvidia/version", "re");
    *version = 0;
    if (!file || !fgets(line, sizeof line, file)) line[0] = 0;
    if (file) fclose(file);
    while (sscanf(line + at, "%63s%n", word, &length) == 1) {
        at += length;
        if (*word < '0' || *word > '9') continue;
        snprintf(version, 64, "%s", word);
        return;
    }
}

void device_describe(struct device_facts *facts)
{
    cudaDeviceProp p;
    int driver = 0;
    char module[64];
    *facts = {};
    if (cudaGetDeviceProperties(&p, chosen) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess)
        return;
    module_version(module);
    snprintf(facts->kind, sizeof facts->kind, "%.64s, driver %.24s%sfor CUDA %d.%d, cuBLASLt %zu",
             p.name, module, *module ? " " : "", driver / 1000, driver % 1000 / 10,
             gemm_version());
    for (size_t i = 0; i < sizeof p.uuid.bytes; i++)
        snprintf(facts->own + 2 * i, 3, "%02x", (unsigned)(unsigned char)p.uuid.bytes[i]);
}

static cudaError_t open_streams(struct device *dev)
{
    cudaError_t error = cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&dev->copies, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(&dev->ready, cudaEventDisableTiming);
    for (int i = 0; i < COPY_TICKETS && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(&dev->copied[i], cudaEventDisableTiming);
    return error;
}

static void close_streams(struct device *dev)
{
    for (int i = 0; i < COPY_TICKETS; i++)
        if (dev->copied[i]) cudaEventDestroy(dev->copied[i]);
    if (dev->ready) cudaEventDestroy(dev->ready);
    if (dev->copies) cudaStreamDestroy(dev->copies);
    if (dev->stream) cudaStreamDestroy(dev->stream);
}

int device_open(struct device **out, int threads, struct fail *why)
{
    (void)threads;
    *out = NULL;
    if (device_probe(why)) return -1;
    struct device *dev = (struct device *)calloc(1, sizeof *dev);
    if (!dev) return fail(why, "device cuda: out of memory");
    cudaError_t error = device_use();
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&dev->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                       chosen);
    if (error == cudaSuccess) error = capability(&dev->capability);
    if (error == cudaSuccess) error = open_streams(dev);
    int status = error == cudaSuccess ? gemm_open(dev, why) : failure(error, "opening", why);
    if (status)
        device_close(dev);
    else
        *out = dev;
    return status;
}

void device_close(struct device *dev)
{
    if (!dev) return;
    device_release(dev, dev->scratch, dev->scratch_bytes);
    gemm_close(dev);
    close_streams(dev);
    free(dev);
}

static int alloc_device(void **mem, size_t bytes, struct fail *why)
{
    size_t free_bytes = 0, all_bytes = 0;
    *mem = NULL;
    if (!bytes) return 0;
    cudaError_t error = cudaMalloc(mem, bytes);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&free_bytes, &all_bytes);
        return fail(
            why, "device cuda: out of memory: %zu bytes were asked for, %zu of %zu are free (%s)",
            bytes, free_bytes, all_bytes, cudaGetErrorString(error));
    }
    return 0;
}

int device_alloc(struct device *dev, void **mem, size_t bytes, struct fail *why)
{
    if (alloc_device(mem, bytes, why)) return -1;
    if (bytes) device_zero(dev, *mem, bytes);
    return device_sync(dev, why);
}

static void wait_for_all(struct device *dev, const char *operation)
{
    cuda_check(dev, cudaStreamSynchronize(dev->stream), operation);
    cuda_check(dev, cudaStreamSynchronize(dev->copies), operation);
}

void device_release(struct device *dev, void *mem, size_t bytes)
{
    (void)bytes;
    if (!mem) return;
    wait_for_all(dev, "release");
    cudaFree(mem);
}

int device_alloc_host(struct device *dev, void **mem, size_t bytes, struct fail *why)
{
    (void)dev;
    *mem = NULL;
    if (!bytes) return 0;
    cudaError_t error = cudaHostAlloc(mem, bytes, cudaHostAllocDefault);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return fail(why, "device cuda: out of host memory: %zu bytes were asked for (%s)", bytes,
                    cudaGetErrorString(error));
    }
    memset(*mem, 0, bytes);
    return 0;
}

void device_release_host(struct device *dev, void *mem, size_t bytes)
{
    (void)bytes;
    if (!mem) return;
    wait_for_all(dev, "release");
    cudaFreeHost(mem);
}

int device_reserve(struct device *dev, const struct shape *shape, struct fail *why)
{
    struct cuda_parts p = cuda_parts_of(shape, kernels_cuda.act_type);
    void *mem;
    device_release(dev, dev->scratch, dev->scratch_bytes);
    dev->scratch = NULL;
    dev->scratch_bytes = device_plan(shape, 0);
    /* The memory is not zeroed: operations read only what an operation wrote. */
    if (alloc_device(&mem, dev->scratch_bytes, why)) return -1;
    char *at = dev->scratch = (char *)mem, *slot = at;
    dev->shape = *shape;
    for (int i = 0; i < LINEAR_SLOTS; i++) {
        dev->slot[i].weight = (elem *)slot;
        dev->slot[i].bytes = p.slot[i];
        slot += p.slot[i];
    }
    dev->logits = (float *)at;
    dev->dlogits = (elem *)(at + p.logits);
    dev->dropped = (elem *)(at += p.slots);
    dev->head = (elem *)(at += p.dropped);
    dev->head_b = (elem *)(at += p.head);
    dev->partial = (float *)(at += p.head_b);
    dev->squares = (double *)(at += p.partial);
    dev->row_stats = (struct row_stats *)(at += p.squares);
    dev->splits = (float *)(at += p.row_stats);
    dev->lora_partial = (float *)(at += p.splits);
    dev->fp8 = (uint8_t *)(at += p.lora_partial);
    dev->fp8_scales = (float *)(at += p.fp8);
    dev->workspace = at += p.fp8_scales;
    dev->first_nonfinite = (unsigned long long *)(at += p.workspace);
    dev->logit_rows = p.logit_rows;
    dev->head_source = NULL;
    dev->checks = 0;
    return 0;
}

void device_upload(struct device *dev, void *to, const void *from, size_t bytes)
{
    cuda_check(dev, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, dev->stream), "upload");
    /* cudaMemcpyAsync may return before the device has read memory that is pinned, or that the
     * device reads without staging. From other memory the copy waits for the stream in any case. */
    cuda_check(dev, cudaStreamSynchronize(dev->stream), "upload");
}

void device_download(struct device *dev, void *to, const void *from, size_t bytes)
{
    cuda_check(dev, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, dev->stream), "download");
    cuda_check(dev, cudaStreamSynchronize(dev->stream), "download");
}

void device_zero(struct device *dev, void *mem, size_t bytes)
{
    cuda_check(dev, cudaMemsetAsync(mem, 0, bytes, dev->stream), "zero");
}

/* ---- copies on a second stream, at the same time as operations ---- */

static void copy_beside(struct device *dev, void *to, const void *from, size_t bytes, int ticket,
                        const char *operation)
{
    must(ticket >= 0 && ticket < COPY_TICKETS);
    cuda_check(dev, cudaEventRecord(dev->ready, dev->stream), operation);
    cuda_check(dev, cudaStreamWaitEvent(dev->copies, dev->ready, 0), operation);
    cuda_check(dev, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, dev->copies), operation);
    cuda_check(dev, cudaEventRecord(dev->copied[ticket], dev->copies), operation);
}

void device_copy_out(struct device *dev, void *to_host, const void *from, size_t bytes, int ticket)
{
    copy_beside(dev, to_host, from, bytes, ticket, "copy_out");
}

void device_copy_in(struct device *dev, void *to, const void *from_host, size_t bytes, int ticket)
{
    copy_beside(dev, to, from_host, bytes, ticket, "copy_in");
}

void device_copy_wait(struct device *dev, int ticket)
{
    must(ticket >= 0 && ticket < COPY_TICKETS);
    cuda_check(dev, cudaStreamWaitEvent(dev->stream, dev->copied[ticket], 0), "copy_wait");
}

/* ---- checks ---- */

template <int N>
KERNEL(THREADS, 1)
finite_kernel(unsigned long long *first_nonfinite, const elem *x, int64_t stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p;
        load(p, x + row * stride + i);
        for (int j = 0; j < N; j++)
            if ((float_as_bits(p.v[j]) & 0x7f800000) == 0x7f800000)
                atomic_min(first_nonfinite, (unsigned long long)(row * cols + i + j));
    }
}

void finite_check(struct device *dev, const char *name, struct mat x, int64_t rows, int64_t cols)
{
    if (dev->checks == CHECKS || !rows) return;
    int i = dev->checks++;
    snprintf(dev->names[i], sizeof dev->names[i], "%s", name);
    dev->check_cols[i] = cols;
    cuda_check(
        dev,
        cudaMemsetAsync(dev->first_nonfinite + i, 0xff, sizeof *dev->first_nonfinite, dev->stream),
        "finite_check");
    if (mat_is_wide(x, cols))
        LAUNCH(finite_kernel<8>, dim3(rows), dim3(THREADS), 0, dev->stream,
               dev->first_nonfinite + i, elems(x), x.stride, cols);
    else
        LAUNCH(finite_kernel<1>, dim3(rows), dim3(THREADS), 0, dev->stream,
               dev->first_nonfinite + i, elems(x), x.stride, cols);
    launched(dev, "finite_check");
}

int device_sync(struct device *dev, struct fail *why)
{
    unsigned long long first_nonfinite[CHECKS];
    int checks = dev->checks;
    dev->checks = 0;
    if (checks)
        device_download(dev, first_nonfinite, dev->first_nonfinite,
                        (size_t)checks * sizeof *first_nonfinite);
    cuda_check(dev, cudaStreamSynchronize(dev->stream), "at or before sync");
    for (int i = 0; i < checks && !dev->has_failed; i++)
        if (first_nonfinite[i] != ~0ull) {
            dev->has_failed = true;
            fail(&dev->failed, "%s: row %lld, column %lld is not finite", dev->names[i],
                 (long long)first_nonfinite[i] / dev->check_cols[i],
                 (long long)first_nonfinite[i] % dev->check_cols[i]);
        }
    if (!dev->has_failed) return 0;
    *why = dev->failed;
    dev->has_failed = false;
    return -1;
}
