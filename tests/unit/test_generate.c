/* Generation: greedy tokens equal those of transformers, the cache does not change the logits,
 * random tokens have the right distribution, and text is emitted in whole characters. */
#include "lib/common/utf8.h"
#include "tests/lib/check.h"
#include "tools/generate/generator.h"
#include "tools/generate/sampler.h"
#include "tools/generate/speech.h"

#include <math.h>

enum { VOCAB = 40, CONTEXT = 300 };

static struct fail why;

/* ---- against transformers ---- */

static void open_case(struct loaded *l, const json_t *c)
{
    char path[256];
    *l = (struct loaded){ 0 };
    snprintf(path, sizeof path, "tests/golden/%s", json_string_value(json_object_get(c, "model")));
    assert_int_equal(weights_open(&l->weights, path, false, &why), 0);
    json_t *config = json_deep_copy(l->weights.config.json);
    json_object_del(config, "original_max_position_embeddings");
    json_object_set(config, "rope_scaling", json_object_get(c, "rope_scaling"));
    json_object_set(config, "max_position_embeddings",
                    json_object_get(c, "max_position_embeddings"));
    char *text = json_dumps(config, 0);
    assert_int_equal(config_parse(&l->config, text, "config", &why), 0);
    free(text);
    json_decref(config);
    const char *adapter = json_string_value(json_object_get(c, "adapter"));
    if (!adapter) return;
    snprintf(path, sizeof path, "tests/golden/generate/%s", adapter);
    assert_int_equal(adapter_open(&l->adapter, path, &why), 0);
    assert_int_equal(adapter_fit(&l->adapter, &l->config, &l->fit, &why), 0);
    l->has_adapter = true;
}

static int64_t ids_of(const json_t *c, const char *key, uint32_t *ids)
{
    const json_t *list = json_object_get(c, key);
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return (int64_t)json_array_size(list);
}

static void test_greedy_equals_transformers(void **state)
{
    (void)state;
    json_t *cases = json_read_file("tests/golden/generate/cases.json", &why), *c;
    size_t number;
    assert_int_equal(json_array_size(cases), 10);
    json_array_foreach(cases, number, c)
    {
        struct loaded l;
        struct session s;
        struct sampler *sampler;
        struct sampling greedy = { .top_p = 1, .repetition = 1 };
        uint32_t prompt[CONTEXT], tokens[CONTEXT];
        open_case(&l, c);
        int64_t count = ids_of(c, "prompt", prompt), n = ids_of(c, "tokens", tokens);
        assert_int_equal(n, 256);
        struct model_setup setup = session_setup(CONTEXT, check_device(), 2);
        setup.exact_cache = true;
        assert_int_equal(session_open(&s, &l, &setup, &why), 0);
        assert_int_equal(sampler_open(&sampler, &greedy, VOCAB, &why), 0);
        assert_int_equal(session_read(&s, prompt, count, &why), 0);
        for (int64_t i = 0; i < n; i++) {
            uint32_t id = sampler_draw(sampler, s.logits, s.ids, s.count);
            if (id != tokens[i])
                print_error("%s: token %lld\n", json_string_value(json_object_get(c, "name")),
                            (long long)i);
            assert_int_equal(id, tokens[i]);
            assert_int_equal(session_append(&s, id, &why), 0);
        }
        sampler_close(sampler);
        session_close(&s);
        loaded_close(&l);
    }
    json_decref(cases);
}

/* The logits are the same whether the text is read in one call, in pieces, token by token, or after
 * another text with the same beginning. */
static void test_cache_changes_nothing(void **state)
{
    (void)state;
    enum { LONG = 1100 };
    for (int gqa = 0; gqa < 2; gqa++) {
        struct loaded l = { 0 };
        struct session s;
        uint32_t ids[LONG], other[LONG];
        double *exact = check_doubles(NULL, VOCAB);
        const char *path = gqa ? "tests/golden/llama-gqa" : "tests/golden/llama-mha";
        struct loaded_options o = { .model = path };
        for (int i = 0; i < LONG; i++)
            other[i] = ids[i] = (uint32_t)check_below(VOCAB);
        other[700] = (other[700] + 1) % VOCAB;
        assert_int_equal(loaded_open(&l, &o, &why), 0);
        /* Without a cache: one batch of all rows. */
        struct model *m;
        struct batch b;
        struct model_setup setup = { .method = METHOD_FROZEN,
                                     .positions = LONG,
                                     .rows = LONG,
                                     .chunk = LONG,
                                     .device = check_device(),
                                     .threads = 2 };
        assert_int_equal(loaded_model(&l, &setup, &m, &why), 0);
        assert_int_equal(batch_init(&b, LONG, &why), 0);
        batch_add_window(&b, ids, LONG);
        model_forward(m, &b, (struct dropout){ 0 });
        float *logits = check_buffer(VOCAB);
        assert_int_equal(model_logits(m, 1, logits, &why), 0);
        for (int i = 0; i < VOCAB; i++)
            exact[i] = (double)logits[i];
        batch_release(&b);
        model_close(m);

        setup = session_setup(LONG, check_device(), 1);
        setup.exact_cache = true;
        volatile int is_stopped = 0;
        setup.stop = &is_stopped;
        assert_int_equal(session_open(&s, &l, &setup, &why), 0);
        assert_int_equal(session_read(&s, other, LONG, &why), 0);
        assert_int_equal(session_read(&s, ids, LONG, &why), 0);
        check_close("read after another text", s.logits, exact, VOCAB, 1e-5);
        assert_int_equal(session_read(&s, ids, 600, &why), 0);
        assert_int_equal(session_read(&s, ids, 603, &why), 0);
        for (int i = 603; i < 640; i++)
            assert_int_equal(session_append(&s, ids[i], &why), 0);
        assert_int_equal(session_read(&s, ids, LONG, &why), 0);
        check_close("read in pieces", s.logits, exact, VOCAB, 1e-5);
        /* A stop ends the reading of a text that begins like the last one. Their common beginning
         * stays in the cache. */
        assert_int_equal(session_read(&s, other, LONG, &why), 0);
        is_stopped = 1;
        assert_int_equal(session_read(&s, ids, LONG, &why), 1);
        assert_int_equal(s.count, 700);
        assert_int_equal(model_cached(s.model), 700);
        is_stopped = 0;
        assert_int_equal(session_read(&s, ids, LONG, &why), 0);
        check_close("read after a stop", s.logits, exact, VOCAB, 1e-5);
        session_close(&s);
        loaded_close(&l);
        check_free_all();
    }
}

/* ---- draws ---- */

static const float fixed[] = { 2, -1, 0.5f, 1.25f, -3, 0, 1.25f, 0.75f };
enum { FIXED = sizeof fixed / sizeof *fixed, DRAWS = 20000 };

/* Draws many tokens and compares their counts with the probabilities: chi-square must stay below
 * its 0.9999 quantile. */
static void check_draws(struct sampling how, const double *probability)
{
    static const double quantile[] = { 0, 15.14, 18.42, 21.11, 23.51, 25.74, 27.86, 29.88 };
    struct sampler *s;
    int seen[FIXED] = { 0 }, possible = 0;
    double chi = 0;
    assert_int_equal(sampler_open(&s, &how, FIXED, &why), 0);
    for (int i = 0; i < DRAWS; i++)
        seen[sampler_draw(s, fixed, NULL, 0)]++;
    for (int i = 0; i < FIXED; i++) {
        double expected = probability[i] * DRAWS;
        if (probability[i] == 0) assert_int_equal(seen[i], 0);
        if (probability[i] == 0) continue;
        chi += (seen[i] - expected) * (seen[i] - expected) / expected;
        possible++;
    }
    assert_true(chi <= quantile[possible - 1]);
    sampler_close(s);
}

/* Computes softmax(fixed / temperature) over the tokens that `keeps` marks with 1. */
static void softmax(double temperature, const char *keeps, double *p)
{
    double sum = 0;
    for (int i = 0; i < FIXED; i++)
        sum += p[i] = keeps[i] == '1' ? exp((double)fixed[i] / temperature) : 0;
    for (int i = 0; i < FIXED; i++)
        p[i] /= sum;
}

static void test_draws_have_their_distribution(void **state)
{
    (void)state;
    struct sampling all = { .temperature = 1, .top_p = 1, .repetition = 1, .seed = 5 };
    double p[FIXED];
    softmax(1, "11111111", p);
    check_draws(all, p);
    struct sampling warm = all;
    warm.temperature = 1.7;
    softmax(1.7, "11111111", p);
    check_draws(warm, p);
    struct sampling best = all;
    best.top_k = 3; /* both of the two equal tokens are kept */
    softmax(1, "10010010", p);
    check_draws(best, p);
    /* The sorted probabilities are .411 .194 .194 .118 .092 …, so four are needed to reach .8. */
    struct sampling nucleus = all;
    nucleus.top_p = 0.8;
    softmax(1, "10010011", p);
    check_draws(nucleus, p);
    struct sampling likely = all;
    /* A token is kept if its logit is at most ln 4 = 1.386 below the largest, which is 2: so from
     * .614 on. */
    likely.min_p = 0.25;
    softmax(1, "10010011", p);
    check_draws(likely, p);
    struct sampling tiny = all;
    tiny.top_p = 1e-9;
    softmax(1, "10000000", p);
    check_draws(tiny, p);
}

static void test_draws_repeat_for_a_seed(void **state)
{
    (void)state;
    struct sampling how = { .temperature = 1, .top_p = 1, .repetition = 1, .seed = 8 };
    struct sampler *a, *b, *c;
    int differ = 0;
    assert_int_equal(sampler_open(&a, &how, FIXED, &why), 0);
    assert_int_equal(sampler_open(&b, &how, FIXED, &why), 0);
    how.seed = 9;
    assert_int_equal(sampler_open(&c, &how, FIXED, &why), 0);
    for (int i = 0; i < 100; i++) {
        uint32_t id = sampler_draw(a, fixed, NULL, 0);
        assert_int_equal(id, sampler_draw(b, fixed, NULL, 0));
        differ += id != sampler_draw(c, fixed, NULL, 0);
    }
    assert_true(differ > 20);
    sampler_close(a);
    sampler_close(b);
    sampler_close(c);
}

/* The logits of tokens that occur in the text are changed once each: positive logits are divided,
 * negative ones multiplied. */
static void test_repetition_penalty(void **state)
{
    (void)state;
    struct sampling how = { .top_p = 1, .repetition = 2 };
    struct sampler *s;
    const uint32_t text[] = { 0, 0, 3, 99 };
    const float negative[] = { -1, -1.5f, -4 };
    assert_int_equal(sampler_open(&s, &how, FIXED, &why), 0);
    assert_int_equal(sampler_draw(s, fixed, NULL, 0), 0);
    /* The logit 2 becomes 1, so the first of the two logits 1.25 is the largest. */
    assert_int_equal(sampler_draw(s, fixed, text, 1), 3);
    assert_int_equal(sampler_draw(s, fixed, text, 4), 6);
    assert_int_equal(sampler_draw(s, fixed, NULL, 0), 0); /* an earlier penalty has no effect */
    sampler_close(s);
    assert_int_equal(sampler_open(&s, &how, 3, &why), 0);
    assert_int_equal(sampler_draw(s, negative, text, 2), 1);
    sampler_close(s);
}

/* ---- text in pieces ---- */

struct heard {
    char text[256];
    size_t bytes, times;
};

static int hear(void *arg, const char *text, size_t bytes, struct fail *f)
{
    struct heard *h = arg;
    (void)f;
    for (size_t i = 0, n; i < bytes; i += n) /* each text consists of whole characters */
        assert_true((n = utf8_valid((const unsigned char *)text + i, bytes - i)) > 0);
    memcpy(h->text + h->bytes, text, bytes);
    h->bytes += bytes;
    h->text[h->bytes] = 0;
    h->times++;
    return 0;
}

/* Returns a tokenizer with a piece for each byte, one for the space mark and one for "a". It is
 * parsed from a SentencePiece model that is put together here. */
static struct tokenizer *byte_tokenizer(void)
{
    char model[8192];
    size_t n = 0;
    for (int i = 0; i < 259 + 2; i++) {
        char piece[32];
        int length = i == 0     ? snprintf(piece, sizeof piece, "<unk>")
                     : i == 1   ? snprintf(piece, sizeof piece, "<s>")
                     : i == 2   ? snprintf(piece, sizeof piece, "</s>")
                     : i < 259  ? snprintf(piece, sizeof piece, "<0x%02X>", i - 3)
                     : i == 259 ? snprintf(piece, sizeof piece, "\xe2\x96\x81")
                                : snprintf(piece, sizeof piece, "a");
        int type = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
        /* pieces { piece, score 0, type } */
        model[n++] = 0x0a;
        model[n++] = (char)(2 + length + 5 + 2);
        model[n++] = 0x0a;
        model[n++] = (char)length;
        memcpy(model + n, piece, (size_t)length);
        n += (size_t)length;
        memcpy(model + n, "\x15\0\0\0\0\x18", 6);
        n += 6;
        model[n++] = (char)type;
    }
    /* trainer_spec { model_type: BPE, byte_fallback }, normalizer_spec { name: identity,
     * add_dummy_prefix, remove_extra_whitespaces: false, escape_whitespaces } */
    static const char spec[] = "\x12\x05\x18\x02\x98\x02\x01"
                               "\x1a\x10\x0a\x08identity\x18\x01\x20\x00\x28\x01";
    memcpy(model + n, spec, sizeof spec - 1);
    n += sizeof spec - 1;
    model[n - (sizeof spec - 1) + 7 + 1] = (char)(sizeof spec - 1 - 7 - 2);
    struct tokenizer *t;
    if (tokenizer_parse(&t, model, n, "bytes", &why)) fail_msg("%s", why.text);
    return t;
}

static int emit_bytes(struct speech *s, struct heard *h, const char *bytes)
{
    *h = (struct heard){ 0 };
    speech_begin(s, 260);
    for (const char *at = bytes; *at; at++) {
        uint32_t id = *at == ' ' ? 259 : *at == 'a' ? 260 : 3 + (unsigned char)*at;
        int said = speech_token(s, id, &why);
        if (!said) continue;
        assert_int_equal(speech_end(s, &why), 0); /* emits no more text */
        return said;
    }
    return speech_end(s, &why);
}

static void test_text_is_emitted_in_whole_characters(void **state)
{
    (void)state;
    struct heard h;
    struct speech s = { .tokenizer = byte_tokenizer(), .emit = hear, .arg = &h };
    assert_int_equal(emit_bytes(&s, &h, " a b\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80!"), 0);
    assert_string_equal(h.text, " a b\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80!");
    assert_int_equal(h.times, 8);
    /* Invalid bytes are replaced. A character that is cut at the end is left out. */
    assert_int_equal(emit_bytes(&s, &h, "x\xff\xe4y\xe4\xb8"), 0);
    assert_string_equal(h.text, "x\xef\xbf\xbd\xef\xbf\xbdy");
    s.strips = true;
    assert_int_equal(emit_bytes(&s, &h, "  \n ab c"), 0);
    assert_string_equal(h.text, "ab c");
    speech_release(&s);
    tokenizer_close((struct tokenizer *)s.tokenizer);
}

/* The id of a byte in a vocabulary that begins with the alphabet of GPT-2. */
static uint32_t id_of_byte(unsigned char b)
{
    return b <= 32    ? 188u + b
           : b < 127  ? b - 33u
           : b <= 160 ? 221u + b - 127
           : b < 173  ? 94u + b - 161
           : b == 173 ? 255
                      : 106u + b - 174;
}

/* The texts are those of bytes.decode("utf-8", "replace") in Python, which agrees with the decoder
 * ByteLevel of tokenizers. */
static void test_invalid_bytes_of_byte_level(void **state)
{
    (void)state;
#define FFFD "\xef\xbf\xbd"
    static const char *const cases[][2] = {
        { "a\xe4\x84m", "a" FFFD "m" },
        { "\xe4\xb8\xad\xe4\xb8x", "\xe4\xb8\xad" FFFD "x" },
        { "\xf0\x9f\x98z\xff\xffy", FFFD "z" FFFD FFFD "y" },
        { "\xe0\x80\x62", FFFD FFFD "b" },
        { "\xed\xa0\x80\xf4\x90.", FFFD FFFD FFFD FFFD FFFD "." },
        { "\xe4\x84\xe4\x84\xf1\x80\x80!", FFFD FFFD FFFD "!" },
    };
#undef FFFD
    struct tokenizer *t;
    struct heard h;
    if (tokenizer_open(&t, "tests/golden/templates/bytes/tokenizer.json", &why))
        fail_msg("%s", why.text);
    struct speech s = { .tokenizer = t, .emit = hear, .arg = &h };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        h = (struct heard){ 0 };
        speech_begin(&s, id_of_byte('a'));
        for (const char *at = cases[i][0]; *at; at++)
            assert_int_equal(speech_token(&s, id_of_byte((unsigned char)*at), &why), 0);
        assert_int_equal(speech_end(&s, &why), 0);
        assert_string_equal(h.text, cases[i][1]);
    }
    speech_release(&s);
    tokenizer_close(t);
}

static void test_stop_texts(void **state)
{
    (void)state;
    struct heard h;
    const char *texts[] = { "USER:", "a\n\n", "\xc3\xa9\xc3\xa9" };
    struct opt_list stops = { texts, 3 };
    struct speech s = { .tokenizer = byte_tokenizer(), .emit = hear, .arg = &h, .stops = &stops };
    assert_int_equal(emit_bytes(&s, &h, "an answer US USUSER: no"), 1);
    assert_string_equal(h.text, "an answer US US");
    assert_int_equal(emit_bytes(&s, &h, "to the end, with the beginning of a stop, USE"), 0);
    assert_string_equal(h.text, "to the end, with the beginning of a stop, USE");
    assert_int_equal(emit_bytes(&s, &h, "la\nla\n\n"), 1);
    assert_string_equal(h.text, "la\nl");
    assert_int_equal(emit_bytes(&s, &h, "\xc3\xa9x\xc3\xa9\xc3\xa9"), 1);
    assert_string_equal(h.text, "\xc3\xa9x");
    speech_release(&s);
    tokenizer_close((struct tokenizer *)s.tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_equals_transformers),
        cmocka_unit_test(test_cache_changes_nothing),
        cmocka_unit_test(test_draws_have_their_distribution),
        cmocka_unit_test(test_draws_repeat_for_a_seed),
        cmocka_unit_test(test_repetition_penalty),
        cmocka_unit_test(test_text_is_emitted_in_whole_characters),
        cmocka_unit_test(test_invalid_bytes_of_byte_level),
        cmocka_unit_test(test_stop_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
