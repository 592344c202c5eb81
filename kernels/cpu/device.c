/* The CPU as a device: the thread pool, memory, and one block of scratch that reserve plans from
 * the shape. */
#include "kernels/cpu/cpu.h"

#include "lib/common/free_memory.h"

#include <math.h>
#include <sys/mman.h>

static size_t rounded(size_t floats) { return (floats + 15) / 16 * 16; }

/* The number of floats of each part of the scratch, in the order in which the parts follow each
 * other. */
struct scratch_parts {
    size_t slot[LINEAR_SLOTS], worker, packed, fp8, reordered, logits, partial, ranges;
};

/* Returns how many floats a thread needs in attention_decode: for the queries of all heads that
 * share a key/value head, and for their scores of one split. */
static size_t cached_floats(const struct shape *s)
{
    int64_t queries = s->heads / s->kv_heads * DECODE_QUERIES;
    return rounded((size_t)(queries * (s->head_dim + CACHE_SPLIT)));
}

/* Returns how many floats a slot needs: for its weights in f32 or for the packed weights, whichever
 * is more. */
static size_t slot_floats(const struct slot_shape *s)
{
    size_t plain = (size_t)(s->out * s->in), packed = packing_usable() ? packed_slot_floats(s) : 0;
    return s->out && packed > plain ? packed : plain;
}

/* Adds what groups in fp8 need. */
static void add_fp8(struct scratch_parts *p, const struct shape *s)
{
    for (int i = 0; i < LINEAR_SLOTS; i++) {
        int64_t slot = (int64_t)rounded(fp8_slot_floats(&s->slot[i]));
        int64_t rows = (int64_t)rounded(fp8_rows_floats(&s->slot[i], s->chunk));
        p->slot[i] = (size_t)max_i64((int64_t)p->slot[i], slot);
        p->fp8 = (size_t)max_i64((int64_t)p->fp8, rows);
    }
    p->worker = (size_t)max_i64((int64_t)p->worker, WIDE_ROWS * WIDE_COLS);
}

static struct scratch_parts parts_of(const struct shape *s)
{
    struct scratch_parts p = { 0 };
    int64_t widest = max_i64(s->ffn, max_i64(s->dim, s->heads * s->head_dim));
    bool fills_slots = s->has_compact_weights || s->has_scattered_weights;
    for (int i = 0; i < LINEAR_SLOTS && fills_slots; i++)
        p.slot[i] = rounded(slot_floats(&s->slot[i]));
    size_t attention = rounded(attention_floats(s));
    bool has_adapters = shape_has_adapters(s);
    /* A thread needs room for the largest of these: drop(x) of a task's rows; drop(x) of a task's
     * columns; a patch of the product du A, which is masked before it is added to dx. */
    int64_t tile = patch_rows(widest) * min_i64(max_i64(widest, 8), WIDE_COLS);
    tile = max_i64(tile, min_i64(DROPPED_ROWS, s->chunk) * WIDE_OUT);
    size_t linear =
        has_adapters ? rounded((size_t)max_i64(ROW_TILE * max_i64(widest, 8), tile)) : 0;
    p.worker = attention > linear ? attention : linear;
    if (s->has_compact_weights && packing_usable()) {
        p.worker = (size_t)max_i64((int64_t)p.worker, PACK_ROWS * widest);
        for (int i = 0; i < LINEAR_SLOTS; i++)
            if (s->slot[i].out)
                p.packed = (size_t)max_i64((int64_t)p.packed,
                                           (int64_t)packed_rows_floats(&s->slot[i], s->chunk));
    }
    /* linear_decode needs one row of weights as f32. */
    if (!s->has_backward) {
        p.worker = p.worker > rounded((size_t)widest) ? p.worker : rounded((size_t)widest);
        p.reordered = (size_t)(DECODE_ROWS * ceil_div(widest, DECODE_UNIT) * DECODE_UNIT);
    }
    int64_t rows = max_i64(MIN_LOGIT_ROWS, LOGIT_BYTES / 4 / max_i64(1, s->vocab) / 64 * 64);
    rows = min_i64(rows, ceil_div(s->chunk, 64) * 64);
    p.logits = rounded((size_t)(rows * s->vocab));
    if (s->head_type == DTYPE_F32 && head_is_packed(s->dim)) {
        int64_t deepest = s->has_backward ? max_i64(s->dim, s->vocab) : s->dim;
        p.packed = (size_t)max_i64((int64_t)p.packed, (int64_t)packed_elements(rows, deepest) / 2);
        p.worker = (size_t)max_i64((int64_t)p.worker, HEAD_COLUMNS * PACK_DEPTH / 2);
    }
    if (s->keys) {
        p.worker = (size_t)max_i64((int64_t)p.worker, (int64_t)cached_floats(s));
        p.partial = rounded((size_t)(s->heads * DECODE_QUERIES * ceil_div(s->keys, CACHE_SPLIT) *
                                     (s->head_dim + 2)));
    }
    if (s->has_fp8) add_fp8(&p, s);
    p.ranges = rounded((size_t)s->rows + 1);
    return p;
}

static size_t block_bytes(struct scratch_parts p, int threads)
{
    size_t floats = p.worker * (size_t)threads + p.packed + p.fp8 + p.reordered + p.logits +
                    p.partial + p.ranges;
    for (int i = 0; i < LINEAR_SLOTS; i++)
        floats += p.slot[i];
    return sizeof(float) * floats;
}

size_t device_plan(const struct shape *s, int threads)
{
    return block_bytes(parts_of(s), threads) + gemm_scratch_bytes() * (size_t)threads;
}

int device_count(void) { return 1; }
void device_choose(int number) { must(!number); }

void device_describe(struct device_facts *facts)
{
    *facts = (struct device_facts){ 0 };
    gemm_describe(facts->kind, sizeof facts->kind);
}

int device_probe(struct fail *why)
{
    (void)why;
    return 0;
}

int device_probe_fp8(struct fail *why)
{
    (void)why;
    return 0;
}

uint64_t device_available(void) { return free_memory(""); }

int device_open(struct device **out, int threads, struct fail *why)
{
    *out = NULL;
    struct device *dev = calloc(1, sizeof *dev);
    if (!dev) return fail(why, "device cpu: out of memory");
    /* Threads that start take memory at any moment, so products are tried before. */
    if (gemm_begin(why) || pool_open(&dev->pool, threads, why)) {
        free(dev);
        return -1;
    }
    dev->threads = pool_threads(dev->pool);
    void *products;
    if (device_alloc(dev, &products, gemm_scratch_bytes() * (size_t)dev->threads, why)) {
        device_close(dev);
        return -1;
    }
    dev->gemm_scratch = products;
    *out = dev;
    return 0;
}

void device_close(struct device *dev)
{
    if (!dev) return;
    device_release(dev, dev->scratch, dev->scratch_bytes);
    device_release(dev, dev->gemm_scratch, gemm_scratch_bytes() * (size_t)dev->threads);
    pool_close(dev->pool);
    free(dev);
}

int device_alloc(struct device *dev, void **mem, size_t bytes, struct fail *why)
{
    (void)dev;
    *mem = NULL;
    if (!bytes) return 0;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return fail(why, "device cpu: out of memory: %zu bytes were asked for", bytes);
#ifdef MADV_HUGEPAGE
    madvise(at, bytes, MADV_HUGEPAGE);
#endif
    *mem = at;
    return 0;
}

void device_release(struct device *dev, void *mem, size_t bytes)
{
    (void)dev;
    if (mem) munmap(mem, bytes);
}

int device_reserve(struct device *dev, const struct shape *shape, struct fail *why)
{
    struct scratch_parts p = parts_of(shape);
    device_release(dev, dev->scratch, dev->scratch_bytes);
    dev->scratch = NULL;
    dev->scratch_bytes = block_bytes(p, dev->threads);
    void *mem;
    if (device_alloc(dev, &mem, dev->scratch_bytes, why)) return -1;
    dev->scratch = mem;
    dev->shape = *shape;
    float *at = mem;
    for (int i = 0; i < LINEAR_SLOTS; i++) {
        dev->slot[i] = at;
        dev->slot_floats[i] = p.slot[i];
        at += p.slot[i];
    }
    dev->worker = at;
    dev->worker_floats = p.worker;
    at += p.worker * (size_t)dev->threads;
    dev->packed = (bf16 *)(void *)at;
    dev->packed_capacity = 2 * p.packed;
    at += p.packed;
    dev->fp8_scales = at;
    dev->fp8 = at + shape->chunk;
    dev->fp8_floats = p.fp8 ? p.fp8 - (size_t)shape->chunk : 0;
    at += p.fp8;
    dev->reordered = at;
    at += p.reordered;
    dev->logits = at;
    dev->logits_floats = p.logits;
    at += p.logits;
    dev->partial = at;
    at += p.partial;
    dev->ranges = (int32_t *)(void *)at;
    return 0;
}

void device_upload(struct device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev;
    memcpy(to, from, bytes);
}

void device_download(struct device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev;
    memcpy(to, from, bytes);
}

void device_zero(struct device *dev, void *mem, size_t bytes)
{
    (void)dev;
    memset(mem, 0, bytes);
}

/* The host's memory is the device's memory here, and a copy is done when its call returns. */
int device_alloc_host(struct device *dev, void **mem, size_t bytes, struct fail *why)
{
    return device_alloc(dev, mem, bytes, why);
}

void device_release_host(struct device *dev, void *mem, size_t bytes)
{
    device_release(dev, mem, bytes);
}

void device_copy_out(struct device *dev, void *to_host, const void *from, size_t bytes, int ticket)
{
    (void)dev;
    must(ticket >= 0 && ticket < COPY_TICKETS);
    memcpy(to_host, from, bytes);
}

void device_copy_in(struct device *dev, void *to, const void *from_host, size_t bytes, int ticket)
{
    device_copy_out(dev, to, from_host, bytes, ticket);
}

void device_copy_wait(struct device *dev, int ticket)
{
    (void)dev;
    must(ticket >= 0 && ticket < COPY_TICKETS);
}

int device_sync(struct device *dev, struct fail *why)
{
    if (gemm_lacks_memory()) return fail(why, "device cpu: not enough memory for a matrix product");
    if (!dev->has_failed) return 0;
    *why = dev->failed;
    dev->has_failed = false;
    return -1;
}

void finite_check(struct device *dev, const char *name, struct mat x, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows && !dev->has_failed; r++) {
        const float *row = row_of(x, r);
        for (int64_t i = 0; i < cols; i++) {
            if (isfinite(row[i])) continue;
            fail(&dev->failed, "%s: row %lld, column %lld is %f", name, (long long)r, (long long)i,
                 (double)row[i]);
            dev->has_failed = true;
            break;
        }
    }
}
