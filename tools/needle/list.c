#include "tools/needle/list.h"

#include "lib/common/rng.h"

#include <string.h>

/* Word k of a list has the number (first + k·step) mod size, where size is the number of all words.
 * No word is repeated, because step and size have no common divisor. */
struct sequence {
    uint64_t first, step, size;
};

enum { CODE_LETTERS = 6, CODE_WORDS = 26 * 26 * 26 * 26 * 26 * 26 };

static struct sequence sequence_of(const struct problem *p)
{
    struct draw d = draw_begin(p->seed, task_names[p->task], p->number);
    struct sequence s = { .size = p->task == TASK_COMMON ? DRAW_NAMES : CODE_WORDS };
    s.first = draw_below(&d, s.size);
    do
        s.step = 2 * draw_below(&d, s.size / 2) + 1;
    while (s.step % 13 == 0);
    return s;
}

static void word_at(const struct problem *p, const struct sequence *s, uint64_t k,
                    char text[DRAW_TEXT])
{
    uint64_t n = (s->first + k * s->step) % s->size;
    if (p->task == TASK_COMMON) {
        draw_name(n, text);
        return;
    }
    for (int i = 0; i < CODE_LETTERS; i++, n /= 26)
        text[i] = (char)('a' + n % 26);
    text[CODE_LETTERS] = 0;
}

void list_answer(const struct problem *p, uint64_t i, char text[DRAW_TEXT])
{
    struct sequence s = sequence_of(p);
    word_at(p, &s, i, text);
}

/* How often each word occurs in a list. Words 0 to needles-1, which are asked for, occur `often`
 * times, the others `seldom` times. The very last word may occur fewer times. */
struct shares {
    uint64_t often, seldom;
};

/* RULER's numbers are 30 and 3. In a short list both are smaller. In a long list `seldom` is
 * larger, because there are only DRAW_NAMES names. */
static bool share(const struct problem *p, uint64_t n, struct shares *s)
{
    uint64_t asked = (uint64_t)p->needles, names = DRAW_NAMES - asked;
    s->seldom = n < 100 * asked ? 1 : 3;
    while ((n + names - 1) / names > s->seldom)
        s->seldom++;
    s->often = 10 * s->seldom;
    if (s->often > n / (2 * asked)) s->often = n / (2 * asked);
    return s->often > s->seldom;
}

/* Writes the n words of the list, as numbers in ascending order. Returns 1 if n is too small. */
static int count_common(const struct problem *p, size_t n, uint32_t *words)
{
    struct shares s;
    size_t at = 0;
    if (!share(p, n, &s)) return 1;
    for (uint32_t k = 0; at < n; k++)
        for (uint64_t i = 0; i < (k < p->needles ? s.often : s.seldom) && at < n; i++)
            words[at++] = k;
    return 0;
}

#define ZETA_SHARE 0.6079271018540267 /* 6/π² */

/* A zeta distribution with exponent 2, RULER's default: of n words, word k occurs n·6/π²/k² times.
 * The rest of the list is words that occur once. */
static int count_frequent(const struct problem *p, size_t n, uint32_t *words)
{
    size_t at = 0, before = n + 1;
    for (uint32_t k = 1; at < n; k++) {
        size_t times = (size_t)((double)n * ZETA_SHARE / ((double)k * (double)k));
        if (!times) times = 1;
        if (k <= p->needles + 1 && times >= before) return 1;
        before = times;
        for (size_t i = 0; i < times && at < n; i++)
            words[at++] = k - 1;
        if (at == n && k <= p->needles) return 1;
    }
    return 0;
}

size_t list_enough(const struct problem *p)
{
    /* If n·6/π²/k² and n·6/π²/(k + 1)² differ by 1 or more, so do these numbers when they are
     * rounded down. The difference is smallest for k = needles. The smaller number must be at least
     * 1, because no word occurs less often. */
    double k = (double)p->needles, next = (k + 1) * (k + 1);
    double differ = k * k * next / (2 * k + 1), one = next;
    return (size_t)((differ > one ? differ : one) / ZETA_SHARE) + 1;
}

static int add_words(const struct problem *p, size_t n, const uint32_t *words,
                     const uint64_t *order, struct text *to, struct fail *why)
{
    struct sequence s = sequence_of(p);
    for (size_t i = 0; i < n; i++) {
        char word[DRAW_TEXT], shown[DRAW_TEXT + 24];
        word_at(p, &s, words[order[i]], word);
        if (p->task == TASK_COMMON)
            snprintf(shown, sizeof shown, "%zu. %s ", i + 1, word);
        else
            snprintf(shown, sizeof shown, "%s ", word);
        if (text_add_word(to, shown, why)) return -1;
    }
    return 0;
}

int list_add(const struct problem *p, size_t n, const char *pad, size_t pad_bytes, struct text *to,
             struct fail *why)
{
    uint32_t *words = calloc(n + 1, sizeof *words);
    uint64_t *order = calloc(n + 1, sizeof *order);
    int status = words && order ? 0 : fail(why, "out of memory");
    if (!status)
        status = p->task == TASK_COMMON ? count_common(p, n, words) : count_frequent(p, n, words);
    struct draw d = draw_begin(p->seed, "order of words", p->number);
    if (!status && rng_permutation(d.key ^ rng_bits(d.key, 0, d.prompt), order, n))
        status = fail(why, "out of memory");
    if (!status) status = add_words(p, n, words, order, to, why);
    if (!status) status = text_add(to, pad, pad_bytes, why);
    free(words);
    free(order);
    return status;
}
