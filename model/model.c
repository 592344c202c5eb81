/* Opens, initialises and closes a model. placement.c decides where its data are in memory; passes.c
 * and layer.c compute. */
#include "model/model_internal.h"

#include "lib/common/bf16.h"
#include "lib/common/fp8.h"
#include "lib/common/pool.h"
#include "lib/common/rng.h"
#include "lib/llama/local_rope.h"

#include <math.h>
#include <stdarg.h>

/* ---- initial values ---- */

static float widened(const void *from, enum dtype type, size_t i)
{
    return type == DTYPE_F32    ? ((const float *)from)[i]
           : type == DTYPE_BF16 ? bf16_to_float(((const uint16_t *)from)[i])
                                : f16_to_float(((const uint16_t *)from)[i]);
}

static void put_copy(struct model *m, const struct weight_copy *c)
{
    if (c->from_type == c->to_type && !c->adds_one) {
        m->k->upload(m->dev, c->to, c->from, c->bytes);
        return;
    }
    enum { PIECE = 16384 };
    union {
        float wide[PIECE];
        uint16_t half[PIECE];
    } piece;
    size_t size = dtype_bits(c->to_type) / 8;
    size_t count = c->bytes * 8 / dtype_bits(c->from_type);
    for (size_t i = 0; i < count; i += PIECE) {
        size_t n = count - i < PIECE ? count - i : PIECE;
        for (size_t j = 0; j < n; j++) {
            float x = widened(c->from, c->from_type, i + j);
            if (c->adds_one) x += 1;
            if (c->to_type == DTYPE_F32)
                piece.wide[j] = x;
            else
                piece.half[j] = c->to_type == DTYPE_BF16 ? bf16_from_float(x) : f16_from_float(x);
        }
        m->k->upload(m->dev, (char *)c->to + i * size, &piece, n * size);
    }
}

/* Initialises as transformers and PEFT do: weights from a normal distribution with deviation
 * initializer_range, gains 1, biases 0, LoRA's A uniform in ±1/√in (Kaiming, a = √5), LoRA's B 0.
 * Of an embedding's LoRA, A is 0 and B is from the standard normal distribution. */
static int put_random(struct model *m, const struct trainable *t, int64_t index, uint64_t seed,
                      struct fail *why)
{
    double deviation = 0.02;
    if (json_get_real(m->config.json, "initializer_range", &deviation, why)) return -1;
    uint64_t key = rng_key(seed, t->kind == TRAINED_WEIGHT ? "weights" : "adapter");
    size_t count = (size_t)(t->rows * t->cols);
    float *value = malloc(count * sizeof *value), bound = 1 / sqrtf((float)t->cols);
    if (!value) return fail(why, "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (t->kind != TRAINED_WEIGHT && t->tensor->role == ROLE_EMBEDDING)
            value[i] = t->kind == TRAINED_LORA_A ? 0 : rng_normal(key, (uint64_t)index, i);
        else if (t->kind == TRAINED_LORA_A)
            value[i] = (2 * rng_uniform(key, (uint64_t)index, i) - 1) * bound;
        else if (t->kind == TRAINED_LORA_B || t->tensor->role == ROLE_BIAS)
            value[i] = 0;
        else if (t->tensor->role == ROLE_NORM)
            value[i] = m->config.norm_adds_one ? 0 : 1;
        else
            value[i] = (float)deviation * rng_normal(key, (uint64_t)index, i);
    }
    m->k->upload(m->dev, m->params.value + t->offset, value, count * sizeof *value);
    free(value);
    return 0;
}

static int put_values(struct model *m, uint64_t seed, struct fail *why)
{
    for (int64_t i = 0; i < m->params.at_count; i++) {
        const struct trainable *t = &m->params.at[i];
        if (t->kind != TRAINED_WEIGHT || !m->weights) {
            if (put_random(m, t, i, seed, why)) return -1;
            continue;
        }
        /* Sizes come from the weights' own table, because an adapter may add rows that the base
         * does not have. adapter_load fills these rows. */
        int64_t index = t->tensor - m->table;
        const struct weight *w = &m->weights->at[index];
        if (w->type == DTYPE_NF4 && m->setup.each) continue;
        if (w->type == DTYPE_NF4)
            return fail_usage(
                why, "full fine-tuning needs an unquantized base: name the unquantized one");
        put_copy(m, &(struct weight_copy){ m->params.value + t->offset, w->data,
                                           weight_bytes(w, &m->weights->table[index]), DTYPE_F32,
                                           w->type, false });
    }
    for (int64_t i = 0; i < m->copied_count; i++)
        put_copy(m, &m->copied[i]);
    return 0;
}

/* Computes the tables of cosines and sines on the host, one after the other, and uploads them. */
static void put_positions(struct model *m, size_t bytes)
{
    float *cos = m->host_cos, *sin = cos + bytes / sizeof *cos;
    config_rope_tables(&m->config, 0, 0, m->rope_rows, cos, sin);
    m->k->upload(m->dev, m->cos, cos, bytes);
    m->k->upload(m->dev, m->sin, sin, bytes);
    if (m->config.local_theta == 0) return;
    local_rope_tables(&m->config, 0, m->rope_rows, cos, sin);
    m->k->upload(m->dev, m->local_cos, cos, bytes);
    m->k->upload(m->dev, m->local_sin, sin, bytes);
}

static int put_ones(struct model *m, struct fail *why)
{
    int64_t count = widest_gain(&m->config);
    float *ones = m->gain_count ? malloc((size_t)count * sizeof *ones) : NULL;
    if (!m->gain_count) return 0;
    if (!ones) return fail(why, "out of memory");
    for (int64_t i = 0; i < count; i++)
        ones[i] = 1;
    m->k->upload(m->dev, m->ones, ones, (size_t)count * sizeof *ones);
    free(ones);
    return 0;
}

static int put_tables(struct model *m, struct fail *why)
{
    bool is_dynamic = rope_is_by_length(&m->config.rope);
    m->host_squares = malloc((size_t)parts_all_pieces(m) * sizeof *m->host_squares + 1);
    m->messages = calloc(4 * (size_t)parts_count(m), sizeof *m->messages);
    m->signals = calloc(EXCHANGES * (size_t)parts_count(m), sizeof *m->signals);
    if (!m->host_squares || !m->messages || !m->signals) return fail(why, "out of memory");
    if (segments_open(m, why) || fp8_error_open(m, why)) return -1;
    if (has_windows(m)) {
        m->host_starts = malloc(2 * (size_t)m->segments.whole_rows * sizeof *m->host_starts);
        if (!m->host_starts) return fail(why, "out of memory");
    }
    int64_t count = m->rope_rows * m->config.rotary_dim / 2;
    size_t bytes = (size_t)count * sizeof(float);
    int64_t host_rows = is_dynamic ? m->segments.whole_rows : m->rope_rows;
    m->host_cos = malloc((size_t)(host_rows * m->config.rotary_dim) * sizeof(float) + 1);
    if (is_dynamic) m->host_row = malloc((size_t)m->rope_rows * sizeof *m->host_row);
    if (!m->host_cos || (is_dynamic && !m->host_row)) return fail(why, "out of memory");
    for (int64_t i = 0; is_dynamic && i < m->rope_rows; i++)
        m->host_row[i] = (int32_t)i;
    if (put_ones(m, why)) return -1;
    if (is_dynamic) return 0;
    put_positions(m, bytes);
    free(m->host_cos);
    m->host_cos = NULL;
    return 0;
}

/* ---- open and close ---- */

/* Fails if a GPU cannot multiply the layers' weights in fp8, because of their sizes. */
static int check_fp8_widths(const struct model *m, struct fail *why)
{
    for (int64_t i = 0; i < m->tensor_count && !m->k->is_host; i++) {
        const struct tensor *t = &m->table[i];
        if (t->role != ROLE_LINEAR || (t->rows % FP8_MULTIPLE == 0 && t->cols % FP8_MULTIPLE == 0))
            continue;
        return fail_input(why,
                          "fp8: true: %s has %lld x %lld weights, but a GPU multiplies in fp8 only "
                          "multiples of %d: set fp8: false",
                          t->name, (long long)t->rows, (long long)t->cols, FP8_MULTIPLE);
    }
    return 0;
}

/* plan_only: only sizes are needed, so this machine need not have the device. */
static int begin(struct model *m, const struct model_setup *setup, const struct config *config,
                 const struct weights *weights, bool plan_only, struct fail *why)
{
    must(config || weights);
    must(!setup->context || !setup->is_training);
    must(!setup->fp8 || (setup->is_training && setup->method != METHOD_FULL));
    must(!setup->outputs_on_host || (setup->is_training && !setup->stored_attention));
    must(weights || setup->method == METHOD_FULL);
    m->setup = *setup;
    if (!setup->batches) m->setup.batches = 1;
    if (!setup->block) m->setup.block = 1;
    if (m->setup.block > m->setup.batches) m->setup.block = m->setup.batches;
    m->weights = weights;
    if (config_copy(&m->config, config ? config : &weights->config, why) ||
        config_check_context(&m->config, setup->positions, why))
        return -1;
    m->tensor_count = tensors_list(&m->config, &m->table, why);
    if (m->tensor_count < 0) return -1;
    m->layers = calloc((size_t)m->config.layers, sizeof *m->layers);
    m->activations = calloc((size_t)m->config.layers, sizeof *m->activations);
    m->x = calloc((size_t)m->config.layers + 1, sizeof *m->x);
    m->cache = calloc((size_t)m->config.layers, sizeof *m->cache);
    m->host_x = calloc((size_t)m->config.layers + 1, sizeof *m->host_x);
    m->host_o = calloc((size_t)m->config.layers, sizeof *m->host_o);
    m->copied = calloc((size_t)m->tensor_count * 3, sizeof *m->copied);
    m->gains = calloc((size_t)m->tensor_count, sizeof *m->gains);
    if (!m->layers || !m->activations || !m->x || !m->cache || !m->host_x || !m->host_o ||
        !m->copied || !m->gains)
        return fail(why, "out of memory");
    if (placement_list_adapted(m, why) || parameters_list(m, why) ||
        kernels_choose(&m->k, setup->device, plan_only, why))
        return -1;
    if (m->k->head_dim_max && m->config.head_dim > m->k->head_dim_max)
        return fail_input(why,
                          "device %s: the head dimension is %lld, but at most %lld is supported "
                          "there: use --device cpu",
                          m->k->name, (long long)m->config.head_dim, (long long)m->k->head_dim_max);
    if (setup->fp8 && check_fp8_widths(m, why)) return -1;
    int64_t preferred = setup->is_training ? m->k->chunk_rows : m->k->read_rows;
    int64_t max_rows = setup->chunk ? setup->chunk : preferred;
    if (!setup->rows) m->setup.rows = setup->positions < max_rows ? setup->positions : max_rows;
    m->setup.chunk = model_chunk(&m->setup, preferred);
    segments_set(m);
    int64_t layers = m->config.layers,
            stored = m->setup.stored_layers < layers ? m->setup.stored_layers : layers;
    m->setup.stored_layers = stored;
    if (m->setup.stored_attention > layers - stored) m->setup.stored_attention = layers - stored;
    placement_plan(m);
    return 0;
}

/* Frees what begin allocated. */
static void end(struct model *m)
{
    config_release(&m->config);
    free(m->params.at);
    free(m->params.section);
    free(m->places);
    free(m->section_of_layer);
    free(m->host_squares);
    free(m->messages);
    free(m->signals);
    free(m->each);
    free(m->layers);
    free(m->activations);
    free(m->x);
    free(m->cache);
    free(m->host_x);
    free(m->host_o);
    free(m->copied);
    free(m->gains);
    free(m->table);
    free(m->host_cos);
    free(m->host_row);
    free(m->host_starts);
    free(m->fp8.host);
    segments_close(m);
}

static void add_scratch(struct model *m, int threads)
{
    struct shape shape = shape_of(m);
    m->plan.bytes[MEMORY_SCRATCH] = m->k->plan(&shape, threads);
    /* On a CPU the weights are used where the source has them, so the plan counts that memory. */
    size_t source = 0;
    if (!m->weights || !m->k->is_host) return;
    int64_t count =
        m->tensor_count < m->weights->source_count ? m->tensor_count : m->weights->source_count;
    for (int64_t i = 0; i < count; i++)
        if (!placement_is_trained(m, &m->table[i])) {
            const struct weight *w = &m->weights->at[i];
            const struct tensor *t = &m->table[i];
            source +=
                weight_bytes(w, t) + weight_absmax_bytes(w, t) + weight_absmax_scale_bytes(w, t);
        }
    m->plan.bytes[MEMORY_WEIGHTS] += source;
    if (m->weights->is_mapped && source > m->weights->copied)
        m->plan.mapped = source - m->weights->copied;
}

int model_plan(struct memory_plan *plan, const struct model_setup *setup,
               const struct config *config, const struct weights *weights, struct fail *why)
{
    struct model m = { 0 };
    int status = begin(&m, setup, config, weights, true, why);
    if (!status) {
        add_scratch(&m, setup->threads > 0 ? setup->threads : pool_usable_cpus());
        *plan = m.plan;
    }
    end(&m);
    return status;
}

static int alloc_blocks(struct model *m, struct fail *why)
{
    struct block *own = &m->block, *host = &m->host_block;
    void *at;
    if (m->k->alloc(m->dev, &at, own->used, why)) return -1;
    own->at = at;
    own->bytes = own->used;
    if (m->k->alloc_host(m->dev, &at, host->used, why)) return -1;
    host->at = at;
    host->bytes = host->used;
    return 0;
}

int model_open(struct model **out, const struct model_setup *setup, const struct config *config,
               const struct weights *weights, uint64_t seed, struct fail *why)
{
    *out = NULL;
    struct model *m = calloc(1, sizeof *m);
    if (!m) return fail(why, "out of memory");
    int status = begin(m, setup, config, weights, false, why);
    if (!status) status = m->k->open(&m->dev, setup->threads, why);
    if (!status) {
        struct shape shape = shape_of(m);
        status = m->k->reserve(m->dev, &shape, why);
    }
    if (!status) status = alloc_blocks(m, why);
    if (!status) {
        placement_plan(m);
        status = put_values(m, seed, why);
    }
    if (!status) status = put_tables(m, why);
    if (status)
        model_close(m);
    else
        *out = m;
    return status;
}

void model_forget_weights(const struct model *m, struct weights *weights)
{
    if (!m->k->is_host) weights_forget(weights);
}

void model_close(struct model *m)
{
    if (!m) return;
    if (m->dev) {
        m->k->release(m->dev, m->block.at, m->block.bytes);
        m->k->release_host(m->dev, m->host_block.at, m->host_block.bytes);
        m->k->close(m->dev);
    }
    end(m);
    free(m);
}

const struct config *model_config(const struct model *m) { return &m->config; }
const struct model_setup *model_setup_of(const struct model *m) { return &m->setup; }
const struct adapted *model_adapted(const struct model *m, const struct tensor *t)
{
    return &m->each[t - m->table];
}
const struct kernels *model_kernels(const struct model *m) { return m->k; }
struct device *model_device(const struct model *m) { return m->dev; }
const struct parameters *model_parameters(const struct model *m) { return &m->params; }

float *model_trained(const struct model *m, const struct trainable *t, struct fail *why)
{
    static const char *const kinds[] = { "", " (lora_A)", " (lora_B)" };
    int64_t count = t->rows * t->cols, bad = 0;
    float *host = malloc((size_t)count * sizeof *host + 1);
    if (!host) {
        fail(why, "out of memory");
        return NULL;
    }
    m->k->download(m->dev, host, m->params.value + t->offset, (size_t)count * sizeof *host);
    while (bad < count && isfinite(host[bad]))
        bad++;
    if (bad == count) return host;
    fail(why, "%s%s: row %lld, column %lld is %f: the training has diverged", t->tensor->name,
         kinds[t->kind], (long long)(bad / t->cols), (long long)(bad % t->cols), (double)host[bad]);
    free(host);
    return NULL;
}

void model_range_begin(const struct model *m, const char *format, ...)
{
    char name[64];
    va_list args;
    if (!m->setup.names_ranges) return;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    m->k->range_begin(name);
}

void model_range_end(const struct model *m)
{
    if (m->setup.names_ranges) m->k->range_end();
}
