/* added.c - finds added tokens in text before it is cut into pre-tokens, as Hugging Face does
 * (added_vocabulary.rs). */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/json.h"

/* The number of added tokens is limited, because each is compared with all earlier ones. */
enum { ADDED_MAX = 1 << 14 };

static const char *looked_for(const struct added_token *a, bool is_normal)
{
    return is_normal ? a->normal : a->content;
}

struct added_token *added_find(const struct tokenizer *t, const char *content)
{
    for (size_t i = 0; i < t->added.count; i++)
        if (!strcmp(t->added.at[i].content, content)) return &t->added.at[i];
    return NULL;
}

int added_read(struct added_token *token, const json_t *object, struct fail *why)
{
    const char *content = json_string_value(json_object_get(object, "content"));
    *token = (struct added_token){ .content = (char *)content, .normalized = true };
    if (!content) return fail_input(why, "an added token has no content");
    if (strlen(content) > TOKENIZER_PIECE_MAX)
        return fail_input(why, "added token '%.60s' is longer than %d bytes", content,
                          TOKENIZER_PIECE_MAX);
    if (json_get_flag(object, "special", &token->special, why)) return -1;
    token->normalized = !token->special;
    return json_get_flag(object, "single_word", &token->single_word, why) ||
                   json_get_flag(object, "lstrip", &token->lstrip, why) ||
                   json_get_flag(object, "rstrip", &token->rstrip, why) ||
                   json_get_flag(object, "normalized", &token->normalized, why)
               ? -1
               : 0;
}

/* Returns the id of the piece with this text, or UINT32_MAX if there is none. */
static uint32_t piece_with(const struct tokenizer *t, const char *content)
{
    size_t length = strlen(content);
    if (t->is_byte_level) return tokenizer_byte_level_id(t, content);
    uint32_t found = tokenizer_find(t, content, length);
    if (found < t->count) return found;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];
        if (p->length == length && length && !memcmp(p->text, content, length)) return i;
    }
    return UINT32_MAX;
}

int added_put(struct tokenizer *t, const struct added_token *token, uint32_t wanted,
              struct fail *why)
{
    struct added_tokens *all = &t->added;
    struct added_token *old = added_find(t, token->content);
    if (!*token->content) return 0;
    uint32_t id = old ? old->id : piece_with(t, token->content);
    if (id == UINT32_MAX) id = all->next_id;
    if (wanted != UINT32_MAX && wanted != id)
        return fail_input(why,
                          "added token '%.60s' has the id %u in the file, but Hugging Face's "
                          "tokenizers gives it %u: save the tokenizer again",
                          token->content, wanted, id);
    if (id >= TOKENIZER_PIECES_MAX || (!old && all->count >= ADDED_MAX))
        return fail_input(why, "at most %d added tokens are possible, with ids below %d", ADDED_MAX,
                          TOKENIZER_PIECES_MAX);
    if (id >= all->next_id) all->next_id = id + 1;
    if (!old) {
        if (tokenizer_reserve(&all->at, &all->capacity, all->count, 1, why)) return -1;
        old = &all->at[all->count];
        *old = (struct added_token){ .content = strdup(token->content) };
        if (!old->content) return fail(why, "out of memory");
        all->count++;
    }
    char *content = old->content;
    bool was_special = old->special;
    free(old->normal);
    *old = *token;
    old->content = content;
    /* While it reads tokenizer.json and the files beside it, the library tokenizers remembers every
     * text that once was special. */
    old->special |= was_special && t->is_json;
    old->normal = NULL; /* added_finish sets it */
    old->id = id;
    return 0;
}

/* ---- the indexes ---- */

static int compare_raw(const void *a, const void *b)
{
    const struct added_token *const *x = a, *const *y = b;
    return strcmp((*x)->content, (*y)->content);
}

static int compare_normal(const void *a, const void *b)
{
    const struct added_token *const *x = a, *const *y = b;
    return strcmp((*x)->normal, (*y)->normal);
}

static int make_index(struct added_tokens *all, bool is_normal, struct fail *why)
{
    struct added_index *index = is_normal ? &all->normal : &all->raw;
    free(index->sorted);
    *index = (struct added_index){ .sorted = calloc(all->count + 1, sizeof *index->sorted) };
    if (!index->sorted) return fail(why, "out of memory");
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].normalized == is_normal && *looked_for(&all->at[i], is_normal)) {
            index->sorted[index->count++] = &all->at[i];
            index->begins[(unsigned char)*looked_for(&all->at[i], is_normal)] = true;
        }
    qsort(index->sorted, index->count, sizeof *index->sorted,
          is_normal ? compare_normal : compare_raw);
    for (size_t i = 1; i < index->count; i++)
        if (!strcmp(looked_for(index->sorted[i - 1], is_normal),
                    looked_for(index->sorted[i], is_normal)))
            return fail_input(
                why, "added tokens '%.60s' and '%.60s' become the same text in the normalizer",
                index->sorted[i - 1]->content, index->sorted[i]->content);
    return 0;
}

static void find_first(struct added_tokens *all)
{
    int count = 0;
    for (int c = 0; c < 256; c++)
        if (all->raw.begins[c] || all->normal.begins[c]) {
            all->first = (unsigned char)c;
            count++;
        }
    all->has_one_first = count == 1;
}

/* Makes pieces for added tokens that are not in the model's vocabulary. A special token decodes to
 * nothing. */
static int make_pieces(struct tokenizer *t, struct fail *why)
{
    const struct added_tokens *all = &t->added;
    t->vocab = t->count;
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].id >= t->vocab) t->vocab = all->at[i].id + 1;
    if (t->vocab - t->count > TOKENIZER_HOLES_MAX + all->count)
        return fail_input(why, "the ids of the added tokens leave more than %d ids unused",
                          TOKENIZER_HOLES_MAX);
    free(t->extra);
    t->extra = calloc(t->vocab - t->count + 1, sizeof *t->extra);
    if (!t->extra) return fail(why, "out of memory");
    for (uint32_t i = t->count; i < t->vocab; i++)
        t->extra[i - t->count] = (struct piece){ .text = "", .type = PIECE_UNUSED };
    for (size_t i = 0; i < all->count; i++) {
        const struct added_token *a = &all->at[i];
        bool is_own = a->id >= t->count || t->pieces[a->id].type == PIECE_UNUSED;
        struct piece *p = a->id < t->count ? &t->pieces[a->id] : &t->extra[a->id - t->count];
        if (is_own)
            *p = (struct piece){ .text = a->normal,
                                 .length = (uint32_t)strlen(a->normal),
                                 .type = PIECE_USER };
        if (a->special && p->type != PIECE_UNKNOWN) p->type = PIECE_CONTROL;
    }
    return 0;
}

int added_finish(struct tokenizer *t, struct fail *why)
{
    struct added_tokens *all = &t->added;
    all->has_plain = false;
    for (size_t i = 0; i < all->count; i++) {
        struct added_token *a = &all->at[i];
        free(a->normal);
        a->normal = a->normalized && t->normalizers.count ? pipeline_normalize(t, a->content, why)
                                                          : strdup(a->content);
        if (!a->normal)
            return a->normalized && t->normalizers.count ? -1 : fail(why, "out of memory");
        if (!*a->normal && *a->content && (a->lstrip || a->rstrip))
            return fail_input(why,
                              "added token '%.60s': the normalizer leaves nothing of its text, so "
                              "with lstrip or rstrip it is found where white space is: set its "
                              "'normalized' to false",
                              a->content);
        all->has_plain |= !a->special;
    }
    if (make_index(all, false, why) || make_index(all, true, why)) return -1;
    find_first(all);
    return make_pieces(t, why);
}

void added_release(struct added_tokens *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->at[i].content);
        free(all->at[i].normal);
    }
    free(all->at);
    free(all->raw.sorted);
    free(all->normal.sorted);
    *all = (struct added_tokens){ 0 };
}

const struct added_token *added_at(const struct added_index *index, const char *text, size_t bytes,
                                   bool is_normal)
{
    const struct added_token *found = NULL;
    size_t low = 0, high = index->count;
    if (!index->begins[(unsigned char)*text]) return NULL;
    /* The tokens sorted[low..high) begin with the same n bytes as the text. */
    for (size_t n = 0; low < high; n++) {
        if (!looked_for(index->sorted[low], is_normal)[n]) found = index->sorted[low++];
        if (n == bytes) break;
        unsigned char byte = (unsigned char)text[n];
        size_t from = low, to = high, middle;
        while (from < to) {
            middle = from + (to - from) / 2;
            if ((unsigned char)looked_for(index->sorted[middle], is_normal)[n] < byte)
                from = middle + 1;
            else
                to = middle;
        }
        low = from;
        to = high;
        while (from < to) {
            middle = from + (to - from) / 2;
            if ((unsigned char)looked_for(index->sorted[middle], is_normal)[n] <= byte)
                from = middle + 1;
            else
                to = middle;
        }
        high = from;
    }
    return found;
}

unsigned tokenizer_special_spaces(const struct tokenizer *t, uint32_t id)
{
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.at[i].id == id)
            return (t->added.at[i].lstrip ? TOKEN_TAKES_LEFT : 0) |
                   (t->added.at[i].rstrip ? TOKEN_TAKES_RIGHT : 0);
    return 0;
}
