/* Writes a model directory in bitsandbytes' format: six tensors for each linear layer. All other
 * tensors are copied. */
#include "lib/llama/base_digest.h"
#include "lib/llama/model_directory.h"
#include "tools/quantize/sinks.h"

#include "lib/common/nf4.h"

/* The origin of one tensor of the output. */
struct output_tensor {
    int64_t tensor;       /* index in the table */
    enum bnb_tensor part; /* which of the six tensors, if it belongs to a linear layer */
    char name[TENSOR_NAME_MAX + 1];
};

struct output_tensors {
    struct quantizer *q;
    struct output_tensor *parts;
    struct tensor_header *headers;
    int64_t count;
    struct base_reading *reading;
    /* The model's digest is entered here once the whole model has been read. */
    json_t *quantization;
};

static int list_parts(struct output_tensors *o, struct fail *why)
{
    const struct weights *w = o->q->weights;
    o->parts = calloc((size_t)w->count * BNB_TENSORS, sizeof *o->parts);
    o->headers = calloc((size_t)w->count * BNB_TENSORS, sizeof *o->headers);
    if (!o->parts || !o->headers) return fail(why, "out of memory");
    for (int64_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->table[i];
        int parts = t->role == ROLE_LINEAR ? BNB_TENSORS : 1;
        for (int p = 0; p < parts; p++) {
            struct output_tensor *part = &o->parts[o->count];
            part->tensor = i;
            part->part = (enum bnb_tensor)p;
            if (t->role == ROLE_LINEAR)
                o->headers[o->count++] = bnb_header(t, part->part, part->name, sizeof part->name);
            else
                o->headers[o->count++] = model_directory_header(t, dtype_stored(w->at[i].type));
        }
    }
    return 0;
}

static int put_plain(struct quantizer *q, int64_t i, struct safetensors_writer *w, struct fail *why)
{
    const struct tensor *t = &q->weights->table[i];
    const struct weight *from = &q->weights->at[i];
    if (quantizer_check(q, i, why)) return -1;
    size_t row = (size_t)t->cols * dtype_bits(from->type) / 8;
    if (from->data) return safetensors_put(w, from->data, (size_t)t->rows * row, why);
    int64_t each = quantizer_rows(t);
    for (int64_t first = 0; first < t->rows; first += each) {
        int64_t count = first + each < t->rows ? each : t->rows - first;
        const void *rows = weights_rows(q->weights, i, first, count, q->rows);
        if (safetensors_put(w, rows, (size_t)count * row, why)) return -1;
    }
    return 0;
}

static int put_part(struct quantizer *q, const struct output_tensor *p,
                    struct safetensors_writer *w, struct fail *why)
{
    const struct tensor *t = &q->weights->table[p->tensor];
    int64_t n = t->rows * t->cols;
    char state[BNB_STATE_BYTES + 1];
    switch (p->part) {
    /* The first of the six tensors; the layer is quantized here for the others too. */
    case BNB_CODES:
        if (quantizer_linear(q, p->tensor, why)) return -1;
        return safetensors_put(w, q->codes, (size_t)nf4_code_bytes(n), why);
    case BNB_ABSMAX:
        return safetensors_put(w, q->absmax, (size_t)nf4_block_count(n), why);
    case BNB_NESTED_ABSMAX:
        return safetensors_put(w, q->absmax_scale,
                               (size_t)nf4_nested_block_count(n) * sizeof *q->absmax_scale, why);
    case BNB_NESTED_MAP:
        return safetensors_put(w, bnb_nested_map(), 256 * sizeof(float), why);
    case BNB_MAP:
        return safetensors_put(w, bnb_map(), 16 * sizeof(float), why);
    default:
        bnb_state(t, model_directory_torch_dtype(dtype_stored(q->weights->at[p->tensor].type)),
                  q->offset, state);
        return safetensors_put(w, state, BNB_STATE_BYTES, why);
    }
}

/* Enters the model's digest into quantization_config, once all of the model has been read. */
static void enter_digest(struct output_tensors *o)
{
    char base[STREAM_DIGEST_TEXT];
    base_reading_end(o->reading, base);
    o->reading = NULL;
    json_object_set_new(o->quantization, BNB_BASE_KEY, json_string(base));
}

static int produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why)
{
    struct output_tensors *o = arg;
    const struct output_tensor *p = &o->parts[index];
    bool is_linear = o->q->weights->table[p->tensor].role == ROLE_LINEAR;
    base_reading_reach(o->reading, p->tensor);
    int status = is_linear ? put_part(o->q, p, w, why) : put_plain(o->q, p->tensor, w, why);
    if (!status && index == o->count - 1) enter_digest(o);
    return status;
}

int quantize_to_bnb(struct quantizer *q, const char *path, const struct companions *companions,
                    uint64_t max_shard_bytes, struct fail *why)
{
    const struct weights *w = q->weights;
    enum dtype dtype = dtype_stored(w->at[0].type);
    struct output_tensors o = { .q = q,
                                .quantization = bnb_config(model_directory_torch_dtype(dtype)) };
    int status = list_parts(&o, why);
    struct model_directory_job job = { .config = &w->config,
                                       .headers = o.headers,
                                       .count = o.count,
                                       .produce = produce,
                                       .arg = &o,
                                       .dtype = dtype,
                                       .companions = companions,
                                       .made_by = "quantize",
                                       .max_shard_bytes = max_shard_bytes,
                                       .quantization = o.quantization };
    if (!status) status = base_reading_begin(&o.reading, w, why);
    if (!status) status = model_directory_make(path, &job, why);
    base_reading_end(o.reading, NULL);
    json_decref(o.quantization);
    free(o.parts);
    free(o.headers);
    return status;
}
