#include "tools/ppl/report.h"

#include "lib/common/json.h"
#include "lib/common/output.h"

#include <math.h>

double report_bits_per_byte(const struct report *r, const struct score *s)
{
    return r->bytes ? s->nll / M_LN2 * (double)r->tokens / (double)r->bytes : NAN;
}

/* Prints the first column, the position scaling, if there are several reports. */
static int print_rope(struct output *out, const struct report *r, int count, struct fail *why)
{
    if (count == 1) return 0;
    return output_print(out, why, "%-10s ", r ? r->asked_rope : "rope");
}

static int print_scores(struct output *out, const struct report *r, int count, struct fail *why)
{
    int status = 0;
    for (int i = 0; i < r->count && !status; i++) {
        const struct score *s = &r->scores[i];
        char bits[16] = "", error[16] = "-";
        if (r->bytes) snprintf(bits, sizeof bits, " %10.5f", report_bits_per_byte(r, s));
        if (!isnan(s->stderr_)) snprintf(error, sizeof error, "%.5f", s->stderr_);
        status = print_rope(out, r, count, why);
        if (!status)
            status = output_print(out, why, "%10lld %10lld %12lld %10.5f %12.4f %10s%s\n",
                                  (long long)s->context, (long long)s->windows,
                                  (long long)s->scored, s->nll, s->perplexity, error, bits);
    }
    return status;
}

static int print_table(struct output *out, const struct report *r, int count, struct fail *why)
{
    int status = print_rope(out, NULL, count, why);
    if (!status)
        status =
            output_print(out, why, "%10s %10s %12s %10s %12s %10s%s\n", "context", "windows",
                         "scored", "loss", "perplexity", "stderr", r->bytes ? "  bits/byte" : "");
    for (int i = 0; i < count && !status; i++)
        status = print_scores(out, &r[i], count, why);
    return status;
}

static int print_score_positions(struct output *out, const struct report *r, const struct score *s,
                                 int count, struct fail *why)
{
    int status = 0;
    for (int i = 0; i < s->position_count && !status; i++) {
        const struct position *p = &s->positions[i];
        int64_t last = ((int64_t)2 << i) - 1;
        if (!p->scored) continue;
        if (last > s->context - 1) last = s->context - 1;
        status = print_rope(out, r, count, why);
        if (!status)
            status = output_print(out, why, "%10lld %10lld %10lld %12lld %10.5f %12.4f\n",
                                  (long long)s->context, 1LL << i, (long long)last,
                                  (long long)p->scored, p->nll, exp(p->nll));
    }
    return status;
}

static int print_positions(struct output *out, const struct report *r, int count, struct fail *why)
{
    int status = print_rope(out, NULL, count, why);
    if (!status)
        status = output_print(out, why, "%10s %10s %10s %12s %10s %12s\n", "context", "seen from",
                              "to", "scored", "loss", "perplexity");
    for (int i = 0; i < count && !status; i++)
        for (int k = 0; k < r[i].count && !status; k++)
            status = print_score_positions(out, &r[i], &r[i].scores[k], count, why);
    return status;
}

/* Writes the file completely or not at all. */
static int write_text(const struct report *r, int count, const char *path,
                      int (*print)(struct output *, const struct report *, int, struct fail *),
                      struct fail *why)
{
    struct output out;
    if (output_open(&out, path, why)) return -1;
    if (!print(&out, r, count, why)) return output_close(&out, why);
    output_abandon(&out);
    return -1;
}

int report_table(const struct report *r, int count, const char *path, struct fail *why)
{
    return write_text(r, count, path, print_table, why);
}

int report_positions(const struct report *r, int count, const char *path, struct fail *why)
{
    return write_text(r, count, path, print_positions, why);
}

/* A text of the report and its name, which is the same in JSON and in the stream. */
struct named_text {
    const char *name, *text;
};
enum { NAMED_TEXTS = 11 };
static void name_texts(const struct report *r, struct named_text to[NAMED_TEXTS])
{
    const struct named_text list[NAMED_TEXTS] = {
        { "model", r->model },
        { "base", r->base },
        { "adapter", r->adapter },
        { "rope", r->rope },
        { "tokenizer", r->tokenizer },
        { "protocol", r->protocol },
        { "definition", r->definition },
        { "dtype", r->dtype },
        { "quantization", r->quantization },
        { "source", r->source },
        { "data", r->data },
    };
    memcpy(to, list, sizeof list);
}

/* A whole number of the report and its name. */
struct named_count {
    const char *name;
    uint64_t value;
};
enum { NAMED_COUNTS = 4 };
static void name_counts(const struct report *r, struct named_count to[NAMED_COUNTS])
{
    const struct named_count list[NAMED_COUNTS] = {
        { "stride", (uint64_t)r->stride },
        { "short_context", (uint64_t)r->short_context },
        { "tokens", r->tokens },
        { "bytes", r->bytes },
    };
    memcpy(to, list, sizeof list);
}

static json_t *positions_to_json(const struct score *s)
{
    json_t *list = json_array();
    for (int i = 0; i < s->position_count; i++) {
        const struct position *p = &s->positions[i];
        if (p->scored)
            json_array_append_new(list, json_pack("{s:I,s:I,s:f}", "seen", (json_int_t)1 << i,
                                                  "scored", (json_int_t)p->scored, "nll", p->nll));
    }
    return list;
}

static json_t *report_to_json(const struct report *r)
{
    struct named_text texts[NAMED_TEXTS];
    struct named_count counts[NAMED_COUNTS];
    json_t *all = json_object(), *scores = json_array();
    name_texts(r, texts);
    name_counts(r, counts);
    for (int i = 0; i < NAMED_TEXTS; i++)
        json_object_set_new(all, texts[i].name, json_string(texts[i].text));
    for (int i = 0; i < NAMED_COUNTS; i++)
        json_object_set_new(all, counts[i].name, json_integer((json_int_t)counts[i].value));
    for (int i = 0; i < r->count; i++) {
        const struct score *s = &r->scores[i];
        json_t *score =
            json_pack("{s:I,s:I,s:I,s:f,s:f}", "context", (json_int_t)s->context, "windows",
                      (json_int_t)s->windows, "scored", (json_int_t)s->scored, "nll", s->nll,
                      "perplexity", s->perplexity);
        if (!isnan(s->stderr_)) json_object_set_new(score, "stderr", json_real(s->stderr_));
        if (r->bytes)
            json_object_set_new(score, "bits_per_byte", json_real(report_bits_per_byte(r, s)));
        if (r->per_document)
            json_object_set_new(score, "documents", json_integer((json_int_t)s->texts));
        json_object_set_new(score, "positions", positions_to_json(s));
        json_array_append_new(scores, score);
    }
    json_object_set_new(all, "per_document", json_boolean(r->per_document));
    json_object_set_new(all, "scores", scores);
    return all;
}

int report_json(const struct report *r, int count, const char *path, struct fail *why)
{
    json_t *all = count == 1 ? report_to_json(r) : json_array();
    for (int i = 0; i < count && count > 1; i++)
        json_array_append_new(all, report_to_json(&r[i]));
    int status = json_write_file(all, path, why);
    json_decref(all);
    return status;
}

static void add_positions(struct msgpack_map *record, const struct score *s)
{
    uint64_t scored[POSITIONS_MAX];
    double nll[POSITIONS_MAX];
    size_t count = (size_t)s->position_count;
    for (size_t i = 0; i < count; i++) {
        scored[i] = (uint64_t)s->positions[i].scored;
        nll[i] = s->positions[i].nll;
    }
    msgpack_map_bin(record, "position_scored", scored, count * sizeof *scored);
    msgpack_map_bin(record, "position_nll", nll, count * sizeof *nll);
}

int report_stream(const struct report *r, const char *path, struct fail *why)
{
    struct named_text texts[NAMED_TEXTS];
    struct named_count counts[NAMED_COUNTS];
    struct msgpack_map own, none;
    struct writer *w;
    msgpack_map_init(&own);
    msgpack_map_init(&none);
    name_texts(r, texts);
    name_counts(r, counts);
    for (int i = 0; i < NAMED_TEXTS; i++)
        msgpack_map_text(&own, texts[i].name, texts[i].text);
    for (int i = 0; i < NAMED_COUNTS; i++)
        msgpack_map_count(&own, counts[i].name, counts[i].value);
    msgpack_map_flag(&own, "per_document", r->per_document);
    int status = writer_open(&w, path, STREAM_SCORES, "ppl", &own, &none, why);
    msgpack_map_release(&own);
    if (status) return -1;
    for (int i = 0; i < r->count && !status; i++) {
        const struct score *s = &r->scores[i];
        struct msgpack_map record;
        msgpack_map_init(&record);
        msgpack_map_count(&record, "context", (uint64_t)s->context);
        msgpack_map_count(&record, "windows", (uint64_t)s->windows);
        msgpack_map_count(&record, "scored", (uint64_t)s->scored);
        msgpack_map_real(&record, "nll", s->nll);
        msgpack_map_real(&record, "perplexity", s->perplexity);
        if (!isnan(s->stderr_)) msgpack_map_real(&record, "stderr", s->stderr_);
        if (r->bytes) msgpack_map_real(&record, "bits_per_byte", report_bits_per_byte(r, s));
        if (r->per_document) msgpack_map_count(&record, "documents", (uint64_t)s->texts);
        add_positions(&record, s);
        status = writer_add(w, &record, why);
    }
    if (!status) return writer_close(w, why);
    writer_abandon(w);
    return -1;
}
