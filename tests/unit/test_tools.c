/* Tests parts of the programs: packing, random choice of documents, JSON lines, recipes,
 * schedules. */
#include "model/optimiser.h"
#include "tests/lib/check.h"
#include "tests/lib/recipe_text.h"
#include "tools/pack/best_fit.h"
#include "tools/pack/packer.h"
#include "tools/pack/reservoir.h"
#include "tools/tokenize/jsonl.h"
#include "tools/train/recipe.h"

#include <math.h>
#include <unistd.h>

static struct fail why;

/* ---- pack: every token is kept in order, or counted as cut ---- */

struct packed {
    uint32_t ids[20000], targets;
    size_t count, samples;
    uint64_t context;
};

static int take_sample(void *arg, const struct sample *s, struct fail *f)
{
    struct packed *p = arg;
    size_t sum = 0;
    (void)f;
    assert_in_range(s->count, 1, p->context);
    for (size_t i = 0; i < s->document_count; i++)
        sum += s->documents[i];
    assert_int_equal(sum, s->count);
    for (size_t i = 0; s->has_targets && i < s->target_count; i++)
        for (uint32_t t = s->targets[2 * i]; t < s->targets[2 * i + 1]; t++) {
            assert_true(s->ids[t] % 2); /* odd tokens are targets */
            p->targets++;
        }
    memcpy(p->ids + p->count, s->ids, s->count * sizeof *s->ids);
    p->count += s->count;
    p->samples++;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void pack_property(enum strategy strategy, bool has_targets)
{
    static struct packed got;
    uint32_t next = 0, in[20000], targets[2000], expected_targets = 0;
    size_t fed = 0;
    memset(&got, 0, sizeof got);
    got.context = (uint64_t)(2 + check_below(50));
    struct packer p = {
        .strategy = strategy, .context = got.context, .take = take_sample, .arg = &got
    };
    for (int d = 0; d < 60; d++) {
        struct tokens t = { .source = "s", .has_targets = has_targets };
        t.ids = in + fed;
        t.count = (size_t)check_below(120);
        t.targets = targets;
        for (size_t i = 0; i < t.count; i++) {
            t.ids[i] = next++;
            if (t.ids[i] % 2 && has_targets) {
                targets[2 * t.target_count] = (uint32_t)i;
                targets[2 * t.target_count++ + 1] = (uint32_t)i + 1;
            }
        }
        fed += t.count;
        assert_int_equal(packer_add(&p, &t, &why), 0);
    }
    assert_int_equal(packer_end(&p, &why), 0);
    assert_int_equal(p.kept + p.cut, fed);
    assert_int_equal(p.kept, got.count);
    assert_int_equal(p.samples, got.samples);
    if (strategy == STRATEGY_BEST_FIT) {
        assert_int_equal(p.cut, p.without_target ? p.cut : 0);
        qsort(got.ids, got.count, sizeof *got.ids, by_id);
    }
    for (size_t i = 1; i < got.count; i++)
        assert_true(got.ids[i] > got.ids[i - 1]);
    for (size_t i = 0; i < got.count; i++)
        expected_targets += got.ids[i] % 2;
    if (has_targets) assert_int_equal(got.targets, expected_targets);
    if (strategy == STRATEGY_CONCAT && !has_targets) {
        assert_true(p.cut < got.context);
        for (size_t i = 0; i < got.count; i++)
            assert_int_equal(got.ids[i], i);
    }
    packer_release(&p);
}

/* Counts the samples that are taken, and the tokens in them. */
static int count_sample(void *arg, const struct sample *s, struct fail *f)
{
    struct packed *p = arg;
    (void)f;
    p->samples++;
    p->count += s->count;
    return 0;
}

/* A sample is dropped if it has nothing to predict: no target behind the first token of the sample,
 * or, with best-fit, behind the first token of a document. */
static void test_samples_without_a_target(void **state)
{
    (void)state;
    static const struct {
        enum strategy strategy;
        size_t lengths[3]; /* of documents; 0: no more */
        uint32_t start;    /* where the targets begin; UINT32_MAX: all tokens count */
        uint32_t length;   /* of the targets */
        size_t samples, without;
    } cases[] = {
        { STRATEGY_TRUNCATE, { 1, 5, 1 }, UINT32_MAX, 0, 1, 2 },
        { STRATEGY_SPLIT, { 1, 5, 2 }, UINT32_MAX, 0, 2, 1 },
        { STRATEGY_CONCAT, { 1, 1, 1 }, UINT32_MAX, 0, 0, 0 },
        { STRATEGY_CONCAT, { 1, 1, 2 }, UINT32_MAX, 0, 1, 0 },
        { STRATEGY_CONCAT, { 1, 1, 2 }, 0, 1, 1, 0 },
        { STRATEGY_BEST_FIT, { 1, 1, 1 }, UINT32_MAX, 0, 0, 1 },
        { STRATEGY_BEST_FIT, { 1, 1, 2 }, UINT32_MAX, 0, 1, 0 },
        { STRATEGY_BEST_FIT, { 5 }, UINT32_MAX, 0, 1, 1 },
        { STRATEGY_BEST_FIT, { 2, 2 }, 0, 1, 0, 1 },
        { STRATEGY_BEST_FIT, { 5 }, 4, 1, 0, 2 },
        { STRATEGY_TRUNCATE, { 4 }, 0, 1, 0, 1 },
        { STRATEGY_TRUNCATE, { 4 }, 1, 1, 1, 0 },
        { STRATEGY_SPLIT, { 8 }, 4, 1, 0, 2 },
        { STRATEGY_SPLIT, { 8 }, 3, 2, 1, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct packed got = { .context = 4 };
        struct packer p = {
            .strategy = cases[i].strategy, .context = 4, .take = count_sample, .arg = &got
        };
        uint32_t ids[8] = { 0 }, targets[2] = { cases[i].start, cases[i].start + cases[i].length };
        size_t fed = 0;
        for (int d = 0; d < 3 && cases[i].lengths[d]; d++) {
            struct tokens t = { .source = "s", .ids = ids, .count = cases[i].lengths[d] };
            t.has_targets = cases[i].start != UINT32_MAX;
            t.targets = targets;
            t.target_count = t.has_targets;
            fed += t.count;
            assert_int_equal(packer_add(&p, &t, &why), 0);
        }
        assert_int_equal(packer_end(&p, &why), 0);
        if (got.samples != cases[i].samples) print_error("case %zu\n", i);
        assert_int_equal(got.samples, cases[i].samples);
        assert_int_equal(p.samples, cases[i].samples);
        assert_int_equal(p.without_target, cases[i].without);
        assert_int_equal(p.kept, got.count);
        assert_int_equal(p.kept + p.cut, fed);
        packer_release(&p);
    }
}

static void test_packing(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        for (int s = STRATEGY_TRUNCATE; s <= STRATEGY_BEST_FIT; s++) {
            pack_property((enum strategy)s, false);
            pack_property((enum strategy)s, true);
        }
}

/* ---- the draw: the smallest ranks, found by sorting ---- */

struct drawn {
    uint32_t first[2000];
    size_t count;
    uint64_t dropped;
};

static int take_document(void *arg, const struct tokens *t, struct fail *f)
{
    struct drawn *d = arg;
    (void)f;
    d->first[d->count++] = t->ids[0];
    return 0;
}

static void drop_document(void *arg, uint64_t tokens) { ((struct drawn *)arg)->dropped += tokens; }

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_random_choice(void **state)
{
    (void)state;
    enum { N = 400, MOST = 57 };
    uint64_t ranks[N], sorted[N];
    struct draw draw = { .seed = 42, .samples = MOST };
    struct reservoir *r;
    struct drawn got = { .count = 0 };
    assert_int_equal(reservoir_open(&r, &draw, &why), 0);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t ids[3] = { i, 1, 2 };
        struct tokens t = { .ids = ids, .count = 3 };
        snprintf(t.source, sizeof t.source, "source%u", i % 3);
        ranks[i] = sorted[i] = lots_rank(&draw, t.source, i, 3);
        assert_int_equal(reservoir_offer(r, &t, i, drop_document, &got, &why), 0);
    }
    assert_int_equal(reservoir_drain(r, take_document, drop_document, &got, &why), 0);
    reservoir_close(r);
    qsort(sorted, N, sizeof *sorted, by_value);
    assert_int_equal(got.count, MOST);
    assert_int_equal(got.dropped, 3 * (N - MOST));
    for (size_t i = 0; i < got.count; i++) {
        assert_true(ranks[got.first[i]] <= sorted[MOST - 1]);
        if (i) assert_true(got.first[i] > got.first[i - 1]);
    }
}

static void test_quotas(void **state)
{
    (void)state;
    struct quota quotas[2] = { { "source0", 5 }, { "source2", 1000 } };
    struct draw draw = { .seed = 1, .quotas = quotas, .quota_count = 2 };
    struct reservoir *r;
    struct drawn got = { .count = 0 };
    int of[3] = { 0 };
    assert_int_equal(reservoir_open(&r, &draw, &why), 0);
    for (uint32_t i = 0; i < 60; i++) {
        struct tokens t = { .ids = &i, .count = 1 };
        snprintf(t.source, sizeof t.source, "source%u", i % 3);
        assert_int_equal(reservoir_offer(r, &t, i, drop_document, &got, &why), 0);
    }
    assert_int_equal(reservoir_drain(r, take_document, drop_document, &got, &why), 0);
    reservoir_close(r);
    for (size_t i = 0; i < got.count; i++)
        of[got.first[i] % 3]++;
    assert_true(of[0] == 5 && of[1] == 0 && of[2] == 20);
}

/* Sources keep their shares of the documents. A long document has `tickets` tickets in the draw. */
static void test_upsampling(void **state)
{
    (void)state;
    enum { N = 6000, DRAWN = 1200 };
    struct draw draw = { .seed = 3, .samples = DRAWN, .long_tokens = 8, .tickets = 4 };
    struct reservoir *r;
    static struct drawn got;
    got.count = 0;
    int of[3] = { 0 }, long_ones = 0;
    assert_int_equal(reservoir_open(&r, &draw, &why), 0);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t ids[9] = { i }, source = i % 6 < 3 ? 0 : i % 6 < 5 ? 1 : 2;
        /* A tenth of the documents of every source is long. */
        struct tokens t = { .ids = ids, .count = i / 6 % 10 ? 3 : 9 };
        snprintf(t.source, sizeof t.source, "source%u", source);
        assert_int_equal(reservoir_offer(r, &t, i, drop_document, &got, &why), 0);
    }
    assert_int_equal(reservoir_drain(r, take_document, drop_document, &got, &why), 0);
    reservoir_close(r);
    for (size_t i = 0; i < got.count; i++) {
        uint32_t n = got.first[i];
        of[n % 6 < 3 ? 0 : n % 6 < 5 ? 1 : 2]++;
        long_ones += n / 6 % 10 == 0;
    }
    assert_true(of[0] == DRAWN / 2 && of[1] == DRAWN / 3 && of[2] == DRAWN / 6);
    /* 600 long documents have 4 tickets each, 5400 short ones have 1. A fifth of all documents is
     * drawn: a share of 1 − e^(−4h) of the long documents, and of 1 − e^(−h) of the short ones. The
     * total gives h = 0.18, so 308 long ones. */
    assert_true(long_ones > 258 && long_ones < 358);
}

/* Best fit gives the same as a search through every bin for every piece. */
static void test_best_fit(void **state)
{
    (void)state;
    enum { N = 700 };
    for (int round = 0; round < 20; round++) {
        uint32_t capacity = 1 + check_below(round < 10 ? 100 : 5000), lengths[N], bin[N], left[N];
        for (int i = 0; i < N; i++)
            lengths[i] = 1 + check_below(capacity);
        int64_t bins = best_fit(lengths, N, capacity, bin, &why), opened = 0;
        bool is_done[N] = { false };
        for (int k = 0; k < N; k++) {
            int longest = -1;
            for (int i = 0; i < N; i++)
                if (!is_done[i] && (longest < 0 || lengths[i] > lengths[longest])) longest = i;
            is_done[longest] = true;
            uint32_t least = UINT32_MAX;
            for (int64_t b = 0; b < opened; b++)
                if (left[b] >= lengths[longest] && left[b] < least) least = left[b];
            if (least == UINT32_MAX) {
                assert_int_equal(bin[longest], opened);
                left[opened++] = capacity - lengths[longest];
            } else {
                assert_true(bin[longest] < opened && left[bin[longest]] == least);
                left[bin[longest]] -= lengths[longest];
            }
        }
        assert_int_equal(bins, opened);
    }
}

/* The lengths are similar to those of web text: log-normal, a few thousand tokens, a long tail.
 * Less than 1 % of the capacity stays empty. */
static void test_best_fit_fills(void **state)
{
    (void)state;
    enum { N = 200000, ROOM = 8192 };
    uint32_t *lengths = malloc(N * sizeof *lengths), *bin = malloc(N * sizeof *bin);
    uint64_t sum = 0;
    assert_non_null(lengths);
    assert_non_null(bin);
    for (int i = 0; i < N; i++) {
        double normal = 0;
        for (int k = 0; k < 12; k++)
            normal += check_below(1000000) / 1e6;
        double tokens = exp(6.5 + 1.2 * (normal - 6));
        lengths[i] = (uint32_t)fmax(1, fmod(tokens, ROOM));
        sum += lengths[i];
    }
    int64_t bins = best_fit(lengths, N, ROOM, bin, &why);
    assert_true((double)sum / ((double)bins * ROOM) > 0.99);
    free(lengths);
    free(bin);
}

/* ---- JSON lines ---- */

static struct jsonl_text text, source;

static int parse_line(const char *line, bool replaces, size_t *byte)
{
    return jsonl_parse(line, strlen(line), "text", "meta.set", replaces, &text, &source, byte,
                       &why);
}

static void text_is(const char *line, const char *expected)
{
    size_t byte;
    if (parse_line(line, false, &byte)) print_error("%s: %s\n", line, why.text);
    assert_int_equal(parse_line(line, false, &byte), 0);
    assert_int_equal(text.bytes, strlen(expected));
    assert_memory_equal(text.at, expected, text.bytes);
}

static void forget_texts(void)
{
    free(text.at);
    free(source.at);
    text = source = (struct jsonl_text){ 0 };
}

/* A string is read in steps of 4096 bytes, and its plain characters in vectors. Any other character
 * may stand at any place of a step and of a vector. */
static void test_long_strings(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text; /* text: NULL if the line is refused */
    } odd[] = {
        { "\\n", "\n" },
        { "\\\\\\\"", "\\\"" },
        { "\\u00e9\\ud83d\\ude00", "\xc3\xa9\xf0\x9f\x98\x80" },
        { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
        { "\xc3\xa9\xc3\xa9", "\xc3\xa9\xc3\xa9" },
        { "\\q", NULL },
        { "\x1f", NULL },
        { "\xc3\x28", NULL },
    };
    static char line[9000], wanted[9000];
    for (size_t before = 0; before < 4200; before += before < 70 || before > 4060 ? 1 : 61)
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
            size_t byte;
            int filler = (int)before, after = (int)(before % 97);
            snprintf(line, sizeof line, "{\"text\":\"%*s%s%*s\",\"more\":\"%*s%s\"}", filler, "",
                     odd[i].json, after, "", filler, "", odd[i].json);
            snprintf(wanted, sizeof wanted, "%*s%s%*s", filler, "", odd[i].text ? odd[i].text : "",
                     after, "");
            if (odd[i].text)
                text_is(line, wanted);
            else
                assert_int_equal(parse_line(line, false, &byte), -1);
        }
    forget_texts();
}

/* Numbers must be JSON's, even where they are not used. */
static void test_json_numbers(void **state)
{
    (void)state;
    static const char *const good[] = { "0", "-0", "10", "-7", "0.5", "1e5", "1E+05", "-1.25e-3" };
    static const char *const bad[] = { "e",  "+",    "1.5.5", "-01", "01", ".",  "--",
                                       "1.", "1e+-", "+1",    ".5",  "-",  "1e", "-.1" };
    char line[64];
    size_t byte;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(line, sizeof line, "{\"text\":\"a\",\"n\":%s}", good[i]);
        text_is(line, "a");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(line, sizeof line, "{\"text\":\"a\",\"n\":%s}", bad[i]);
        if (!parse_line(line, false, &byte)) print_error("%s is accepted\n", line);
        assert_int_equal(parse_line(line, false, &byte), -1);
    }
    assert_int_equal(parse_line("{\"text\":\"a\",\"n\":-", false, &byte), -1);
    forget_texts();
}

/* A source may be a whole number. A key that contains dots may spell a path, unless a value is
 * nested so. */
static void test_json_paths(void **state)
{
    (void)state;
    static const struct {
        const char *json, *source; /* source: NULL if there is none */
        bool is_other;
    } lines[] = {
        { "{\"text\":\"a\",\"meta\":{\"set\":5}}", "5", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":-0.0}}", "0", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":-0}}", "0", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":0e9}}", "0", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":0.001e3}}", "1", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":0.0010e2}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":-102.500E+1}}", "-1025", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":10000e-4}}", "1", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":10000e-5}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":9007199254740993}}", "9007199254740993", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":9007199254740993.0}}", "9007199254740993", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":4503599627370497.0000001}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":18446744073709551615}}", "18446744073709551615",
          false },
        { "{\"text\":\"a\",\"meta\":{\"set\":18446744073709551616}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":20000000000000000000}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":-9223372036854775808}}", "-9223372036854775808",
          false },
        { "{\"text\":\"a\",\"meta\":{\"set\":-9223372036854775809}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":1e19}}", "10000000000000000000", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":1e20}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":123456789012345678901234567890}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":1e-99999999999999999999}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":1.5}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":1e99999}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":true}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":{\"\":\"b\"}}}", NULL, true },
        { "{\"text\":\"a\",\"meta\":{\"set\":null}}", NULL, false },
        { "{\"text\":\"a\",\"meta\":5}", NULL, false },
        { "{\"text\":\"a\",\"meta.set\":\"b\"}", "b", false },
        { "{\"text\":\"a\",\"meta.set\":\"b\",\"meta\":{\"set\":\"c\"}}", "c", false },
        { "{\"text\":\"a\",\"meta\":{\"set\":\"c\"},\"meta.set\":\"b\"}", "c", false },
        { "{\"text\":\"a\",\"meta.se\":\"b\",\"meta.set.\":\"b\",\"me\\u0000\":\"b\"}", NULL,
          false },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        text_is(lines[i].json, "a");
        if (source.found != !!lines[i].source) print_error("%s\n", lines[i].json);
        assert_int_equal(source.found, lines[i].source != NULL);
        assert_int_equal(source.is_other, lines[i].is_other);
        if (!source.found) continue;
        assert_int_equal(source.bytes, strlen(lines[i].source));
        assert_memory_equal(source.at, lines[i].source, source.bytes);
    }
    forget_texts();
}

/* Writes an object in which a path of `parts` keys "k" has a value in each of its spellings.
 * Returns the end of the text. */
static char *spell(char *to, int parts)
{
    *to = 0;
    if (!parts) return stpcpy(to, "5");
    for (int joined = 1; joined <= parts; joined++) {
        to = stpcpy(to, joined == 1 ? "{\"k" : ",\"k");
        for (int i = 1; i < joined; i++)
            to = stpcpy(to, ".k");
        to = spell(stpcpy(to, "\":"), parts - joined);
    }
    return stpcpy(to, "}");
}

/* If a key occurs twice, its last value counts, at every level of a path. The value may be nested
 * or spelled with dots; of several such values the one that is nested deepest counts. */
static void test_json_repeated_keys(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text; /* text: the string at a.b.c; NULL if there is none */
    } lines[] = {
        { "{\"a\":{\"b\":{\"c\":\"x\"}},\"a\":{\"b\":{\"c\":\"y\"}}}", "y" },
        { "{\"a\":{\"b\":{\"c\":\"x\"},\"b\":{\"c\":\"y\"}}}", "y" },
        { "{\"a\":{\"b\":{\"c\":\"x\",\"c\":\"y\"}}}", "y" },
        { "{\"a\":{\"b\":{\"c\":\"x\"}},\"a\":{}}", NULL },
        { "{\"a\":{\"b\":{\"c\":\"x\"}},\"a\":{\"x\":1}}", NULL },
        { "{\"a\":{\"b\":{\"c\":\"x\"}},\"a\":3}", NULL },
        { "{\"a\":{\"b\":{\"c\":\"x\"},\"b\":[]}}", NULL },
        { "{\"a\":{\"b\":{\"c\":\"x\",\"c\":null}}}", NULL },
        { "{\"a\":{\"b\":{\"c\":\"x\"}},\"\\u0061\":null}", NULL },
        { "{\"a\":3,\"a\":{\"b\":{\"c\":\"x\"}}}", "x" },
        { "{\"a\":{\"b\":{\"c\":\"x\"}},\"a.b\":{\"c\":\"y\"},\"a.b\":{}}", "x" },
        { "{\"a.b.c\":\"y\",\"a\":{\"b\":{\"c\":\"x\"}},\"a\":{}}", "y" },
        { "{\"a\":{\"b\":{\"c\":\"x\"},\"b.c\":\"y\",\"b\":{}}}", "y" },
        { "{\"a.b\":{\"c\":\"z\"},\"a\":{\"b.c\":\"y\"},\"a.b.c\":\"x\"}", "y" },
        { "{\"a.b\":{\"c\":\"z\"},\"a.b.c\":\"x\",\"a\":{\"b.c\":true}}", "z" },
        { "{\"x\":{\"a\":1},\"a\":{\"b\":{\"c\":\"x\"}},\"x\":{\"a\":2},\"b\":1,\"c\":2}", "x" },
    };
    size_t byte;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *line = lines[i].json;
        int status =
            jsonl_parse(line, strlen(line), "a.b.c", "a.b.c", false, &text, &source, &byte, &why);
        if (status != (lines[i].text ? 0 : -1)) print_error("%s\n", line);
        assert_int_equal(status, lines[i].text ? 0 : -1);
        assert_int_equal(text.found, lines[i].text != NULL);
        assert_int_equal(source.found, lines[i].text != NULL);
        if (!lines[i].text) continue;
        assert_int_equal(text.bytes, 1);
        assert_int_equal(source.bytes, 1);
        assert_int_equal(*text.at, *lines[i].text);
        assert_int_equal(*source.at, *lines[i].text);
    }
    text_is("{\"text\":\"a\",\"text\":\"bc\"}", "bc");
    assert_int_equal(parse_line("{\"text\":\"a\",\"text\":3}", false, &byte), -1);
    text_is("{\"text\":\"a\",\"meta\":{\"set\":\"b\"},\"meta\":{\"set\":[]}}", "a");
    assert_false(source.found);
    assert_true(source.is_other);
    text_is("{\"text\":\"a\",\"meta\":{\"set\":[]},\"meta\":{}}", "a");
    assert_false(source.is_other);
    /* A path of four parts has eight spellings, and one of five parts has sixteen. */
    char line[1000];
    for (int parts = 4; parts <= 5; parts++) {
        spell(line, parts);
        assert_int_equal(jsonl_parse(line, strlen(line), NULL, parts == 4 ? "k.k.k.k" : "k.k.k.k.k",
                                     false, &text, &source, &byte, &why),
                         parts == 4 ? 0 : -1);
    }
    forget_texts();
}

static void test_json_lines(void **state)
{
    (void)state;
    size_t byte;
    text_is("{\"text\":\"abc\"}", "abc");
    text_is(" { \"x\" : [1, -2.5e3, {\"text\": \"no\"}], \"text\" : "
            "\"a\\n\\u00e9\\ud83d\\ude00\\/\" } ",
            "a\n\xc3\xa9\xf0\x9f\x98\x80/");
    text_is("{\"meta\":{\"set\":\"books\",\"text\":\"no\"},\"n\":99999999999999999999999,\"text\":"
            "\"\"}",
            "");
    assert_true(source.found);
    assert_memory_equal(source.at, "books", 5);
    text_is("{\"text\":\"x\",\"meta\":null}", "x");
    assert_false(source.found);
    static const struct {
        const char *line;
        size_t byte;
    } bad[] = {
        { "{\"text\":\"abc", 13 },
        { "[1]", 1 },
        { "{\"text\":1}", 11 },
        { "{\"text\":\"\\ud800\"}", 16 },
        { "{\"text\":\"\xff\"}", 10 },
        { "{\"text\":\"a\"} x", 14 },
        { "{\"text\":\"a\",}", 13 },
        { "{\"text\":\"\\q\"}", 12 },
        { "{\"text\" \"a\"}", 10 },
        { "nul", 1 },
        { "{\"a\":tru}", 6 },
        { "{\"text\":\"\\u12g4\"}", 15 },
        { "{\"text\":\"a\001b\"}", 11 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse_line(bad[i].line, false, &byte), -1);
        assert_int_equal(byte, bad[i].byte);
    }
    assert_int_equal(parse_line("{\"text\":\"\xff\\ud800\"}", true, &byte), 0);
    assert_memory_equal(text.at, "\xef\xbf\xbd\xef\xbf\xbd", 6);
    char deep[2000] = "{\"text\":\"a\",\"d\":";
    memset(deep + 16, '[', 1000);
    assert_int_equal(parse_line(deep, false, &byte), -1);
    assert_string_equal(why.text, "nested deeper than 512");
    forget_texts();
}

/* ---- recipes ---- */

static int ignored_count;
static void count_ignored(const char *key, const char *reason)
{
    (void)key;
    (void)reason;
    ignored_count++;
}

static int read_recipe(struct recipe *r, const char *yaml)
{
    return recipe_text_read(r, yaml, count_ignored, &why);
}

static void recipe_refused(const char *yaml, const char *reason)
{
    struct recipe r;
    assert_int_equal(read_recipe(&r, yaml), -1);
    if (!strstr(why.text, reason)) print_error("'%s' lacks '%s'\n", why.text, reason);
    assert_non_null(strstr(why.text, reason));
    assert_int_equal(why.status, STATUS_USAGE);
    recipe_release(&r);
}

static void test_recipe(void **state)
{
    (void)state;
    struct recipe r;
    ignored_count = 0;
    assert_int_equal(
        read_recipe(&r, "# the report's\nlearning_rate: 2e-4\nmax_steps: 1000\nfp16: true\n"
                        "deepspeed: ds.json\nlr_scheduler_type: cosine\n"
                        "target_modules: [q_proj, v_proj]\noutput_dir: out\n"),
        0);
    assert_true(r.learning_rate == 2e-4 && r.max_steps == 1000 && r.fp16 && ignored_count == 1);
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    assert_int_equal(recipe_check(&r, false, &why), -1);
    assert_non_null(strstr(why.text, "model_name_or_path, train_file are missing"));
    assert_int_equal(recipe_override(&r, "model_name_or_path=m", count_ignored, &why), 0);
    assert_int_equal(recipe_override(&r, "train_file=t=1", count_ignored, &why), 0);
    assert_string_equal(r.train_file, "t=1");
    assert_int_equal(recipe_check(&r, false, &why), 0);
    assert_int_equal(recipe_override(&r, "max_step=3", count_ignored, &why), -1);
    assert_string_equal(why.text, "unknown key 'max_step': did you mean max_steps?");
    assert_int_equal(recipe_override(&r, "seed", count_ignored, &why), -1);
    assert_int_equal(recipe_override(&r, "lora_rank=0", count_ignored, &why), 0);
    assert_int_equal(recipe_check(&r, false, &why), -1);
    json_t *json = recipe_to_json(&r);
    assert_null(json_object_get(json, "output_dir"));
    assert_true(json_real_value(json_object_get(json, "learning_rate")) == 2e-4);
    json_decref(json);
    recipe_release(&r);
    recipe_refused("learning_rat: 1\n", "unknown key 'learning_rat': did you mean learning_rate?");
    recipe_refused("seed: 1\nseed: 2\n", ":2:1: key 'seed' occurs twice");
    recipe_refused("max_steps: 12k\n", ":1:12: max_steps: '12k' is not a count");
    recipe_refused("learning_rate: -1\n", "not a number of at least 0");
    recipe_refused("fp16: maybe\n", "not true or false");
    recipe_refused("attention: flash\n", "not one of s2|full");
    recipe_refused("- a\n- b\n", "not a list of 'key: value' lines");
    recipe_refused("seed: [1]\n", "one plain value is needed");
    recipe_refused("a: b: c\n", ":1:5:");
}

/* libyaml's time grows with the square of the depth, and of the number of anchors, tags and
 * keys. */
static void test_recipe_limits(void **state)
{
    (void)state;
    struct recipe r;
    char *yaml = malloc(120000);
    memset(yaml, '[', 60000);
    yaml[60000] = 0;
    recipe_refused(yaml, ":1:9: nested deeper than 8");
    for (int i = 0; i < 30000; i++)
        memcpy(yaml + 2 * i, "- ", 3);
    recipe_refused(yaml, "nested deeper than 8");
    for (int i = 0; i < 6000; i++)
        memcpy(yaml + 10 * i, "seed: [1]\n", 11);
    recipe_refused(yaml, ":342:1: more than 1024 keys and values");
    memset(yaml, '#', 110000);
    yaml[110000] = 0;
    recipe_refused(yaml, "longer than 65536 bytes: not a recipe");
    memset(yaml + 65535, '\n', 2);
    yaml[65536] = 0;
    assert_int_equal(read_recipe(&r, yaml), 0);
    free(yaml);
    assert_int_equal(recipe_override(&r, "model_name_or_path=m", count_ignored, &why), 0);
    static const char *const too_large[][2] = {
        { "lora_rank=1000000000000000000", "lora_rank is 1000000000000000000, at most 65536" },
        { "max_seq_length=9223372036854775807",
          "max_seq_length is 9223372036854775807, at most 268435456" },
        { "per_device_train_batch_size=65537",
          "per_device_train_batch_size is 65537, at most 65536" },
        { "num_train_epochs=1e300", "num_train_epochs is 1e+300, at most 1e+06" },
        { "learning_rate=1e39", "learning_rate is 1e+39, at most 3.40282e+38" },
    };
    for (size_t i = 0; i < sizeof too_large / sizeof *too_large; i++) {
        assert_int_equal(recipe_override(&r, "max_seq_length=8", count_ignored, &why), 0);
        assert_int_equal(recipe_check(&r, true, &why), 0);
        assert_int_equal(recipe_override(&r, too_large[i][0], count_ignored, &why), 0);
        assert_int_equal(recipe_check(&r, true, &why), -1);
        assert_string_equal(why.text, too_large[i][1]);
        recipe_release(&r);
        assert_int_equal(read_recipe(&r, "model_name_or_path: m\n"), 0);
    }
    recipe_release(&r);
}

static void test_schedules(void **state)
{
    (void)state;
    struct optimiser o = { .learning_rate = 1, .warmup = 10, .steps = 110 };
    o.schedule = SCHEDULE_CONSTANT_WITH_WARMUP;
    assert_true(optimiser_rate(&o, 0) == 0 && optimiser_rate(&o, 5) == 0.5 &&
                optimiser_rate(&o, 90) == 1);
    o.schedule = SCHEDULE_LINEAR;
    assert_true(fabs(optimiser_rate(&o, 60) - 0.5) < 1e-12 && optimiser_rate(&o, 110) == 0);
    o.schedule = SCHEDULE_COSINE;
    assert_true(fabs(optimiser_rate(&o, 60) - 0.5) < 1e-12 && optimiser_rate(&o, 10) == 1);
    o.schedule = SCHEDULE_CONSTANT;
    assert_true(optimiser_rate(&o, 0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packing),        cmocka_unit_test(test_samples_without_a_target),
        cmocka_unit_test(test_random_choice),  cmocka_unit_test(test_quotas),
        cmocka_unit_test(test_upsampling),     cmocka_unit_test(test_best_fit),
        cmocka_unit_test(test_best_fit_fills), cmocka_unit_test(test_json_numbers),
        cmocka_unit_test(test_json_paths),     cmocka_unit_test(test_json_repeated_keys),
        cmocka_unit_test(test_json_lines),     cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_recipe),         cmocka_unit_test(test_recipe_limits),
        cmocka_unit_test(test_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
