/* tokenizer_json.c - reads Hugging Face's tokenizer.json with BPE over bytes (LLaMA-3, GPT-2) or
 * over characters (LLaMA-2). In the first case the text of a piece is stored as the bytes that its
 * characters stand for. */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/json.h"
#include "lib/common/utf8.h"
#include "lib/tokenizer/lists.h"
#include "lib/tokenizer/parts.h"

/* ---- bytes as characters (Radford et al. 2019, GPT-2) ---- */

enum { CHARACTERS = 0x100 + 68 };

/* A byte that is a printable character of Latin-1 stands for itself. The other bytes are written as
 * the characters from U+0100 on, in order. */
static void make_byte_map(int16_t byte_of[CHARACTERS])
{
    int next = 0x100;
    for (int c = 0; c < CHARACTERS; c++)
        byte_of[c] = -1;
    for (int b = 0; b < 256; b++) {
        bool is_printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        byte_of[is_printable ? b : next++] = (int16_t)b;
    }
}

/* Writes the bytes that a piece's characters stand for. Returns how many there are, or -1 if a
 * character stands for no byte. */
static int64_t to_bytes(const int16_t byte_of[CHARACTERS], const char *text, size_t bytes, char *to)
{
    int64_t length = 0;
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c = utf8_decode(text + at, &n);
        if (c >= CHARACTERS || byte_of[c] < 0) return -1;
        to[length++] = (char)byte_of[c];
    }
    return length;
}

size_t tokenizer_spell_bytes(const char *text, size_t bytes, char *to)
{
    int16_t byte_of[CHARACTERS];
    uint16_t character_of[256] = { 0 };
    size_t used = 0;
    make_byte_map(byte_of);
    for (int c = 0; c < CHARACTERS; c++)
        if (byte_of[c] >= 0) character_of[byte_of[c]] = (uint16_t)c;
    for (size_t i = 0; i < bytes; i++) {
        uint16_t c = character_of[(unsigned char)text[i]];
        if (c >= 0x80) to[used++] = (char)(0xc0 | c >> 6);
        to[used++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
    }
    return used;
}

/* ---- the model's options ---- */

#define UNKNOWN_IS_MISSING (UINT32_MAX - 1)

static bool is_set(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value) || json_is_false(value)) return false;
    if (json_is_number(value)) return json_number_value(value) != 0;
    return !(json_is_string(value) && !json_string_length(value));
}

static int check_model(const json_t *model, struct fail *why)
{
    static const char *const undone[] = { "dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix" };
    if (!part_check("model", model, why)) return -1;
    for (int i = 0; i < (int)(sizeof undone / sizeof *undone); i++)
        if (is_set(model, undone[i])) return part_refuse("model", "BPE", undone[i], why);
    return 0;
}

/* Reads a flag of the model. null or a missing key is false. */
static int read_option(bool *to, const json_t *model, const char *key, struct fail *why)
{
    *to = false;
    return json_is_null(json_object_get(model, key)) ? 0 : json_get_flag(model, key, to, why);
}

/* *unknown_text becomes the text of the unknown piece; NULL if there is none. */
static int read_options(struct tokenizer *t, const json_t *model, const char **unknown_text,
                        struct fail *why)
{
    const json_t *unknown = json_object_get(model, "unk_token");
    const char *text = json_string_value(unknown);
    t->unknown = UINT32_MAX;
    if (read_option(&t->fuses_unknown, model, "fuse_unk", why) ||
        read_option(&t->falls_back, model, "byte_fallback", why) ||
        read_option(&t->ignores_merges, model, "ignore_merges", why))
        return -1;
    if (unknown && !text && !json_is_null(unknown))
        return part_refuse("model", "BPE", "unk_token", why);
    if (text) t->unknown = UNKNOWN_IS_MISSING; /* until it is found in the vocabulary */
    *unknown_text = text;
    return 0;
}

/* Recognises another file of a model's folder by its keys, and fails with its name. */
static int name_other(const json_t *root, struct fail *why)
{
    static const struct {
        const char *key, *words;
    } files[] = { { "hidden_size", "a model's config.json" },
                  { "model_type", "a model's config.json" },
                  { "weight_map", "an index of weights" },
                  { "peft_type", "an adapter's adapter_config.json" },
                  { "tokenizer_class", "a tokenizer_config.json" },
                  { "added_tokens_decoder", "a tokenizer_config.json" },
                  { "bos_token", "a special_tokens_map.json" } };
    const char *words = NULL;
    json_t *value = json_object_iter_value(json_object_iter((json_t *)root));
    for (size_t i = 0; !words && i < sizeof files / sizeof *files; i++)
        if (json_object_get(root, files[i].key)) words = files[i].words;
    if (!words && json_is_integer(value)) words = "a vocabulary without merges (vocab.json)";
    if (!words) return fail_input(why, "not a tokenizer.json: it has no model");
    return fail_input(why,
                      "this is %s, but tokenizer.model or tokenizer.json is needed: name the "
                      "folder that has one; from other files transformers makes a tokenizer.json: "
                      "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
                      words);
}

/* ---- pieces ---- */

/* The pieces in the order of the file. */
struct entries {
    struct entry {
        struct piece piece;
        int64_t id;
    } * at;
    size_t count, capacity;
};

/* Appends a piece, whose text is copied to *to. A piece with characters that stand for no bytes
 * never occurs in a result, because text is made of bytes. */
static int add_entry(const struct tokenizer *t, struct entries *e, const int16_t *byte_of,
                     const char *text, int64_t id, char **to, struct fail *why)
{
    struct piece p = { *to, 0, 0, PIECE_NORMAL };
    size_t bytes = strlen(text);
    int64_t length = t->is_byte_level ? to_bytes(byte_of, text, bytes, *to) : -1;
    if (id < 0 || id >= TOKENIZER_PIECES_MAX)
        return fail_input(why, "the id of '%.60s' is not an integer from 0 to %d", text,
                          TOKENIZER_PIECES_MAX - 1);
    if (length < 0) {
        if (t->is_byte_level) p.type = PIECE_USER;
        length = (int64_t)bytes;
        memcpy(*to, text, bytes);
    }
    if (length > TOKENIZER_PIECE_MAX)
        return fail_input(why, "'%.60s' is longer than %d bytes", text, TOKENIZER_PIECE_MAX);
    p.length = (uint32_t)length;
    *to += length;
    if (buffer_reserve(&e->at, &e->capacity, e->count, 1, why)) return -1;
    e->at[e->count++] = (struct entry){ p, id };
    return 0;
}

/* Makes the array of the pieces, indexed by their ids. */
static int place_pieces(struct tokenizer *t, const struct entries *e, struct fail *why)
{
    int64_t max_id = -1, given = (int64_t)e->count;
    for (size_t i = 0; i < e->count; i++)
        max_id = e->at[i].id > max_id ? e->at[i].id : max_id;
    if (max_id >= given + TOKENIZER_HOLES_MAX)
        return fail_input(
            why, "the highest id is %lld, but there are %lld pieces: more than %d ids have none",
            (long long)max_id, (long long)given, TOKENIZER_HOLES_MAX);
    t->count = t->symbols = (uint32_t)(max_id + 1);
    t->added.next_id = (uint32_t)given;
    t->pieces = calloc((size_t)max_id + 2, sizeof *t->pieces);
    if (!t->pieces) return fail(why, "out of memory");
    for (size_t i = 0; i < e->count; i++) {
        struct piece *p = &t->pieces[e->at[i].id];
        if (p->text) return fail_input(why, "id %lld occurs twice", (long long)e->at[i].id);
        *p = e->at[i].piece;
    }
    return 0;
}

static int read_vocab(struct tokenizer *t, const struct lists *lists, const char *unknown,
                      struct fail *why)
{
    int16_t byte_of[CHARACTERS];
    struct list_scan s = lists_begin(lists, LIST_VOCAB, why);
    struct entries e = { 0 };
    const char *text;
    char *to = t->model;
    int64_t id;
    int got;
    make_byte_map(byte_of);
    while ((got = lists_next_piece(&s, &text, &id)) > 0) {
        if (add_entry(t, &e, byte_of, text, id, &to, why)) break;
        if (unknown && !strcmp(text, unknown)) t->unknown = (uint32_t)id;
    }
    int status = got ? -1 : place_pieces(t, &e, why);
    free(e.at);
    return status;
}

/* ---- which characters the vocabulary joins ---- */

static int index_bytes(struct tokenizer *t, struct fail *why)
{
    t->has_bytes = true;
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte_piece[b] = tokenizer_find(t, &byte, 1);
        if (t->byte_piece[b] == SYMBOL_NONE) t->has_bytes = false;
    }
    if (!t->has_bytes && t->falls_back) return part_refuse("model", "BPE", "byte_fallback", why);
    return 0;
}

/* Records which pairs of characters are neighbours in a piece. No merge joins two characters that
 * are neighbours in no piece. */
static void note_neighbours(struct tokenizer *t, const struct piece *p)
{
    uint32_t last = 0;
    for (size_t at = 0, n; at < p->length; at += n) {
        uint32_t c = utf8_decode(p->text + at, &n), h = join_hash(last, c);
        if (at && (last | c) < 128) t->joins_ascii[last | c << 8] = true;
        if (at) t->joins_other[h / 64] |= UINT64_C(1) << (h % 64);
        last = c;
    }
}

static void index_characters(struct tokenizer *t)
{
    char name[8];
    t->has_bytes = t->falls_back;
    for (int b = 0; b < 256; b++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        t->byte_piece[b] = tokenizer_find(t, name, 6);
        if (t->byte_piece[b] == SYMBOL_NONE) t->has_bytes = false;
    }
    for (uint32_t c = 0; c < 128; c++) {
        char text = (char)c;
        t->ascii_symbol[c] = tokenizer_find(t, &text, 1);
    }
    for (uint32_t i = 0; i < t->count; i++)
        if (t->pieces[i].type == PIECE_NORMAL) note_neighbours(t, &t->pieces[i]);
    /* Text can be cut only under two conditions. Each character must have bytes to fall back to,
     * because otherwise runs of unknown characters span pre-tokens. And whole pre-tokens must not
     * be looked up as pieces. */
    t->cuts_pre_tokens = t->has_bytes && !t->ignores_merges;
}

static int compare_pieces(const void *a, const void *b)
{
    const struct piece *const *x = a, *const *y = b;
    size_t length = (*x)->length < (*y)->length ? (*x)->length : (*y)->length;
    int order = memcmp((*x)->text, (*y)->text, length);
    return order ? order : (*x)->length < (*y)->length ? -1 : (*x)->length > (*y)->length;
}

/* The text of a piece does not end with a zero. */
static int fail_twice(const struct piece *p, struct fail *why)
{
    return fail_input(why, "'%.*s' occurs twice in the vocabulary",
                      p->length < 60 ? (int)p->length : 60, p->text);
}

/* Fails if two of the pieces that are in no table have the same text. */
static int check_others(const struct tokenizer *t, struct fail *why)
{
    const struct piece **others = calloc(t->count + (size_t)1, sizeof *others);
    size_t count = 0;
    int status = 0;
    if (!others) return fail(why, "out of memory");
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (p->type == PIECE_USER || (p->type == PIECE_NORMAL && !p->length)) others[count++] = p;
    }
    qsort(others, count, sizeof *others, compare_pieces);
    for (size_t i = 1; i < count && !status; i++)
        if (!compare_pieces(&others[i - 1], &others[i])) status = fail_twice(others[i], why);
    free(others);
    return status;
}

static int index_pieces(struct tokenizer *t, struct fail *why)
{
    if (tokenizer_make_table(t, 2 * (uint64_t)t->count, why)) return -1;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (!p->text) t->pieces[i] = (struct piece){ .text = "", .type = PIECE_UNUSED };
        if (p->type != PIECE_NORMAL || !p->length) continue;
        if (tokenizer_find(t, p->text, p->length) != SYMBOL_NONE) return fail_twice(p, why);
        if (tokenizer_enter(t, i, why)) return -1;
    }
    if (check_others(t, why)) return -1;
    if (t->is_byte_level && index_bytes(t, why)) return -1;
    if (!t->is_byte_level) index_characters(t);
    if (t->unknown != UNKNOWN_IS_MISSING) return 0;
    if (!t->has_bytes) return part_refuse("model", "BPE", "unk_token", why);
    t->unknown = UINT32_MAX;
    return 0;
}

/* ---- merges: earlier ones have priority ---- */

static int read_merge(const struct tokenizer *t, const int16_t byte_of[CHARACTERS],
                      const char *const parts[2], struct merge *m)
{
    char both[2 * TOKENIZER_PIECE_MAX];
    int64_t length[2], used = 0;
    for (int i = 0; i < 2; i++) {
        /* A byte is written as a character of at most two bytes. */
        size_t size = parts[0] ? strlen(parts[i]) : sizeof both + 1;
        if (size > sizeof both - (size_t)used) return -1;
        length[i] = (int64_t)size;
        if (t->is_byte_level)
            length[i] = to_bytes(byte_of, parts[i], size, both + used);
        else
            memcpy(both + used, parts[i], size);
        if (length[i] <= 0) return -1;
        used += length[i];
    }
    m->left = tokenizer_find(t, both, (size_t)length[0]);
    m->right = tokenizer_find(t, both + length[0], (size_t)length[1]);
    m->piece = tokenizer_find(t, both, (size_t)used);
    return m->left == SYMBOL_NONE || m->right == SYMBOL_NONE || m->piece == SYMBOL_NONE ? -1 : 0;
}

static bool is_byte_piece(const struct tokenizer *t, uint32_t id)
{
    const struct piece *p = &t->pieces[id];
    return p->length == 6 && !memcmp(p->text, "<0x", 3) && p->text[5] == '>';
}

struct merge_list {
    struct merge *at;
    size_t count, capacity;
};

static int list_merges(const struct tokenizer *t, const struct lists *lists, struct merge_list *l,
                       struct fail *why)
{
    int16_t byte_of[CHARACTERS];
    struct list_scan s = lists_begin(lists, LIST_MERGES, why);
    const char *parts[2];
    int got;
    make_byte_map(byte_of);
    while ((got = lists_next_merge(&s, parts)) > 0) {
        size_t i = s.count - 1;
        struct merge m = { .order = merge_order(-(float)i) };
        /* Scores are floats, which hold ranks up to this limit exactly. */
        if (i >= TOKENIZER_MERGES_MAX)
            return fail_input(why, "more than %d merges", TOKENIZER_MERGES_MAX);
        if (read_merge(t, byte_of, parts, &m))
            return fail_input(why, "merge %zu is not two pieces that make a third", i);
        if (buffer_reserve(&l->at, &l->capacity, l->count, 1, why)) return -1;
        l->at[l->count++] = m;
    }
    return got;
}

static int add_merges(struct tokenizer *t, const struct merge_list *l, struct fail *why)
{
    if (tokenizer_make_merges(t, l->count, why)) return -1;
    for (size_t i = 0; i < l->count; i++) {
        struct merge m = l->at[i];
        if (find_merge(t, m.left, m.right)) return fail_input(why, "merge %zu occurs twice", i);
        if (tokenizer_add_merge(t, m, why)) return -1;
        /* Bytes of unknown characters may merge with their neighbours, so text cannot be cut. */
        if (is_byte_piece(t, m.left) || is_byte_piece(t, m.right)) t->cuts_pre_tokens = false;
    }
    return 0;
}

static int read_merges(struct tokenizer *t, const struct lists *lists, struct fail *why)
{
    struct merge_list list = { 0 };
    if (!lists->at[LIST_MERGES]) return fail_input(why, "the model has no merges");
    int status = list_merges(t, lists, &list, why) || add_merges(t, &list, why) ? -1 : 0;
    free(list.at);
    return status;
}

/* ---- the whole file ---- */

uint32_t tokenizer_byte_level_id(const struct tokenizer *t, const char *spelling)
{
    int16_t byte_of[CHARACTERS];
    char bytes[TOKENIZER_PIECE_MAX];
    size_t length = strlen(spelling);
    make_byte_map(byte_of);
    if (length > sizeof bytes) return UINT32_MAX;
    int64_t count = to_bytes(byte_of, spelling, length, bytes);
    if (count > 0) return tokenizer_find(t, bytes, (size_t)count);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (p->type == PIECE_USER && p->length == length && !memcmp(p->text, spelling, length))
            return i;
    }
    return UINT32_MAX;
}

static int64_t id_of(const json_t *value)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < TOKENIZER_PIECES_MAX ? id : -1;
}

static int read_added(struct tokenizer *t, const json_t *list, struct fail *why)
{
    json_t *value;
    size_t i;
    if (list && !json_is_array(list)) return fail_input(why, "added_tokens is no list");
    json_array_foreach(list, i, value)
    {
        struct added_token token;
        const char *key;
        json_t *option;
        int64_t id = id_of(json_object_get(value, "id"));
        if (id < 0)
            return fail_input(
                why, "the id of added token %zu is missing, or is not an integer from 0 to %d", i,
                TOKENIZER_PIECES_MAX - 1);
        json_object_foreach(value, key, option)
        {
            if (!part_has_option("added_tokens", key))
                return fail_input(why, "added token %zu: option '%.60s' is not known", i, key);
        }
        if (added_read(&token, value, why) || added_put(t, &token, (uint32_t)id, why)) return -1;
    }
    return added_finish(t, why);
}

static int read_all(struct tokenizer *t, json_t *root, const struct lists *lists, struct fail *why)
{
    json_t *model = json_object_get(root, "model");
    const char *unknown = NULL;
    const char *version = json_string_value(json_object_get(root, "version"));
    if (!json_is_object(model)) return name_other(root, why);
    if (check_model(model, why)) return -1;
    if (version && strcmp(version, "1.0") != 0)
        return fail_input(why, "version '%.20s' of tokenizer.json is not known", version);
    if (!lists->at[LIST_VOCAB]) return fail_input(why, "the model has no vocabulary");
    t->is_json = true;
    t->bos = t->eos = UINT32_MAX;
    if (steps_read(t, json_object_get(root, "normalizer"), json_object_get(root, "pre_tokenizer"),
                   why) ||
        read_options(t, model, &unknown, why) || read_vocab(t, lists, unknown, why) ||
        index_pieces(t, why) || read_merges(t, lists, why) ||
        read_added(t, json_object_get(root, "added_tokens"), why) ||
        tokenizer_read_decoder(t, json_object_get(root, "decoder"), why))
        return -1;
    return tokenizer_read_template(t, json_object_get(root, "post_processor"), why);
}

int tokenizer_parse_json(struct tokenizer *t, const char *text, size_t bytes, struct fail *why)
{
    if (bytes > TOKENIZER_JSON_MAX)
        return fail_input(why, "the file has %zu bytes, but at most %d are possible", bytes,
                          TOKENIZER_JSON_MAX);
    struct lists lists;
    if (lists_find(&lists, text, bytes, why)) return -1;
    json_t *root = json_read_text(lists.rest, lists.rest_bytes, "JSON", why);
    int status = root ? read_all(t, root, &lists, why) : -1;
    /* The place of an error in the rest is not its place in the file, so the whole file is
     * parsed. */
    if (!root) json_decref(json_read_text(text, bytes, "JSON", why));
    t->normalizer_json = json_incref(json_object_get(root, "normalizer"));
    t->pre_tokenizer_json = json_incref(json_object_get(root, "pre_tokenizer"));
    t->spells_byte_level = memmem(text, bytes, "\"ByteLevel\"", 11) != NULL;
    json_decref(root);
    lists_release(&lists);
    return status;
}
