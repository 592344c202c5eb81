/* sentencepiece.c - reads tokenizer.model: protocol buffers of sentencepiece_model.proto. Only the
 * fields named here matter. */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/buffer.h"
#include "lib/common/protobuf.h"
#include "lib/common/utf8.h"

#include <math.h>
#include <sys/mman.h>
#include <xxhash.h>

struct bytes {
    const unsigned char *at, *end;
};

/* Numbers of the fields of sentencepiece_model.proto: ModelProto, SentencePiece, TrainerSpec,
 * NormalizerSpec. */
enum { MODEL_PIECES = 1, MODEL_TRAINER_SPEC = 2, MODEL_NORMALIZER_SPEC = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_TREAT_WHITESPACE_AS_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_BOS_ID = 41,
    TRAINER_EOS_ID = 42,
};
enum {
    NORMALIZER_PRECOMPILED_CHARSMAP = 2,
    NORMALIZER_ADD_DUMMY_PREFIX = 3,
    NORMALIZER_REMOVE_EXTRA_WHITESPACES = 4,
    NORMALIZER_ESCAPE_WHITESPACES = 5,
};
/* TrainerSpec.ModelType */
enum { MODEL_TYPE_UNIGRAM = 1, MODEL_TYPE_BPE = 2 };

/* A field of a message. `value` is a varint or fixed32; `part` has the bytes of a length-delimited
 * field. */
struct protobuf_field {
    uint32_t number, wire;
    uint64_t value;
    struct bytes part;
};

static bool varint(struct bytes *b, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && b->at < b->end; shift += 7) {
        unsigned char byte = *b->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* Reads the next field. Returns 1, 0 at the end, or -1 if the bytes are damaged. */
static int next_field(struct bytes *b, struct protobuf_field *f)
{
    uint64_t key;
    if (b->at == b->end) return 0;
    if (!varint(b, &key)) return -1;
    f->number = (uint32_t)(key >> 3);
    f->wire = key & 7;
    size_t left;
    switch (f->wire) {
    case PROTOBUF_VARINT:
        return varint(b, &f->value) ? 1 : -1;
    case PROTOBUF_FIXED64:
    case PROTOBUF_FIXED32:
        left = f->wire == PROTOBUF_FIXED64 ? 8 : 4;
        if ((size_t)(b->end - b->at) < left) return -1;
        f->value = 0;
        memcpy(&f->value, b->at, left);
        b->at += left;
        return 1;
    case PROTOBUF_BYTES:
        if (!varint(b, &key) || key > (uint64_t)(b->end - b->at)) return -1;
        f->part = (struct bytes){ b->at, b->at + key };
        b->at += key;
        return 1;
    default:
        return -1;
    }
}

static int broken(struct fail *why)
{
    return fail_input(
        why, "this is neither a SentencePiece model (tokenizer.model) nor a tokenizer.json");
}

static int read_piece(struct tokenizer *t, struct bytes b, struct fail *why)
{
    struct piece *p = &t->pieces[t->count];
    struct protobuf_field f;
    int got;
    *p = (struct piece){ .text = "", .type = PIECE_NORMAL };
    while ((got = next_field(&b, &f)) > 0) {
        if (f.number == PIECE_TEXT && f.wire == PROTOBUF_BYTES) {
            p->text = (const char *)f.part.at;
            p->length = (uint32_t)(f.part.end - f.part.at);
            if (f.part.end - f.part.at > TOKENIZER_PIECE_MAX)
                return fail_input(why, "piece %u is longer than %d bytes", t->count,
                                  TOKENIZER_PIECE_MAX);
        } else if (f.number == PIECE_SCORE && f.wire == PROTOBUF_FIXED32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, 4);
        } else if (f.number == PIECE_TYPE && f.wire == PROTOBUF_VARINT) {
            if (f.value < 1 || f.value > PIECE_BYTE)
                return fail_input(why, "piece %u has an unknown type", t->count);
            p->type = (enum piece_type)f.value;
        }
    }
    if (got < 0) return broken(why);
    if (p->type == PIECE_USER || p->type == PIECE_UNUSED)
        return fail_input(why,
                          "piece %u '%.*s' is %s: such models are not supported; use the "
                          "model's tokenizer.json",
                          t->count, (int)p->length, p->text,
                          p->type == PIECE_USER ? "user-defined" : "unused");
    if (!isfinite(p->score)) return fail_input(why, "piece %u has no finite score", t->count);
    t->count++;
    return 0;
}

/* Refuses an option that spm_train sets, and names the value with which a model is supported. */
static int refuse_option(const char *option, const char *value, struct fail *why)
{
    return fail_input(why,
                      "%s is not supported: use the model's tokenizer.json, or train a tokenizer "
                      "with spm_train --%s=%s",
                      option, option, value);
}

static int read_trainer(struct tokenizer *t, struct bytes b, struct fail *why)
{
    struct protobuf_field f;
    uint64_t algorithm = MODEL_TYPE_UNIGRAM;
    int got;
    while ((got = next_field(&b, &f)) > 0) {
        if (f.wire != PROTOBUF_VARINT) continue;
        if (f.number == TRAINER_MODEL_TYPE)
            algorithm = f.value;
        else if (f.number == TRAINER_TREAT_WHITESPACE_AS_SUFFIX && f.value)
            return refuse_option("treat_whitespace_as_suffix", "false", why);
        else if (f.number == TRAINER_BYTE_FALLBACK)
            t->has_bytes = f.value != 0;
        else if (f.number == TRAINER_BOS_ID)
            t->bos = (uint32_t)f.value;
        else if (f.number == TRAINER_EOS_ID)
            t->eos = (uint32_t)f.value;
    }
    if (got < 0) return broken(why);
    static const char *const names[] = { "?", "unigram", "BPE", "word", "char" };
    if (algorithm != MODEL_TYPE_BPE)
        return fail_input(why,
                          "this is a %s model, but only BPE is supported, as LLaMA's models have "
                          "it: choose another model, or train a tokenizer with spm_train "
                          "--model_type=bpe",
                          algorithm < 5 ? names[algorithm] : "?");
    return 0;
}

static int read_normalizer(struct tokenizer *t, struct bytes b, struct fail *why)
{
    struct protobuf_field f;
    int got;
    bool strips = true, escapes = true;
    t->adds_prefix = true;
    while ((got = next_field(&b, &f)) > 0) {
        if (f.number == NORMALIZER_PRECOMPILED_CHARSMAP && f.wire == PROTOBUF_BYTES &&
            f.part.at != f.part.end)
            return fail_input(why, "normalisation by a table (NFKC?) is not supported: train the "
                                   "tokenizer with --normalization_rule_name=identity");
        if (f.wire != PROTOBUF_VARINT) continue;
        if (f.number == NORMALIZER_ADD_DUMMY_PREFIX) t->adds_prefix = f.value != 0;
        if (f.number == NORMALIZER_REMOVE_EXTRA_WHITESPACES) strips = f.value != 0;
        if (f.number == NORMALIZER_ESCAPE_WHITESPACES) escapes = f.value != 0;
    }
    if (got < 0) return broken(why);
    if (strips) return refuse_option("remove_extra_whitespaces", "false", why);
    if (!escapes)
        return fail_input(why, "escape_whitespaces false is not supported: use the model's "
                               "tokenizer.json");
    return 0;
}

uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t length)
{
    uint32_t at = (uint32_t)XXH3_64bits(text, length) & t->table_mask;
    for (; t->table[at]; at = (at + 1) & t->table_mask) {
        const struct piece *p = &t->pieces[t->table[at] - 1];
        if (p->length == length && !memcmp(p->text, text, length)) return t->table[at] - 1;
    }
    return SYMBOL_NONE;
}

/* Counts a collision in a table of mask + 1 slots, and fails if there are too many. A table is at
 * most two thirds full, so an entry has one collision on average. */
static int collide(uint64_t *collisions, uint32_t mask, struct fail *why)
{
    enum { COLLISIONS_EACH = 64 };
    if (++*collisions / COLLISIONS_EACH <= mask) return 0;
    return fail_input(why, "the pieces or merges have too many equal hashes: was the file made to "
                           "slow programs down?");
}

int tokenizer_enter(struct tokenizer *t, uint32_t symbol, struct fail *why)
{
    const struct piece *p = &t->pieces[symbol];
    uint32_t at = (uint32_t)XXH3_64bits(p->text, p->length) & t->table_mask;
    for (; t->table[at]; at = (at + 1) & t->table_mask)
        if (collide(&t->piece_collisions, t->table_mask, why)) return -1;
    t->table[at] = symbol + 1;
    return 0;
}

static uint32_t power_of_two(uint64_t min)
{
    uint32_t size = 16;
    while (size < min)
        size *= 2;
    return size;
}

void *tokenizer_table(size_t bytes)
{
    enum { HUGE_PAGE = 2 << 20, LINE = 64 };
    size_t page = bytes > HUGE_PAGE ? HUGE_PAGE : LINE, rounded = (bytes + page - 1) / page * page;
    void *table = aligned_alloc(page, rounded);
    if (!table) return NULL;
#ifdef MADV_HUGEPAGE
    if (page == HUGE_PAGE) madvise(table, rounded, MADV_HUGEPAGE);
#endif
    return memset(table, 0, bytes);
}

int tokenizer_make_table(struct tokenizer *t, uint64_t pieces, struct fail *why)
{
    uint32_t size = power_of_two(pieces);
    t->table = calloc(size, sizeof *t->table);
    if (!t->table) return fail(why, "out of memory");
    t->table_mask = size - 1;
    return 0;
}

/* Sets the id of a byte. Source: PieceToByte and InitializePieces in SentencePiece's
 * model_interface.cc. */
static int index_byte(struct tokenizer *t, uint32_t id, struct fail *why)
{
    int byte = piece_byte(&t->pieces[id], "0123456789ABCDEF");
    if (byte < 0) return fail_input(why, "byte piece %u is not spelled <0xNN>", id);
    if (!t->has_bytes)
        return fail_input(why, "piece %u is a byte piece, but byte_fallback is not set", id);
    if (t->byte_piece[byte] != UINT32_MAX) return fail_input(why, "piece %u occurs twice", id);
    t->byte_piece[byte] = id;
    return 0;
}

static int index_pieces(struct tokenizer *t, struct fail *why)
{
    uint64_t characters = 0;
    for (uint32_t i = 0; i < t->count; i++)
        characters += t->pieces[i].length;
    /* Makes the table large enough for each character to become a symbol of its own. */
    if (tokenizer_make_table(t, 2 * (t->count + characters), why)) return -1;
    memset(t->byte_piece, 0xff, sizeof t->byte_piece);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (!p->length) return fail_input(why, "piece %u is empty", i);
        if (p->type == PIECE_BYTE && index_byte(t, i, why)) return -1;
        if (p->type == PIECE_UNKNOWN && t->unknown != UINT32_MAX)
            return fail_input(why, "pieces %u and %u are both unknown", t->unknown, i);
        if (p->type == PIECE_UNKNOWN) t->unknown = i;
        if (p->type != PIECE_NORMAL) continue;
        for (size_t at = 0, n; at < p->length; at += n) {
            n = utf8_valid((const unsigned char *)p->text + at, p->length - at);
            if (!n) return fail_input(why, "piece %u is not UTF-8", i);
        }
        if (tokenizer_find(t, p->text, p->length) != SYMBOL_NONE)
            return fail_input(why, "piece %u occurs twice", i);
        if (tokenizer_enter(t, i, why)) return -1;
    }
    for (unsigned i = 0; i < 256 && t->has_bytes; i++)
        if (t->byte_piece[i] == UINT32_MAX)
            return fail_input(why, "byte_fallback is set, but there is no piece <0x%02X>", i);
    if (t->unknown == UINT32_MAX) return fail_input(why, "the unknown piece is missing");
    if (t->bos >= t->count) t->bos = UINT32_MAX;
    if (t->eos >= t->count) t->eos = UINT32_MAX;
    return 0;
}

/* Makes symbols of characters that occur in pieces but are no pieces, and records which characters
 * are neighbours in a piece. */
static int index_characters(struct tokenizer *t, struct fail *why)
{
    size_t capacity = t->count;
    t->symbols = t->count;
    for (uint32_t i = 0; i < t->count; i++) {
        struct piece p = t->pieces[i];
        uint32_t last = 0;
        if (p.type != PIECE_NORMAL) continue;
        for (size_t at = 0, n; at < p.length; at += n) {
            uint32_t c = utf8_decode(p.text + at, &n);
            if (tokenizer_find(t, p.text + at, n) == SYMBOL_NONE) {
                if (buffer_reserve(&t->pieces, &capacity, t->symbols, 1, why)) return -1;
                t->pieces[t->symbols] =
                    (struct piece){ p.text + at, (uint32_t)n, 0, PIECE_CONTROL };
                if (tokenizer_enter(t, t->symbols++, why)) return -1;
            }
            if (c == SPACE_MARK_CODE) c = ' ';
            if (at && (last | c) < 128) t->joins_ascii[last | c << 8] = true;
            uint32_t h = join_hash(last, c);
            if (at) t->joins_other[h / 64] |= UINT64_C(1) << (h % 64);
            last = c;
        }
    }
    for (uint32_t c = 0; c < 128; c++) {
        char text = (char)c;
        t->ascii_symbol[c] = c == ' ' ? tokenizer_find(t, SPACE_MARK, SPACE_MARK_BYTES)
                                      : tokenizer_find(t, &text, 1);
    }
    return 0;
}

/* Returns the byte, or the character of ASCII, whose symbol this is; -1 if it is no such symbol. */
static int byte_of_symbol(const struct tokenizer *t, uint32_t symbol)
{
    const struct piece *p = &t->pieces[symbol];
    if (!t->is_json && p->length == SPACE_MARK_BYTES && !memcmp(p->text, SPACE_MARK, p->length))
        return ' ';
    return p->length == 1 ? (unsigned char)*p->text : -1;
}

int tokenizer_add_merge(struct tokenizer *t, struct merge m, struct fail *why)
{
    uint64_t hash = merge_hash(m.left, m.right), bit = hash >> (t->merge_shift - MERGE_BITS_LOG);
    uint32_t at = (uint32_t)(hash >> t->merge_shift);
    for (; t->merges[at].left != SYMBOL_NONE; at = (at + 1) & t->merge_mask)
        if (collide(&t->merge_collisions, t->merge_mask, why)) return -1;
    t->merges[at] = m;
    t->merge_bits[bit / 64] |= UINT64_C(1) << (bit % 64);
    int left = byte_of_symbol(t, m.left), right = byte_of_symbol(t, m.right);
    if (left >= 0 && right >= 0)
        t->merge_of_bytes[left << 8 | right] = (struct byte_merge){ m.piece, m.order };
    return 0;
}

/* Counts in *cuts the ways to cut a piece into two symbols. Each way is a merge. If `adds` is set,
 * adds these merges to the table. */
static int cut_pieces(struct tokenizer *t, bool adds, uint64_t *cuts, struct fail *why)
{
    *cuts = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (p->type != PIECE_NORMAL) continue;
        for (uint32_t at = utf8_length((unsigned char)p->text[0]); at < p->length;
             at += (uint32_t)utf8_length((unsigned char)p->text[at])) {
            uint32_t left = tokenizer_find(t, p->text, at);
            if (left == SYMBOL_NONE) continue;
            uint32_t right = tokenizer_find(t, p->text + at, p->length - at);
            if (right == SYMBOL_NONE) continue;
            struct merge m = { left, right, i, merge_order(p->score) };
            if (adds && tokenizer_add_merge(t, m, why)) return -1;
            if (++*cuts > TOKENIZER_MERGES_MAX)
                return fail_input(why, "the pieces have more than %d merges", TOKENIZER_MERGES_MAX);
        }
    }
    return 0;
}

int tokenizer_make_merges(struct tokenizer *t, uint64_t merges, struct fail *why)
{
    enum { BYTE_PAIRS = 256 * 256 };
    uint32_t size = power_of_two(merges + merges / 2);
    size_t table = size * sizeof *t->merges, pairs = BYTE_PAIRS * sizeof *t->merge_of_bytes;
    t->merges = tokenizer_table(table + pairs + (((size_t)size << MERGE_BITS_LOG) / 8));
    if (!t->merges) return fail(why, "out of memory");
    t->merge_of_bytes = (struct byte_merge *)(t->merges + size);
    t->merge_bits = (uint64_t *)(t->merge_of_bytes + BYTE_PAIRS);
    memset(t->merges, 0xff, table + pairs);
    t->merge_mask = size - 1;
    t->merge_shift = 64;
    for (uint32_t n = size; n > 1; n /= 2)
        t->merge_shift--;
    return 0;
}

static int index_merges(struct tokenizer *t, struct fail *why)
{
    uint64_t cuts;
    return cut_pieces(t, false, &cuts, why) || tokenizer_make_merges(t, cuts, why) ||
                   cut_pieces(t, true, &cuts, why)
               ? -1
               : 0;
}

/* Makes added tokens of the control pieces and the unknown piece, so that they can be found in text
 * (parses_special). */
static int put_controls(struct tokenizer *t, struct fail *why)
{
    char text[TOKENIZER_PIECE_MAX + 1];
    t->added.next_id = t->count;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (p->type != PIECE_CONTROL && p->type != PIECE_UNKNOWN) continue;
        snprintf(text, sizeof text, "%.*s", (int)p->length, p->text);
        const struct added_token token = { .content = text, .special = true };
        if (added_find(t, text)) return fail_input(why, "piece %u occurs twice", i);
        if (added_put(t, &token, UINT32_MAX, why)) return -1;
    }
    return added_finish(t, why);
}

int tokenizer_read_model(struct tokenizer *t, size_t bytes, struct fail *why)
{
    struct bytes all = { (unsigned char *)t->model, (unsigned char *)t->model + bytes }, b = all;
    struct protobuf_field f;
    size_t pieces = 0;
    bool has_trainer = false, has_normalizer = false;
    int got;
    while ((got = next_field(&b, &f)) > 0)
        pieces += f.number == MODEL_PIECES && f.wire == PROTOBUF_BYTES;
    if (got < 0 || !pieces) return broken(why);
    if (pieces > TOKENIZER_PIECES_MAX)
        return fail_input(why, "the model has %zu pieces, but at most %d are possible", pieces,
                          TOKENIZER_PIECES_MAX);
    t->pieces = calloc(pieces, sizeof *t->pieces);
    if (!t->pieces) return fail(why, "out of memory");
    t->unknown = UINT32_MAX;
    t->bos = 1;
    t->eos = 2;
    for (b = all; next_field(&b, &f) > 0;) {
        if (f.wire != PROTOBUF_BYTES) continue;
        if (f.number == MODEL_PIECES && read_piece(t, f.part, why)) return -1;
        if (f.number == MODEL_TRAINER_SPEC && read_trainer(t, f.part, why)) return -1;
        if (f.number == MODEL_NORMALIZER_SPEC && read_normalizer(t, f.part, why)) return -1;
        has_trainer |= f.number == MODEL_TRAINER_SPEC;
        has_normalizer |= f.number == MODEL_NORMALIZER_SPEC;
    }
    return has_trainer && has_normalizer ? 0 : broken(why);
}

static int parse(struct tokenizer *t, size_t bytes, struct fail *why)
{
    if (tokenizer_read_model(t, bytes, why)) return -1;
    if (index_pieces(t, why) || index_characters(t, why) || index_merges(t, why)) return -1;
    t->begin = t->bos;
    t->end = UINT32_MAX;
    return put_controls(t, why);
}

int tokenizer_parse(struct tokenizer **out, const void *model, size_t bytes, const char *name,
                    struct fail *why)
{
    *out = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t) t->model = malloc(bytes + 1);
    if (t) t->name = strdup(name);
    if (!t || !t->model || !t->name) {
        tokenizer_close(t);
        return fail(why, "%s: out of memory", name);
    }
    memcpy(t->model, model, bytes);
    digest_of_bytes(model, bytes, t->digest);
    bool has_mark = bytes > 3 && !memcmp(t->model, "\xef\xbb\xbf", 3);
    bool is_json = bytes && (t->model[0] == '{' || has_mark);
    if (is_json ? tokenizer_parse_json(t, model, bytes, why) : parse(t, bytes, why)) {
        tokenizer_close(t);
        return fail_in(why, name);
    }
    *out = t;
    return 0;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    free(t->name);
    free(t->model);
    free(t->pieces);
    free(t->table);
    free(t->merges);
    free(t->extra);
    free(t->remark);
    json_decref(t->normalizer_json);
    json_decref(t->pre_tokenizer_json);
    added_release(&t->added);
    steps_release(&t->normalizers);
    steps_release(&t->pre_tokenizers);
    free(t);
}

/* The remark about a tokenizer.model concerns only BOS, so it is left out if the caller puts no
 * BOS. */
const char *tokenizer_remark(const struct tokenizer *t, bool puts_begin)
{
    return t->is_json || puts_begin ? t->remark : NULL;
}

uint32_t tokenizer_vocab(const struct tokenizer *t) { return t->vocab; }
uint32_t tokenizer_pieces(const struct tokenizer *t) { return t->count; }
uint32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
uint32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }
uint32_t tokenizer_begin(const struct tokenizer *t) { return t->begin; }
uint32_t tokenizer_end(const struct tokenizer *t) { return t->end; }

uint32_t tokenizer_special(const struct tokenizer *t, const char *name)
{
    const struct added_token *added = added_find(t, name);
    size_t length = strlen(name);
    if (added) return added->id;
    for (uint32_t i = t->count; i-- > 0;)
        if (t->pieces[i].type == PIECE_CONTROL && t->pieces[i].length == length &&
            !memcmp(t->pieces[i].text, name, length))
            return i;
    return UINT32_MAX;
}

const char *tokenizer_digest(const struct tokenizer *t) { return t->digest; }
