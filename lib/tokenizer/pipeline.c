/* pipeline.c - takes a text through added tokens, normalizers and pre-tokenizers. Each step works
 * on the spans that the previous one made, as in Hugging Face's tokenizers (added_vocabulary.rs,
 * normalizer.rs, pre_tokenizer.rs). */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/utf8.h"
#include "lib/tokenizer/unicode_tables.h"

enum { TIMES = 64, MORE = 64 << 10, SLACK = 16 };

void pipeline_release(struct pipeline *p)
{
    free(p->text);
    free(p->spans);
    free(p->next);
    free(p->ranges);
    free(p->starts);
    split_work_release(p->split);
    *p = (struct pipeline){ 0 };
}

/* ---- spans and texts ---- */

static int add_next(struct pipeline *p, struct text_span span, struct fail *why)
{
    if (!span.bytes && span.token == UINT32_MAX) return 0;
    if (tokenizer_reserve(&p->next, &p->next_capacity, p->next_count, 1, why)) return -1;
    p->next[p->next_count++] = span;
    return 0;
}

static void start_next(struct pipeline *p)
{
    struct text_span *spans = p->spans;
    size_t capacity = p->span_capacity;
    p->spans = p->next;
    p->span_capacity = p->next_capacity;
    p->count = p->next_count;
    p->next = spans;
    p->next_capacity = capacity;
    p->next_count = 0;
}

static int add_text(struct pipeline *p, const char *text, size_t bytes, struct fail *why)
{
    if (p->used + bytes > p->used_max)
        return fail_input(why, "the normalizers make the text more than %d times longer", TIMES);
    if (tokenizer_reserve(&p->text, &p->capacity, p->used, bytes + SLACK, why)) return -1;
    memcpy(p->text + p->used, text, bytes);
    p->used += bytes;
    return 0;
}

/* Appends a copy of a part of the pipeline's text to that text, which may move when it grows. */
static int copy_text(struct pipeline *p, size_t at, size_t bytes, struct fail *why)
{
    if (p->used + bytes > p->used_max) return add_text(p, "", bytes, why);
    if (tokenizer_reserve(&p->text, &p->capacity, p->used, bytes + SLACK, why)) return -1;
    memcpy(p->text + p->used, p->text + at, bytes);
    p->used += bytes;
    return 0;
}

static int add_range(struct pipeline *p, size_t start, size_t end, bool is_match, struct fail *why)
{
    if (tokenizer_reserve(&p->ranges, &p->range_capacity, p->range_count, 1, why)) return -1;
    p->ranges[p->range_count++] = (struct text_range){ start, end, is_match };
    return 0;
}

/* ---- finding matches: a step divides a span into ranges, which are matches and the text between
 * them ---- */

static int find_literal(struct pipeline *p, const struct text_span *s, const char *literal,
                        struct fail *why)
{
    size_t from = 0, length = strlen(literal);
    const char *text = p->text + s->at, *found;
    while ((found = memmem(text + from, s->bytes - from, literal, length))) {
        size_t start = (size_t)(found - text);
        if (start > from && add_range(p, from, start, false, why)) return -1;
        if (add_range(p, start, start + length, true, why)) return -1;
        from = start + length;
    }
    return from < s->bytes ? add_range(p, from, s->bytes, false, why) : 0;
}

/* Finds the matches of a pattern whose matches leave nothing between them. */
static int find_all(struct pipeline *p, const struct text_span *s, const struct splitter *splitter,
                    struct fail *why)
{
    size_t words = s->bytes / 64 + 1, from = 0;
    if (tokenizer_reserve(&p->starts, &p->start_capacity, 0, words, why) ||
        splitter_cut(splitter, &p->split, p->starts, p->text + s->at, s->bytes, why))
        return -1;
    for (size_t word = 0; word < words; word++)
        for (uint64_t bits = p->starts[word]; bits; bits &= bits - 1) {
            size_t at = 64 * word + (size_t)__builtin_ctzll(bits);
            if (at > from && add_range(p, from, at, true, why)) return -1;
            from = at;
        }
    return 0;
}

/* Finds the matches of a pattern. An empty match at the end of the previous match does not
 * count. */
static int find_pattern(struct pipeline *p, const struct text_span *s,
                        const struct splitter *splitter, struct fail *why)
{
    size_t from = 0, last_end = SIZE_MAX, covered = 0, start, end;
    int got = 1;
    if (splitter_covers(splitter)) return find_all(p, s, splitter, why);
    if (splitter_begin(splitter, p->split, p->text + s->at, s->bytes, why)) return -1;
    while (from <= s->bytes &&
           (got = splitter_next(splitter, p->split, from, &start, &end, why)) > 0) {
        if (start == end && end == last_end) {
            if (from >= s->bytes) break;
            from += utf8_length((unsigned char)p->text[s->at + from]);
            continue;
        }
        if (start > covered && add_range(p, covered, start, false, why)) return -1;
        if (add_range(p, start, end, true, why)) return -1;
        covered = from = last_end = end;
    }
    if (got < 0) return -1;
    return covered < s->bytes ? add_range(p, covered, s->bytes, false, why) : 0;
}

static bool is_in_class(enum step_kind kind, uint32_t c)
{
    return kind == STEP_DIGITS        ? unicode_is_numeric(c)
           : kind == STEP_PUNCTUATION ? unicode_is_punctuation(c)
                                      : unicode_is_space(c);
}

static int find_characters(struct pipeline *p, const struct text_span *s, enum step_kind kind,
                           struct fail *why)
{
    size_t covered = 0;
    for (size_t at = 0, n; at < s->bytes; at += n) {
        uint32_t c = utf8_decode(p->text + s->at + at, &n);
        if (!is_in_class(kind, c)) continue;
        if (at > covered && add_range(p, covered, at, false, why)) return -1;
        if (add_range(p, at, at + n, true, why)) return -1;
        covered = at + n;
    }
    return covered < s->bytes ? add_range(p, covered, s->bytes, false, why) : 0;
}

/* The pre-tokenizer Whitespace: finds words, and runs of characters that are neither word nor
 * space. Spaces are removed. */
static int find_words(struct pipeline *p, const struct text_span *s, struct fail *why)
{
    size_t start = 0, n;
    int last = 0; /* 1: a word character; 2: neither word nor space; 0: space */
    for (size_t at = 0; at < s->bytes; at += n) {
        uint32_t c = utf8_decode(p->text + s->at + at, &n);
        int now = unicode_is_word(c) ? 1 : unicode_is_space(c) ? 0 : 2;
        if (now == last) continue;
        if (at > start && add_range(p, start, at, last == 0, why)) return -1;
        start = at;
        last = now;
    }
    return add_range(p, start, s->bytes, last == 0, why);
}

/* ---- what a step does with the ranges ---- */

/* Joins each match to the range before it, unless that is a match too. If goes_back, joins it to
 * the range after it. */
static void merge_ranges(struct pipeline *p, bool goes_back)
{
    size_t count = 0;
    bool was_match = false;
    for (size_t i = 0; i < p->range_count; i++) {
        struct text_range r = p->ranges[goes_back ? p->range_count - 1 - i : i];
        /* Finished ranges are collected at the front of the array, or at its end if goes_back. */
        size_t last = goes_back ? p->range_count - count : count - 1;
        if (r.is_match && !was_match && count) {
            if (goes_back)
                p->ranges[last].start = r.start;
            else
                p->ranges[last].end = r.end;
        } else {
            p->ranges[goes_back ? last - 1 : count] = r;
            count++;
        }
        was_match = r.is_match;
    }
    if (goes_back)
        memmove(p->ranges, p->ranges + p->range_count - count, count * sizeof *p->ranges);
    p->range_count = count;
}

static void join_ranges(struct pipeline *p)
{
    size_t count = 0;
    bool was_match = false;
    for (size_t i = 0; i < p->range_count; i++) {
        struct text_range r = p->ranges[i];
        if (r.is_match == was_match && count)
            p->ranges[count - 1].end = r.end;
        else
            p->ranges[count++] = r;
        was_match = r.is_match;
    }
    p->range_count = count;
}

static int put_ranges(struct pipeline *p, const struct text_span *s, enum split_behavior behavior,
                      struct fail *why)
{
    if (behavior == SPLIT_MERGED_WITH_PREVIOUS || behavior == SPLIT_MERGED_WITH_NEXT)
        merge_ranges(p, behavior == SPLIT_MERGED_WITH_NEXT);
    if (behavior == SPLIT_CONTIGUOUS) join_ranges(p);
    for (size_t i = 0; i < p->range_count; i++) {
        const struct text_range *r = &p->ranges[i];
        if (behavior == SPLIT_REMOVED && r->is_match) continue;
        struct text_span span = { s->at + r->start, r->end - r->start, UINT32_MAX,
                                  s->is_first && !r->start };
        if (add_next(p, span, why)) return -1;
    }
    return 0;
}

/* ---- steps that change the text ---- */

static int prepend(struct pipeline *p, struct text_span *s, const char *text, struct fail *why)
{
    size_t start = p->used;
    if (add_text(p, text, strlen(text), why) || copy_text(p, s->at, s->bytes, why)) return -1;
    s->at = start;
    s->bytes = p->used - start;
    return 0;
}

/* Replaces each match by a text. */
static int replace(struct pipeline *p, struct text_span *s, const char *text, struct fail *why)
{
    size_t start = p->used;
    for (size_t i = 0; i < p->range_count; i++) {
        const struct text_range *r = &p->ranges[i];
        if (r->is_match ? add_text(p, text, strlen(text), why)
                        : copy_text(p, s->at + r->start, r->end - r->start, why))
            return -1;
    }
    s->at = start;
    s->bytes = p->used - start;
    return 0;
}

/* Converts the span to normalization form C. */
static int compose(struct pipeline *p, struct text_span *s, struct fail *why)
{
    char *text;
    size_t bytes, start = p->used;
    if (unicode_is_composed(p->text + s->at, s->bytes)) return 0;
    if (unicode_compose(p->text + s->at, s->bytes, &text, &bytes))
        return fail(why, "out of memory");
    int status = add_text(p, text, bytes, why);
    free(text);
    s->at = start;
    s->bytes = bytes;
    return status;
}

static int normalize(struct pipeline *p, const struct tokenizer_step *step, struct text_span *s,
                     struct fail *why)
{
    if (!s->bytes) return 0;
    if (step->kind == STEP_COMPOSE) return compose(p, s, why);
    if (step->kind == STEP_PREPEND) return prepend(p, s, step->text, why);
    p->range_count = 0;
    if (step->literal ? find_literal(p, s, step->literal, why)
                      : find_pattern(p, s, step->splitter, why))
        return -1;
    return replace(p, s, step->text, why);
}

static bool starts_with(const struct pipeline *p, const struct text_span *s, const char *text)
{
    size_t length = strlen(text);
    return s->bytes >= length && !memcmp(p->text + s->at, text, length);
}

static int cut_metaspace(struct pipeline *p, const struct tokenizer_step *step, struct text_span s,
                         struct fail *why)
{
    p->range_count = 0;
    if (find_literal(p, &s, " ", why) || replace(p, &s, step->text, why)) return -1;
    bool prepends = step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && s.is_first);
    if (prepends && !starts_with(p, &s, step->text) && prepend(p, &s, step->text, why)) return -1;
    if (!step->splits) return add_next(p, s, why);
    p->range_count = 0;
    if (find_literal(p, &s, step->text, why)) return -1;
    return put_ranges(p, &s, SPLIT_MERGED_WITH_NEXT, why);
}

static int cut(struct pipeline *p, const struct tokenizer_step *step, struct text_span s,
               struct fail *why)
{
    int status;
    if (step->kind == STEP_METASPACE) return cut_metaspace(p, step, s, why);
    if (step->kind == STEP_BYTES) {
        if (step->adds_space && !starts_with(p, &s, " ") && prepend(p, &s, " ", why)) return -1;
        if (!step->splitter) return add_next(p, s, why);
    }
    p->range_count = 0;
    if (step->literal)
        status = find_literal(p, &s, step->literal, why);
    else if (step->splitter)
        status = find_pattern(p, &s, step->splitter, why);
    else
        status = step->kind == STEP_WORDS ? find_words(p, &s, why)
                                          : find_characters(p, &s, step->kind, why);
    if (status) return -1;
    for (size_t i = 0; i < p->range_count && step->inverts; i++)
        p->ranges[i].is_match = !p->ranges[i].is_match;
    return put_ranges(p, &s, step->kind == STEP_BYTES ? SPLIT_ISOLATED : step->behavior, why);
}

/* ---- added tokens ---- */

static size_t spaces_before(const char *text, size_t end)
{
    while (end) {
        size_t at = end - 1, n;
        while (at && ((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        if (!unicode_is_space(utf8_decode(text + at, &n))) break;
        end = at;
    }
    return end;
}

static size_t spaces_behind(const char *text, size_t at, size_t bytes)
{
    size_t n;
    while (at < bytes && unicode_is_space(utf8_decode(text + at, &n)))
        at += n;
    return at;
}

static bool is_single_word(const char *text, size_t start, size_t stop, size_t bytes)
{
    size_t at = start, n;
    if (stop < bytes && unicode_is_word(utf8_decode(text + stop, &n))) return false;
    if (!start) return true;
    do
        at--;
    while (at && ((unsigned char)text[at] & 0xc0) == 0x80);
    return !unicode_is_word(utf8_decode(text + at, &n));
}

static int add_between(struct pipeline *p, const struct text_span *s, size_t from, size_t to,
                       struct fail *why)
{
    struct text_span span = { s->at + from, to - from, UINT32_MAX, s->is_first && !from };
    return to > from ? add_next(p, span, why) : 0;
}

/* Cuts a span at added tokens. Even a match that is rejected hides matches that begin inside it. */
static int cut_tokens(struct pipeline *p, const struct added_index *index, struct text_span s,
                      bool is_normal, bool parses_special, struct fail *why)
{
    size_t covered = 0;
    for (size_t at = 0; at < s.bytes;) {
        const char *text = p->text + s.at;
        const struct added_token *found = added_at(index, text + at, s.bytes - at, is_normal);
        if (!found) {
            at++;
            continue;
        }
        size_t start = at, stop = at + strlen(is_normal ? found->normal : found->content);
        at = stop;
        if (found->special && !parses_special) continue;
        if (found->single_word && !is_single_word(text, start, stop, s.bytes)) continue;
        if (found->lstrip) {
            start = spaces_before(text, start);
            if (start < covered) start = covered;
        }
        if (found->rstrip) stop = spaces_behind(text, stop, s.bytes);
        if (add_between(p, &s, covered, start, why)) return -1;
        /* The rstrip of an earlier token may have taken all of this token's text. Then a token with
         * lstrip has no text left and is omitted. */
        if (start < stop && add_next(p, (struct text_span){ .token = found->id }, why)) return -1;
        covered = stop;
    }
    return add_between(p, &s, covered, s.bytes, why);
}

bool pipeline_finds(const struct tokenizer *t, const char *text, size_t bytes, bool parses_special)
{
    if (!t->added.has_plain && !(parses_special && t->added.count)) return false;
    if (t->added.normal.count && t->normalizers.count && !t->composes) return true;
    for (size_t at = 0; at < bytes; at++) {
        if (t->added.has_one_first) {
            const char *found = memchr(text + at, t->added.first, bytes - at);
            if (!found) return false;
            at = (size_t)(found - text);
        }
        if ((t->added.raw.begins[(unsigned char)text[at]] &&
             added_at(&t->added.raw, text + at, bytes - at, false)) ||
            (t->added.normal.begins[(unsigned char)text[at]] &&
             added_at(&t->added.normal, text + at, bytes - at, true)))
            return true;
    }
    return false;
}

/* ---- the whole pipeline ---- */

static int for_texts(struct pipeline *p,
                     int (*do_one)(struct pipeline *, const void *, struct text_span,
                                   struct fail *),
                     const void *arg, struct fail *why)
{
    p->next_count = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct text_span s = p->spans[i];
        if (s.token != UINT32_MAX ? add_next(p, s, why) : do_one(p, arg, s, why)) return -1;
    }
    start_next(p);
    return 0;
}

struct token_search {
    const struct tokenizer *t;
    bool parses_special;
};

static int cut_raw(struct pipeline *p, const void *arg, struct text_span s, struct fail *why)
{
    const struct token_search *search = arg;
    return cut_tokens(p, &search->t->added.raw, s, false, search->parses_special, why);
}

static int cut_normal(struct pipeline *p, const void *arg, struct text_span s, struct fail *why)
{
    const struct token_search *search = arg;
    const struct tokenizer_steps *steps = &search->t->normalizers;
    for (int i = 0; i < steps->count; i++)
        if (normalize(p, &steps->at[i], &s, why)) return -1;
    return cut_tokens(p, &search->t->added.normal, s, true, search->parses_special, why);
}

static int cut_once(struct pipeline *p, const void *arg, struct text_span s, struct fail *why)
{
    return cut(p, arg, s, why);
}

static int begin(struct pipeline *p, const char *text, size_t bytes, bool is_first,
                 struct fail *why)
{
    p->used = p->next_count = 0;
    p->used_max = TIMES * bytes + MORE;
    struct text_span whole = { 0, bytes, UINT32_MAX, is_first };
    if (split_work_begin(&p->split, why)) return -1;
    if (add_text(p, text, bytes, why) || add_next(p, whole, why)) return -1;
    start_next(p);
    return 0;
}

int pipeline_run(const struct tokenizer *t, struct pipeline *p, const char *text, size_t bytes,
                 bool is_first, bool parses_special, struct fail *why)
{
    const struct token_search search = { t, parses_special };
    if (begin(p, text, bytes, is_first, why) || for_texts(p, cut_raw, &search, why) ||
        for_texts(p, cut_normal, &search, why))
        return -1;
    for (int i = 0; i < t->pre_tokenizers.count; i++)
        if (for_texts(p, cut_once, &t->pre_tokenizers.at[i], why)) return -1;
    return 0;
}

char *pipeline_normalize(const struct tokenizer *t, const char *text, struct fail *why)
{
    struct pipeline p = { 0 };
    char *out = NULL;
    int status = begin(&p, text, strlen(text), true, why);
    struct text_span s = { 0, strlen(text), UINT32_MAX, true };
    for (int i = 0; i < t->normalizers.count && !status; i++)
        status = normalize(&p, &t->normalizers.at[i], &s, why);
    if (!status) {
        out = strndup(p.text + s.at, s.bytes);
        if (!out) (void)fail(why, "out of memory");
    }
    pipeline_release(&p);
    return out;
}
