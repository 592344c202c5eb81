#include "tools/needle/fit.h"

#include "lib/common/utf8.h"
#include "tools/needle/list.h"

#include <string.h>

/* The state of one search. The number of whole pieces is found first, by interpolation, because the
 * number of tokens grows almost linearly with the number of pieces. Then a pad after the last piece
 * makes up the difference. The pad is the beginning of the next pieces, or dots. It is cut after a
 * word if that gives the wanted number of tokens, and otherwise anywhere. If no such pad gives the
 * wanted number, a punctuation mark or a letter follows the pad. */
struct search {
    struct finish *f;
    const struct problem *p;
    int64_t wanted;
    int64_t nearest;           /* the number of tokens so far that is nearest to `wanted` */
    struct token_buffer alone; /* the ids of a pad that is encoded alone */
    struct text source;        /* the text of which pads are the beginnings */
    struct text tailed;        /* a pad with its tail */
    bool has_tails;            /* a tail follows each pad */
    bool is_impossible;        /* a list of about the wanted length is impossible */
};

enum {
    TOO_FEW = -1,         /* in place of a number of tokens: no list can be so small */
    BACK_MAX = 6,         /* up to this many pieces are left out of those that fit */
    PAD_TOKENS_MORE = 12, /* about how many more tokens than needed the source has */
    SLACK = 3, /* a pad may add this many tokens more, or fewer, than it has when it is encoded
                * alone */
};

static int64_t distance(int64_t a, int64_t b) { return a < b ? b - a : a - b; }

/* Sets *tokens to the number of tokens of the finished prompt, or to TOO_FEW. */
static int measure(struct search *s, size_t n, const char *pad, size_t pad_bytes, int64_t *tokens,
                   struct fail *why)
{
    int status = finish_make(s->f, s->p, n, pad, pad_bytes, why);
    *tokens = status > 0 ? TOO_FEW : (int64_t)s->f->ids.count;
    if (status) return status < 0 ? -1 : 0;
    if (!s->nearest || distance(*tokens, s->wanted) < distance(s->nearest, s->wanted))
        s->nearest = *tokens;
    return 0;
}

/* A number of pieces, and the number of tokens of the prompt with them. */
struct point {
    size_t n;
    int64_t tokens;
};

/* Returns the number of pieces at which a straight line through both points has the wanted number
 * of tokens. The result is neither low's number nor high's. */
static size_t between(const struct search *s, struct point low, struct point high)
{
    size_t gap = high.n - low.n;
    double part = (double)(s->wanted - low.tokens) / (double)(high.tokens - low.tokens);
    size_t step = (size_t)(part * (double)gap);
    if (step < 1) step = 1;
    return low.n + (step < gap ? step : gap - 1);
}

/* Finds the shortest prompt: one without filler, or with the shortest possible list. */
static int find_least(struct search *s, struct point *least, struct fail *why)
{
    struct point next = { 0 };
    size_t too_few = 0;
    *least = next;
    if (measure(s, 0, "", 0, &least->tokens, why)) return -1;
    while (least->tokens == TOO_FEW) {
        too_few = least->n;
        least->n = too_few ? 2 * too_few : 8;
        if (measure(s, least->n, "", 0, &least->tokens, why)) return -1;
    }
    while (least->n - too_few > 1) {
        next.n = too_few + (least->n - too_few) / 2;
        if (measure(s, next.n, "", 0, &next.tokens, why)) return -1;
        if (next.tokens == TOO_FEW)
            too_few = next.n;
        else
            *least = next;
    }
    return 0;
}

/* Fails, and says from how many tokens on a list of words exists for every length. Other prompts
 * have words of other lengths, so the number is 5 % larger than that of this prompt. */
static int fail_frequent(struct search *s, struct fail *why)
{
    int64_t tokens;
    if (measure(s, list_enough(s->p), "", 0, &tokens, why)) return -1;
    return fail_input(why,
                      "%lld tokens: no list of words was found in which each word that is asked "
                      "for (--needles %lld) has a frequency of its own; about %lld tokens are "
                      "enough: take longer --lengths or fewer --needles",
                      (long long)s->wanted, (long long)s->p->needles,
                      (long long)(tokens + tokens / 20));
}

/* Finds the largest number of whole pieces with which the prompt is not too long. */
static int find_pieces(struct search *s, struct point *low, struct fail *why)
{
    struct point high = { 0 }, next = { 0 };
    if (find_least(s, low, why)) return -1;
    if (low->tokens > s->wanted && s->p->task == TASK_FREQUENT) return fail_frequent(s, why);
    if (low->tokens > s->wanted)
        return fail_input(why, "%lld tokens: the shortest prompt of %s has %lld%s",
                          (long long)s->wanted, task_names[s->p->task], (long long)low->tokens,
                          s->p->needles > 1 ? ": take longer --lengths or fewer --needles" : "");
    for (size_t step = 8; !high.n; step *= 2) {
        next.n = low->n + step;
        if (next.n > (size_t)s->wanted * 8 + 4096)
            return s->p->task == TASK_FREQUENT
                       ? fail_frequent(s, why)
                       : fail_input(why, "the filler gives hardly any token of this tokenizer");
        if (measure(s, next.n, "", 0, &next.tokens, why)) return -1;
        if (next.tokens > s->wanted) {
            high = next;
            break;
        }
        /* Computes from the tokens per piece so far how many pieces are missing. */
        double each = (double)(next.tokens - low->tokens) / (double)step;
        *low = next;
        double missing = (double)(s->wanted - low->tokens) / (each > 0 ? each : 1);
        step = missing > 16 ? (size_t)(missing / 2) : 4;
    }
    for (int tries = 0; high.n - low->n > 1; tries++) {
        next.n = tries % 4 == 3 ? low->n + (high.n - low->n) / 2 : between(s, *low, high);
        if (measure(s, next.n, "", 0, &next.tokens, why)) return -1;
        if (next.tokens > s->wanted)
            high = next;
        else
            *low = next;
    }
    return 0;
}

static int count_alone(struct search *s, size_t bytes, int64_t *tokens, struct fail *why)
{
    s->alone.count = 0;
    if (tokenizer_encode(s->f->tokenizer, &s->alone, s->source.at, bytes, why)) return -1;
    *tokens = (int64_t)s->alone.count;
    return 0;
}

/* Fills the source with enough text: the pieces from number n on, or dots. */
static int fill_source(struct search *s, size_t n, bool is_dots, int64_t missing, struct fail *why)
{
    int64_t tokens = 0;
    s->source.bytes = 0;
    for (size_t i = n; tokens < missing + PAD_TOKENS_MORE && s->source.bytes < 1 << 16; i++) {
        size_t bytes = 2;
        const char *piece =
            is_dots ? ". " : filler_piece(s->p->filler, s->p->first_piece + i, &bytes);
        if (text_add(&s->source, piece, bytes, why)) return -1;
        if (count_alone(s, s->source.bytes, &tokens, why)) return -1;
    }
    return 0;
}

static bool is_word_end(const struct text *t, size_t at)
{
    return at == t->bytes || t->at[at] == ' ' || t->at[at] == '\n';
}

/* Tries the beginning of the source of `at` bytes, with each tail. Returns 1 if one gives the
 * wanted number of tokens. */
static int try_tails(struct search *s, size_t n, size_t at, struct fail *why)
{
    static const char *const tails[] = { ".", "!", ".,", ".!,", "a", " a", " a." };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        int64_t tokens;
        s->tailed.bytes = 0;
        if (text_add(&s->tailed, s->source.at, at, why) ||
            text_add(&s->tailed, tails[i], strlen(tails[i]), why) ||
            measure(s, n, s->tailed.at, s->tailed.bytes, &tokens, why))
            return -1;
        if (tokens == s->wanted) return 1;
    }
    return 0;
}

/* Tries each beginning of the source that ends with a word, or each that does not. Returns 1 if one
 * gives the wanted number of tokens. */
static int try_pads(struct search *s, size_t n, bool is_words, int64_t missing, struct fail *why)
{
    for (size_t at = 1; at <= s->source.bytes; at++) {
        int64_t alone, tokens;
        bool is_inside = at < s->source.bytes && (s->source.at[at] & 0xc0) == 0x80;
        if (is_inside || is_word_end(&s->source, at) != is_words) continue;
        if (count_alone(s, at, &alone, why)) return -1;
        if (alone > missing + SLACK) break;
        if (alone + SLACK < missing) continue;
        if (measure(s, n, s->source.at, at, &tokens, why)) return -1;
        if (tokens == s->wanted) return 1;
        bool is_near = tokens < s->wanted && s->wanted - tokens <= SLACK;
        int got = s->has_tails && is_near ? try_tails(s, n, at, why) : 0;
        if (got) return got;
    }
    return 0;
}

/* Returns 1 if a pad after n pieces gives the wanted number of tokens. */
static int pad(struct search *s, size_t n, int64_t missing, struct fail *why)
{
    for (int kind = 0; kind < 2; kind++) {
        bool is_dots = (kind == 0) != task_has_filler(s->p->task);
        if (fill_source(s, n, is_dots, missing, why)) return -1;
        for (int is_words = 1; is_words >= 0; is_words--) {
            int got = try_pads(s, n, is_words, missing, why);
            if (got) return got;
        }
    }
    return 0;
}

/* Leaves out up to BACK_MAX of the pieces that fit, and looks for a pad in their place. Returns 1
 * if one gives the wanted number of tokens. */
static int replace_pieces(struct search *s, size_t most, struct fail *why)
{
    for (size_t back = 0; back <= BACK_MAX && back <= most; back++) {
        int64_t tokens;
        if (measure(s, most - back, "", 0, &tokens, why)) return -1;
        if (tokens == s->wanted) return 1;
        s->is_impossible |= tokens == TOO_FEW;
        if (tokens == TOO_FEW) break;
        int got = tokens > s->wanted ? 0 : pad(s, most - back, s->wanted - tokens, why);
        if (got) return got;
    }
    return 0;
}

static int run(struct search *s, struct fail *why)
{
    struct point low;
    if (find_pieces(s, &low, why)) return -1;
    for (int tails = 0; tails < 2; tails++) {
        s->has_tails = tails;
        int got = replace_pieces(s, low.n, why);
        if (got) return got < 0 ? -1 : 0;
    }
    if (s->is_impossible) return fail_frequent(s, why);
    return fail_input(why,
                      "%lld tokens: no text was found that gives exactly these with this "
                      "tokenizer; the nearest has %lld: ask for that, or take another --filler",
                      (long long)s->wanted, (long long)s->nearest);
}

int fit_make(struct finish *f, const struct problem *p, int64_t tokens, struct fail *why)
{
    struct search s = { .f = f, .p = p, .wanted = tokens };
    int status = run(&s, why);
    token_buffer_release(&s.alone);
    free(s.source.at);
    free(s.tailed.at);
    return status;
}
