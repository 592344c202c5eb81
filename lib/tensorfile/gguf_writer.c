#include "lib/tensorfile/gguf_writer.h"

#include "lib/common/output.h"

#include <stdlib.h>

/* ---- keys ---- */

int gguf_keys_begin(struct gguf_keys *k, struct fail *why)
{
    *k = (struct gguf_keys){ 0 };
    k->to = open_memstream(&k->bytes, &k->size);
    return k->to ? 0 : fail(why, "out of memory");
}

void gguf_keys_release(struct gguf_keys *k)
{
    if (k->to) fclose(k->to);
    free(k->bytes);
    *k = (struct gguf_keys){ 0 };
}

/* Numbers are little-endian in files, and on every machine that this program runs on. */
void gguf_keys_item(struct gguf_keys *k, const void *value, size_t bytes)
{
    fwrite(value, 1, bytes, k->to);
}

void gguf_keys_item_text(struct gguf_keys *k, const char *text, size_t bytes)
{
    uint64_t length = bytes;
    gguf_keys_item(k, &length, sizeof length);
    gguf_keys_item(k, text, bytes);
}

static void put_type(struct gguf_keys *k, enum gguf_type type)
{
    uint32_t number = type;
    gguf_keys_item(k, &number, sizeof number);
}

static void begin_value(struct gguf_keys *k, const char *key, enum gguf_type type)
{
    gguf_keys_item_text(k, key, strlen(key));
    put_type(k, type);
    k->count++;
}

void gguf_keys_text(struct gguf_keys *k, const char *key, const char *text, size_t bytes)
{
    begin_value(k, key, GGUF_STRING);
    gguf_keys_item_text(k, text, bytes);
}

void gguf_keys_count(struct gguf_keys *k, const char *key, uint32_t value)
{
    begin_value(k, key, GGUF_U32);
    gguf_keys_item(k, &value, sizeof value);
}

void gguf_keys_number(struct gguf_keys *k, const char *key, double value)
{
    float narrow = (float)value;
    begin_value(k, key, GGUF_F32);
    gguf_keys_item(k, &narrow, sizeof narrow);
}

void gguf_keys_flag(struct gguf_keys *k, const char *key, bool value)
{
    uint8_t byte = value;
    begin_value(k, key, GGUF_BOOL);
    gguf_keys_item(k, &byte, sizeof byte);
}

void gguf_keys_array(struct gguf_keys *k, const char *key, enum gguf_type item, uint64_t count)
{
    begin_value(k, key, GGUF_ARRAY);
    put_type(k, item);
    gguf_keys_item(k, &count, sizeof count);
}

void gguf_keys_copy(struct gguf_keys *k, const struct gguf_value *v)
{
    must(v->item != GGUF_ARRAY);
    gguf_keys_item_text(k, v->key.at, v->key.bytes);
    put_type(k, v->type);
    k->count++;
    if (v->type == GGUF_ARRAY) {
        put_type(k, v->item);
        gguf_keys_item(k, &v->count, sizeof v->count);
    }
    if (v->item != GGUF_STRING) {
        gguf_keys_item(k, v->at, v->count * gguf_item_bytes(v->item));
        return;
    }
    const char *at = v->at;
    for (uint64_t i = 0; i < v->count; i++) {
        struct gguf_text text = gguf_next_text(&at);
        gguf_keys_item_text(k, text.at, text.bytes);
    }
}

/* ---- the file ---- */

struct gguf_writer {
    struct output out;
    uint64_t *ends; /* [count] the value of out.written at which each tensor ends */
    size_t count, next;
};

uint64_t gguf_header_bytes(const struct gguf_header *t)
{
    uint64_t bytes = ggml_row_bytes(t->type, t->shape[t->dims - 1]);
    for (int i = 0; i < t->dims - 1; i++)
        bytes *= (uint64_t)t->shape[i];
    return bytes;
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

/* Writes magic, counts, keys and the tensors' headers into *head. */
static int make_head(struct gguf_keys *head, struct gguf_keys *keys,
                     const struct gguf_header *tensors, size_t count, struct fail *why)
{
    uint32_t version = GGUF_VERSION;
    uint64_t tensor_count = count, at = 0;
    if (gguf_keys_begin(head, why)) return -1;
    if (fflush(keys->to) || ferror(keys->to)) return fail(why, "out of memory");
    gguf_keys_item(head, GGUF_MAGIC, 4);
    gguf_keys_item(head, &version, sizeof version);
    gguf_keys_item(head, &tensor_count, sizeof tensor_count);
    gguf_keys_item(head, &keys->count, sizeof keys->count);
    gguf_keys_item(head, keys->bytes, keys->size);
    for (size_t i = 0; i < count; i++) {
        const struct gguf_header *t = &tensors[i];
        uint32_t dims = (uint32_t)t->dims;
        gguf_keys_item_text(head, t->name, strlen(t->name));
        gguf_keys_item(head, &dims, sizeof dims);
        for (int d = t->dims; d-- > 0;)
            gguf_keys_item(head, &t->shape[d], sizeof t->shape[d]);
        put_type(head, (enum gguf_type)t->type);
        gguf_keys_item(head, &at, sizeof at);
        at += aligned(gguf_header_bytes(t));
    }
    return fflush(head->to) || ferror(head->to) ? fail(why, "out of memory") : 0;
}

/* Adds zeros up to the next multiple of the alignment. */
static int pad(struct gguf_writer *w, struct fail *why)
{
    static const char zeros[GGUF_ALIGNMENT];
    return output_write(&w->out, zeros, aligned(w->out.written) - w->out.written, why);
}

static int begin(struct gguf_writer *w, const char *path, const struct gguf_keys *head,
                 const struct gguf_header *tensors, struct fail *why)
{
    uint64_t data_at = aligned(head->size), end = data_at;
    for (size_t i = 0; i < w->count; i++) {
        w->ends[i] = end + gguf_header_bytes(&tensors[i]);
        end = aligned(w->ends[i]);
    }
    if (output_check_space_for(path, end, why) || output_open(&w->out, path, why)) return -1;
    output_write_behind(&w->out, end);
    return output_write(&w->out, head->bytes, head->size, why) || pad(w, why) ? -1 : 0;
}

int gguf_create(struct gguf_writer **out, const char *path, struct gguf_keys *keys,
                const struct gguf_header *tensors, size_t count, struct fail *why)
{
    struct gguf_keys head = { 0 };
    struct gguf_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return fail(why, "%s: out of memory", path);
    w->out.fd = -1;
    w->count = count;
    w->ends = calloc(count + 1, sizeof *w->ends);
    int status = w->ends ? 0 : fail(why, "out of memory");
    if (!status) status = make_head(&head, keys, tensors, count, why);
    status = status ? fail_in(why, path) : begin(w, path, &head, tensors, why);
    gguf_keys_release(&head);
    if (status)
        gguf_abandon(w);
    else
        *out = w;
    return status;
}

int gguf_put(struct gguf_writer *w, const void *data, size_t bytes, struct fail *why)
{
    must(w->next < w->count && w->out.written + bytes <= w->ends[w->next]);
    if (output_write(&w->out, data, bytes, why)) return -1;
    if (w->out.written < w->ends[w->next]) return 0;
    w->next++;
    return pad(w, why);
}

static void release(struct gguf_writer *w)
{
    free(w->ends);
    free(w);
}

int gguf_finish(struct gguf_writer *w, struct fail *why)
{
    must(w->next == w->count);
    int status = output_close(&w->out, why);
    release(w);
    return status;
}

void gguf_abandon(struct gguf_writer *w)
{
    if (!w) return;
    output_abandon(&w->out);
    release(w);
}
