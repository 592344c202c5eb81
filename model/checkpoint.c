#include "model/checkpoint.h"

#include <math.h>

static const char *const header_keys[] = {
    "longqlora",   "kind",        "step",    "tokens",      "loss_sum",  "loss_steps", "parameters",
    "loss_scale",  "scale_steps", "recipe",  "data",        "tokenizer", "base",       "rope",
    "device",      "chunk",       "since",   "steps",       "warmup",    "schedules",  "evaluated",
    "evaluations", "best_step",   "worse",   "best_metric", "eval_data", "computed",   "sums",
    "base_config", "tool",        "version", "options",     NULL
};
static const char *const record_keys[] = { "name", "first", "data", NULL };

/* The three arrays of a state; its records have the same order. */
enum { ARRAYS = 3 };
static const char *const array_names[ARRAYS] = { "value", "moment1", "moment2" };
static float *array_of(const struct parameters *p, int i)
{
    return i == 0 ? p->value : i == 1 ? p->moment1 : p->moment2;
}

static const int64_t piece = 4 << 20; /* elements of one record, which are 16 MiB */

static int write_piece(struct writer *w, const char *name, int64_t first, const float *data,
                       int64_t count, struct fail *why)
{
    struct msgpack_map record;
    msgpack_map_init(&record);
    msgpack_map_text(&record, "name", name);
    msgpack_map_count(&record, "first", (uint64_t)first);
    msgpack_map_bin(&record, "data", data, (size_t)count * 4);
    return writer_add(w, &record, why);
}

/* Writes the three arrays if there is a writer: only rank 0 has one. Every rank has all values, and
 * a part of the moments, so the moments are collected from all ranks. If the writer fails, the
 * moments are still collected, because the other ranks send them. */
static int write_arrays(struct writer *w, struct model *m, struct fail *why)
{
    const struct parameters *p = model_parameters(m);
    float *host = malloc((size_t)(p->count < piece ? p->count : piece) * 4 + 1);
    int status = 0;
    if (!host) return fail(why, "out of memory");
    for (int i = 0; i < ARRAYS; i++)
        for (int64_t first = 0; first < p->count; first += piece) {
            int64_t n = p->count - first < piece ? p->count - first : piece;
            struct fail lost;
            if (i && model_gather_moment(m, array_of(p, i), first, n, host, &lost)) {
                free(host);
                *why = lost;
                return -1;
            }
            if (!i && w && !status)
                model_kernels(m)->download(model_device(m), host, p->value + first, (size_t)n * 4);
            if (w && !status) status = write_piece(w, array_names[i], first, host, n, why);
        }
    free(host);
    return status;
}

int checkpoint_send_state(struct model *m, struct fail *why) { return write_arrays(NULL, m, why); }

int checkpoint_save_state(const char *path, struct model *m, const struct run_state *s,
                          struct fail *why)
{
    struct msgpack_map fields, none;
    struct writer *w;
    msgpack_map_init(&fields);
    msgpack_map_init(&none);
    msgpack_map_count(&fields, "sums", CHECKPOINT_SUMS);
    msgpack_map_count(&fields, "step", (uint64_t)s->step);
    msgpack_map_count(&fields, "tokens", s->tokens);
    msgpack_map_count(&fields, "computed", s->computed);
    msgpack_map_real(&fields, "loss_sum", s->loss_sum);
    msgpack_map_count(&fields, "loss_steps", (uint64_t)s->loss_steps);
    msgpack_map_real(&fields, "loss_scale", s->loss_scale);
    msgpack_map_count(&fields, "scale_steps", (uint64_t)s->scale_steps);
    msgpack_map_text(&fields, "recipe", s->recipe);
    msgpack_map_text(&fields, "data", s->data);
    msgpack_map_text(&fields, "tokenizer", s->tokenizer);
    msgpack_map_text(&fields, "base", s->base);
    msgpack_map_text(&fields, "base_config", s->base_config);
    msgpack_map_text(&fields, "rope", s->rope);
    msgpack_map_text(&fields, "device", s->device);
    msgpack_map_count(&fields, "chunk", (uint64_t)s->chunk);
    msgpack_map_count(&fields, "since", (uint64_t)s->since);
    msgpack_map_count(&fields, "steps", (uint64_t)s->steps);
    msgpack_map_count(&fields, "warmup", (uint64_t)s->warmup);
    msgpack_map_text(&fields, "schedules", s->schedules);
    msgpack_map_count(&fields, "evaluated", (uint64_t)s->evaluated);
    msgpack_map_count(&fields, "evaluations", (uint64_t)s->evaluations);
    msgpack_map_count(&fields, "best_step", (uint64_t)s->best_step);
    msgpack_map_count(&fields, "worse", (uint64_t)s->worse);
    msgpack_map_real(&fields, "best_metric", s->best_metric);
    msgpack_map_text(&fields, "eval_data", s->eval_data);
    msgpack_map_count(&fields, "parameters", (uint64_t)model_parameters(m)->count);
    int status = writer_open(&w, path, STREAM_STATE, "train", &fields, &none, why);
    msgpack_map_release(&fields);
    if (status) {
        /* The other ranks send their moments all the same, so they must be received. */
        struct fail lost;
        return checkpoint_send_state(m, &lost) ? -1 : status;
    }
    if (write_arrays(w, m, why)) {
        writer_abandon(w);
        return -1;
    }
    return writer_close(w, why);
}

/* Checks the numbers from which a resumed run continues: the counters fit the step, and the sums
 * are finite. */
static int check_numbers(const struct run_state *s, struct fail *why)
{
    if (s->loss_steps > s->step || s->scale_steps > s->step)
        return fail_input(why, "'loss_steps' or 'scale_steps' is more than 'step', %lld",
                          (long long)s->step);
    if (!isfinite(s->loss_sum)) return fail_input(why, "'loss_sum' is %g", s->loss_sum);
    if (!(s->loss_scale > 0) || !isfinite(s->loss_scale))
        return fail_input(why, "'loss_scale' is %g", s->loss_scale);
    return 0;
}

/* Reads the schedule, and the evaluations that choose the best model. */
static int get_schedule(const msgpack_object *h, struct run_state *s, struct fail *why)
{
    struct {
        const char *name;
        int64_t *to;
    } counts[] = { { "since", &s->since },
                   { "steps", &s->steps },
                   { "warmup", &s->warmup },
                   { "evaluated", &s->evaluated },
                   { "evaluations", &s->evaluations },
                   { "best_step", &s->best_step },
                   { "worse", &s->worse } };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint64_t n;
        if (map_get_count(h, counts[i].name, INT64_MAX, &n, why)) return -1;
        *counts[i].to = (int64_t)n;
    }
    return map_get_text(h, "schedules", s->schedules, sizeof s->schedules, why) ||
                   map_get_text(h, "eval_data", s->eval_data, sizeof s->eval_data, why) ||
                   map_get_real(h, "best_metric", &s->best_metric, why)
               ? -1
               : 0;
}

static int get_fields(const msgpack_object *h, struct run_state *s, uint64_t *parameters,
                      struct fail *why)
{
    uint64_t loss_steps, scale_steps, chunk;
    if (map_get_count(h, "tokens", INT64_MAX, &s->tokens, why) ||
        map_get_count(h, "computed", INT64_MAX, &s->computed, why) ||
        map_get_real(h, "loss_sum", &s->loss_sum, why) ||
        map_get_count(h, "loss_steps", CHECKPOINT_STEPS_MAX, &loss_steps, why) ||
        map_get_real(h, "loss_scale", &s->loss_scale, why) ||
        map_get_count(h, "scale_steps", CHECKPOINT_STEPS_MAX, &scale_steps, why) ||
        map_get_text(h, "recipe", s->recipe, sizeof s->recipe, why) ||
        map_get_text(h, "data", s->data, sizeof s->data, why) ||
        map_get_text(h, "tokenizer", s->tokenizer, sizeof s->tokenizer, why) ||
        map_get_text(h, "base", s->base, sizeof s->base, why) ||
        (map_find(h, "base_config") &&
         map_get_text(h, "base_config", s->base_config, sizeof s->base_config, why)) ||
        map_get_text(h, "rope", s->rope, sizeof s->rope, why) ||
        map_get_text(h, "device", s->device, sizeof s->device, why) ||
        map_get_count(h, "chunk", INT32_MAX, &chunk, why) ||
        map_get_count(h, "parameters", INT64_MAX, parameters, why) || get_schedule(h, s, why))
        return -1;
    s->loss_steps = (int64_t)loss_steps;
    s->scale_steps = (int64_t)scale_steps;
    s->chunk = (int64_t)chunk;
    return check_numbers(s, why);
}

static int get_header(struct reader *r, struct run_state *s, uint64_t *parameters, struct fail *why)
{
    const msgpack_object *h = reader_header(r);
    uint64_t step, sums = 0;
    *parameters = 0;
    if (map_check(h, header_keys, why) ||
        map_get_count(h, "step", CHECKPOINT_STEPS_MAX, &step, why) ||
        (map_find(h, "sums") && map_get_count(h, "sums", INT64_MAX, &sums, why)))
        return fail_in(why, reader_name(r));
    s->step = (int64_t)step;
    s->sums = (int64_t)sums;
    if (s->sums != CHECKPOINT_SUMS) return 0;
    return get_fields(h, s, parameters, why) ? fail_in(why, reader_name(r)) : 0;
}

int checkpoint_peek(const char *path, struct run_state *state, struct fail *why)
{
    struct reader *r;
    uint64_t parameters;
    *state = (struct run_state){ 0 };
    if (reader_open(&r, path, STREAM_STATE, why)) return -1;
    int status = get_header(r, state, &parameters, why);
    reader_close(r);
    return status;
}

static int read_record(struct reader *r, const msgpack_object *record, struct model *m, int64_t *at,
                       struct fail *why)
{
    const struct parameters *p = model_parameters(m);
    char name[16];
    uint64_t first;
    const void *data;
    size_t bytes;
    int i = (int)(*at / p->count);
    if (map_check(record, record_keys, why) ||
        map_get_text(record, "name", name, sizeof name, why) ||
        map_get_count(record, "first", INT64_MAX, &first, why) ||
        map_get_bin(record, "data", &data, &bytes, why))
        return reader_fail(r, why);
    if (i >= ARRAYS || strcmp(name, array_names[i]) != 0 || (int64_t)first != *at % p->count ||
        bytes % 4 || (int64_t)(bytes / 4) > p->count - (int64_t)first || !bytes) {
        fail_input(why, "an unexpected piece of '%s'", name);
        return reader_fail(r, why);
    }
    if (i)
        model_set_moment(m, array_of(p, i), (int64_t)first, (int64_t)(bytes / 4), data);
    else
        model_kernels(m)->upload(model_device(m), p->value + first, data, bytes);
    *at += (int64_t)(bytes / 4);
    return 0;
}

int checkpoint_load_state(const char *path, struct model *m, struct run_state *state,
                          struct fail *why)
{
    struct reader *r;
    uint64_t parameters;
    msgpack_object record;
    int64_t at = 0, count = model_parameters(m)->count;
    *state = (struct run_state){ 0 };
    if (reader_open(&r, path, STREAM_STATE, why)) return -1;
    int status = get_header(r, state, &parameters, why);
    if (!status && state->sums != CHECKPOINT_SUMS)
        status = fail_input(why, "%s: sums is %lld, %d is needed", path, (long long)state->sums,
                            CHECKPOINT_SUMS);
    if (!status && (int64_t)parameters != count)
        status = fail_input(why, "%s: %llu parameters, this recipe has %lld", path,
                            (unsigned long long)parameters, (long long)count);
    while (!status) {
        int got = reader_next(r, &record, why);
        if (got < 0) status = -1;
        if (got <= 0) break;
        status = read_record(r, &record, m, &at, why);
    }
    if (!status && at != ARRAYS * count)
        status = fail_input(why, "%s: %lld values, %lld needed", path, (long long)at,
                            (long long)(ARRAYS * count));
    reader_close(r);
    return status;
}
