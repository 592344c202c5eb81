#include "lib/stream/weights_record.h"

#include "lib/common/nf4.h"

#include <math.h>

static const char *const header_keys[] = { "longqlora", "kind", "config",  "quantization", "base",
                                           "tokenizer", "tool", "version", "options",      NULL };
static const char *const keys[] = { "name",   "dtype",  "shape",  "rows", "data",
                                    "absmax", "nested", "offset", NULL };

void weights_info_release(struct weights_info *info)
{
    free(info->config);
    *info = (struct weights_info){ 0 };
}

int weights_writer(struct writer **w, const char *path, const char *tool,
                   const struct weights_info *info, const struct msgpack_map *options,
                   struct fail *why)
{
    struct msgpack_map own;
    msgpack_map_init(&own);
    msgpack_map_text(&own, "config", info->config);
    msgpack_map_text(&own, "quantization", info->quantization);
    if (info->base[0]) msgpack_map_text(&own, "base", info->base);
    if (info->tokenizer[0]) msgpack_map_text(&own, "tokenizer", info->tokenizer);
    int status = writer_open(w, path, STREAM_WEIGHTS, tool, &own, options, why);
    msgpack_map_release(&own);
    return status;
}

static void pack_pair(struct msgpack_map *f, const char *key, int64_t a, int64_t b)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, &f->bytes, msgpack_write_bytes);
    msgpack_pack_str_with_body(&pk, key, strlen(key));
    msgpack_pack_array(&pk, 2);
    msgpack_pack_int64(&pk, a);
    msgpack_pack_int64(&pk, b);
    f->count++;
}

int weights_write(struct writer *w, const struct weights_record *r, struct fail *why)
{
    struct msgpack_map f;
    msgpack_map_init(&f);
    msgpack_map_text(&f, "name", r->name);
    msgpack_map_text(&f, "dtype", r->dtype);
    pack_pair(&f, "shape", r->rows, r->cols);
    pack_pair(&f, "rows", r->first_row, r->end_row);
    msgpack_map_bin(&f, "data", r->data, r->data_bytes);
    if (!strcmp(r->dtype, "nf4")) {
        msgpack_map_bin(&f, "absmax", r->absmax, r->absmax_bytes);
        msgpack_map_bin(&f, "nested", r->absmax_scale, r->absmax_scale_bytes);
        msgpack_map_real(&f, "offset", (double)r->offset);
    }
    return writer_add(w, &f, why);
}

int weights_reader(struct reader **r, const char *path, struct weights_info *info, struct fail *why)
{
    *info = (struct weights_info){ 0 };
    if (reader_open(r, path, STREAM_WEIGHTS, why)) return -1;
    const msgpack_object *header = reader_header(*r);
    info->config = malloc(WEIGHTS_CONFIG_MAX);
    if (!info->config)
        fail(why, "out of memory");
    else if (!map_check(header, header_keys, why) &&
             !map_get_text(header, "config", info->config, WEIGHTS_CONFIG_MAX, why) &&
             !map_get_text(header, "quantization", info->quantization, sizeof info->quantization,
                           why) &&
             !(map_find(header, "base") &&
               map_get_text(header, "base", info->base, sizeof info->base, why)) &&
             !(map_find(header, "tokenizer") &&
               map_get_text(header, "tokenizer", info->tokenizer, sizeof info->tokenizer, why)))
        return 0;
    fail_in(why, reader_name(*r));
    weights_info_release(info);
    reader_close(*r);
    *r = NULL;
    return -1;
}

static int get_pair(const msgpack_object *record, const char *key, int64_t *a, int64_t *b,
                    struct fail *why)
{
    const msgpack_object *o = map_find(record, key);
    if (!o || o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 2 ||
        o->via.array.ptr[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
        o->via.array.ptr[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
        o->via.array.ptr[0].via.u64 > INT32_MAX || o->via.array.ptr[1].via.u64 > INT32_MAX)
        return fail_input(why, "'%s' is not a pair of counts below 2^31", key);
    *a = o->via.array.ptr[0].via.i64;
    *b = o->via.array.ptr[1].via.i64;
    return 0;
}

static int parse_nf4(const msgpack_object *record, struct weights_record *r, size_t elements,
                     struct fail *why)
{
    double offset;
    if (map_get_bin(record, "absmax", &r->absmax, &r->absmax_bytes, why) ||
        map_get_bin(record, "nested", &r->absmax_scale, &r->absmax_scale_bytes, why) ||
        map_get_real(record, "offset", &offset, why))
        return -1;
    r->offset = (float)offset;
    if (!isfinite(r->offset))
        return fail_input(why, "%s: 'offset' is %g, which is not finite", r->name, offset);
    if ((r->first_row * r->cols) % NF4_NESTED)
        return fail_input(why, "%s: row %lld does not begin with a block of scales", r->name,
                          (long long)r->first_row);
    if (r->data_bytes != (size_t)nf4_code_bytes((int64_t)elements) ||
        r->absmax_bytes != (size_t)nf4_block_count((int64_t)elements) ||
        r->absmax_scale_bytes != sizeof(float) * (size_t)nf4_nested_block_count((int64_t)elements))
        return fail_input(why, "%s: sizes of codes or scales do not fit %zu elements", r->name,
                          elements);
    return 0;
}

static int parse(const msgpack_object *record, struct weights_record *r, struct fail *why)
{
    if (map_check(record, keys, why) ||
        map_get_text(record, "name", r->name, sizeof r->name, why) ||
        map_get_text(record, "dtype", r->dtype, sizeof r->dtype, why) ||
        get_pair(record, "shape", &r->rows, &r->cols, why) ||
        get_pair(record, "rows", &r->first_row, &r->end_row, why) ||
        map_get_bin(record, "data", &r->data, &r->data_bytes, why))
        return -1;
    if (r->first_row >= r->end_row || r->end_row > r->rows || !r->cols)
        return fail_input(why, "%s: rows %lld to %lld are not among its %lld rows", r->name,
                          (long long)r->first_row, (long long)r->end_row, (long long)r->rows);
    size_t elements = (size_t)((r->end_row - r->first_row) * r->cols);
    if (!strcmp(r->dtype, "nf4")) return parse_nf4(record, r, elements, why);
    size_t each = !strcmp(r->dtype, "f32")                                ? 4
                  : !strcmp(r->dtype, "f16") || !strcmp(r->dtype, "bf16") ? 2
                                                                          : 0;
    if (!each) return fail_input(why, "%s: dtype '%s' is not known", r->name, r->dtype);
    if (r->data_bytes != each * elements)
        return fail_input(why, "%s: it has %zu bytes of data, but the rows need %zu", r->name,
                          r->data_bytes, each * elements);
    return 0;
}

int weights_read(struct reader *r, struct weights_record *record, struct fail *why)
{
    msgpack_object object;
    int got = reader_next(r, &object, why);
    if (got <= 0) return got;
    *record = (struct weights_record){ 0 };
    return parse(&object, record, why) ? reader_fail(r, why) : 1;
}

int64_t weights_rows_unit(int64_t cols)
{
    int64_t a = NF4_NESTED, b = cols;
    must(cols > 0);
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return NF4_NESTED / a;
}

int64_t weights_rows_each(int64_t rows, int64_t cols, size_t bits_each)
{
    must(rows > 0 && cols > 0 && bits_each > 0);
    int64_t unit = weights_rows_unit(cols);
    int64_t fit = (int64_t)WEIGHTS_RECORD_BYTES * 8 / (cols * (int64_t)bits_each) / unit * unit;
    if (fit < unit) fit = unit;
    return fit < rows ? fit : rows;
}
