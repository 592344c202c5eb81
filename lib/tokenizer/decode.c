/* decode.c - turns tokens into text. */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/utf8.h"
#include "lib/tokenizer/parts.h"

/* ---- the decoder of tokenizer.json ---- */

struct reading {
    struct tokenizer *t;
    bool is_fused, has_bytes;
};

/* Reads the character that the decoder replaces by a space. */
static int read_mark(struct reading *r, const char *mark, const char *type, struct fail *why)
{
    struct tokenizer *t = r->t;
    bool is_one = mark && *mark && utf8_length((unsigned char)*mark) == strlen(mark);
    if (!is_one || r->has_bytes || r->is_fused || t->decoder.mark[0] || t->is_byte_level)
        return part_refuse("decoder", type, NULL, why);
    snprintf(t->decoder.mark, sizeof t->decoder.mark, "%s", mark);
    return 0;
}

static int read_one(struct reading *r, const json_t *decoder, struct fail *why)
{
    struct tokenizer *t = r->t;
    const char *type = part_check("decoder", decoder, why);
    if (!type) return -1;
    if (!strcmp(type, "Fuse")) {
        r->is_fused = true;
    } else if (!strcmp(type, "ByteFallback")) {
        if (t->is_byte_level || r->is_fused) return part_refuse("decoder", type, NULL, why);
        r->has_bytes = true;
    } else if (!strcmp(type, "ByteLevel")) {
        if (!t->is_byte_level) return part_refuse("decoder", type, NULL, why);
        r->is_fused = true;
    } else if (!strcmp(type, "Replace")) {
        const json_t *pattern = json_object_get(decoder, "pattern");
        const char *content = json_string_value(json_object_get(decoder, "content"));
        if (!content || strcmp(content, " ") != 0) return part_refuse("decoder", type, NULL, why);
        return read_mark(r, json_string_value(json_object_get(pattern, "String")), type, why);
    } else if (!strcmp(type, "Strip")) {
        const char *content = json_string_value(json_object_get(decoder, "content"));
        json_int_t start = json_integer_value(json_object_get(decoder, "start"));
        if (json_integer_value(json_object_get(decoder, "stop")))
            return part_refuse("decoder", type, "stop", why);
        if (!r->is_fused || !content || strcmp(content, " ") != 0 || start < 0 || start > 64)
            return part_refuse("decoder", type, NULL, why);
        t->decoder.strips = (int)start;
    } else { /* Metaspace */
        const char *scheme = json_string_value(json_object_get(decoder, "prepend_scheme"));
        const json_t *adds = json_object_get(decoder, "add_prefix_space");
        t->decoder.drops_first_marks =
            !(scheme && !strcmp(scheme, "never")) && !json_is_false(adds);
        return read_mark(r, json_string_value(json_object_get(decoder, "replacement")), type, why);
    }
    return 0;
}

/* Reads a decoder, or a sequence of decoders. A sequence inside a sequence is refused, because it
 * is rare. */
static int read_all(struct reading *r, const json_t *decoder, struct fail *why)
{
    const char *type = part_check("decoder", decoder, why);
    if (!type) return -1;
    if (strcmp(type, "Sequence") != 0) return read_one(r, decoder, why);
    const json_t *list = json_object_get(decoder, "decoders");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *inner = json_string_value(json_object_get(one, "type"));
        if (inner && !strcmp(inner, "Sequence"))
            return fail_input(why, "a decoder Sequence in another is not supported");
        if (read_one(r, one, why)) return -1;
    }
    return json_is_array(list) ? 0 : fail_input(why, "a decoder Sequence has no list of decoders");
}

/* The byte that a piece names, in capital or small letters; -1 if it names none. */
static int named_byte(const struct piece *p) { return piece_byte(p, "0123456789abcdefABCDEF"); }

int tokenizer_read_decoder(struct tokenizer *t, const json_t *decoder, struct fail *why)
{
    struct reading r = { .t = t };
    if (!decoder || json_is_null(decoder)) {
        t->decoder.joins_with_space = !t->is_byte_level;
        return 0;
    }
    if (read_all(&r, decoder, why)) return -1;
    for (uint32_t i = 0; i < t->count && r.has_bytes && !t->is_byte_level; i++)
        if (t->pieces[i].type == PIECE_NORMAL && named_byte(&t->pieces[i]) >= 0)
            t->pieces[i].type = PIECE_BYTE;
    return 0;
}

/* ---- decoding ---- */

struct decoding {
    const struct tokenizer *t;
    char *text;
    size_t bytes, capacity;
    bool is_first; /* no token has given text so far */
};

static void put(struct decoding *d, const char *text, size_t bytes)
{
    if (bytes) memcpy(d->text + d->bytes, text, bytes);
    d->bytes += bytes;
}

/* Appends a piece. Each mark becomes a space, or nothing if `drops` is set. */
static void put_marked(struct decoding *d, const struct piece *p, const char *mark, bool drops)
{
    size_t length = strlen(mark);
    for (uint32_t i = 0; i < p->length;) {
        bool is_mark = length && p->length - i >= length && !memcmp(p->text + i, mark, length);
        if (!is_mark)
            d->text[d->bytes++] = p->text[i];
        else if (!drops)
            d->text[d->bytes++] = ' ';
        i += is_mark ? (uint32_t)length : 1;
    }
}

/* Appends the text of a piece. For a SentencePiece model, a space mark at the very start of the
 * text is left out, because encoding puts it there. */
static void put_piece(struct decoding *d, const struct piece *p)
{
    const struct tokenizer *t = d->t;
    if (t->is_byte_level) {
        put(d, p->text, p->length);
    } else if (p->type == PIECE_BYTE) {
        d->text[d->bytes++] = (char)named_byte(p);
    } else if (t->is_json) {
        if (t->decoder.joins_with_space && !d->is_first) put(d, " ", 1);
        put_marked(d, p, t->decoder.mark, d->is_first && t->decoder.drops_first_marks);
    } else if (p->type == PIECE_UNKNOWN) {
        /* U+2047 between spaces: the default of SentencePiece's unk_surface */
        put(d, " \xe2\x81\x87 ", 5);
    } else if (p->type == PIECE_USER) {
        put(d, p->text, p->length);
    } else {
        struct piece rest = *p;
        bool skips = t->adds_prefix && d->is_first && p->length >= SPACE_MARK_BYTES &&
                     !memcmp(p->text, SPACE_MARK, SPACE_MARK_BYTES);
        rest.text += skips ? SPACE_MARK_BYTES : 0;
        rest.length -= skips ? SPACE_MARK_BYTES : 0;
        put_marked(d, &rest, SPACE_MARK, false);
    }
    d->is_first = false;
}

char *tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, size_t *bytes,
                       struct fail *why)
{
    struct decoding d = { .t = t, .is_first = true };
    *bytes = 0;
    if (tokenizer_reserve(&d.text, &d.capacity, 0, 1, why)) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= t->vocab) {
            (void)fail_input(why, "token %u is outside the vocabulary, which has %u tokens", ids[i],
                             t->vocab);
            free(d.text);
            return NULL;
        }
        const struct piece *p = tokenizer_piece(t, ids[i]);
        if (p->type == PIECE_CONTROL) continue;
        if (tokenizer_reserve(&d.text, &d.capacity, d.bytes, p->length + 8, why)) {
            free(d.text);
            return NULL;
        }
        put_piece(&d, p);
    }
    int strips = 0;
    while (strips < t->decoder.strips && (size_t)strips < d.bytes && d.text[strips] == ' ')
        strips++;
    memmove(d.text, d.text + strips, d.bytes - (size_t)strips);
    *bytes = d.bytes - (size_t)strips;
    return d.text;
}

size_t tokenizer_invalid(const struct tokenizer *t, const char *s, size_t n)
{
    return t->is_byte_level ? utf8_invalid((const unsigned char *)s, n) : 1;
}
