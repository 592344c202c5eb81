/* Conversations in the templates of other programs get the same ids as in those programs. The file
 * also tests the form of Jinja texts, and templates that are refused. */
#include "lib/common/json.h"
#include "lib/tokenizer/chat_known.h"
#include "lib/tokenizer/jinja_form.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tools/generate/talk.h"

#define GOLDEN "tests/golden/templates/"
enum { TURNS = 8 };

static struct fail why;

/* ---- reading ---- */

/* Calls `check` with each line of a file. Returns the number of lines. */
static size_t each_line(const char *path, void (*check)(const json_t *line))
{
    char *line = NULL;
    size_t capacity = 0, count = 0;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *value = json_loads(line, 0, NULL);
        assert_non_null(value);
        check(value);
        json_decref(value);
        count++;
    }
    fclose(file);
    free(line);
    return count;
}

static const char *text_of(const json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

static const struct tokenizer *tokenizer_of(const char *name)
{
    static struct {
        char name[40];
        struct tokenizer *t;
    } opened[8];
    for (int i = 0; i < 8; i++) {
        char place[100];
        if (!strcmp(opened[i].name, name)) return opened[i].t;
        if (*opened[i].name) continue;
        snprintf(place, sizeof place, GOLDEN "%s", name);
        if (tokenizer_open(&opened[i].t, place, &why)) fail_msg("%s", why.text);
        snprintf(opened[i].name, sizeof opened[i].name, "%s", name);
        return opened[i].t;
    }
    fail_msg("more tokenizers than room");
    return NULL;
}

static const struct chat_known *known_of(const char *digest)
{
    for (const struct chat_known *known = chat_known_table; known->digest; known++)
        if (!strcmp(known->digest, digest)) return known;
    return NULL;
}

static void open_template(struct chat_template *t, const json_t *line, bool by_name)
{
    const char *digest = text_of(line, "digest"), *template = text_of(line, "template");
    const struct tokenizer *tokenizer = tokenizer_of(text_of(line, "tokenizer"));
    const struct chat_known *known = digest ? known_of(digest) : NULL;
    if (digest && !known) fail_msg("%s is not in the table", text_of(line, "of"));
    if (known) assert_string_equal(known->template_name, template);
    if (known && !by_name ? chat_known_open(t, known, tokenizer, &why)
                          : chat_template_open(t, template, tokenizer, &why))
        fail_msg("%s", why.text);
}

/* A conversation. Its texts are owned by the JSON line, except for a joined prompt. */
struct told {
    struct chat_exchange turns[TURNS];
    size_t count;
    const char *system;
    char joined[400];
};

static void read_conversation(struct told *c, const json_t *line)
{
    const json_t *turns = json_object_get(line, "turns");
    const json_t *beside = json_object_get(line, "beside");
    const char *input = text_of(line, "input");
    *c = (struct told){ .count = json_array_size(turns), .system = text_of(line, "system") };
    assert_true(c->count > 0 && c->count <= TURNS);
    for (size_t i = 0; i < c->count; i++) {
        const json_t *turn = json_array_get(turns, i);
        c->turns[i].prompt = json_string_value(json_array_get(turn, 0));
        c->turns[i].answer = json_string_value(json_array_get(turn, 1));
        c->turns[i].reasoning = json_string_value(json_array_get(beside, i));
    }
    if (!input || !*input) return;
    const char *first = c->turns[0].prompt, *newline = *first ? "\n" : "";
    snprintf(c->joined, sizeof c->joined, "%s%s%s", first, newline, input);
    c->turns[0].prompt = c->joined;
    c->turns[0].input = c->joined + strlen(first) + strlen(newline);
}

static void same_ids(const json_t *line, const char *what, const json_t *wanted,
                     const struct token_buffer *got)
{
    size_t count = json_array_size(wanted);
    for (size_t i = 0; i < count || i < got->count; i++) {
        json_int_t id = i < count ? json_integer_value(json_array_get(wanted, i)) : -1;
        if (i >= got->count || i >= count || got->ids[i] != id) {
            char *text = json_dumps(line, JSON_COMPACT);
            fail_msg("%s: id %zu is %lld of %zu, not %lld of %zu: %s", what, i,
                     i < got->count ? (long long)got->ids[i] : -1, got->count, (long long)id, count,
                     text);
        }
    }
}

/* ---- golden conversations ---- */

static void check_case(const json_t *line)
{
    struct chat_template t;
    struct told c;
    struct token_buffer ids = { 0 };
    uint32_t spans[2 * TURNS];
    const json_t *targets = json_object_get(line, "targets");
    const json_t *prompts = json_object_get(line, "prompts");
    open_template(&t, line, false);
    read_conversation(&c, line);
    if (chat_template_encode(&t, &ids, c.system, c.turns, c.count, spans, &why))
        fail_msg("%s", why.text);
    same_ids(line, "tokens", json_object_get(line, "tokens"), &ids);
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const json_t *range = json_array_get(targets, i);
        for (size_t k = 0; k < 2; k++)
            if (spans[2 * i + k] != json_integer_value(json_array_get(range, k))) {
                char *text = json_dumps(line, JSON_COMPACT);
                fail_msg("answer %zu is [%u, %u): %s", i, spans[2 * i], spans[2 * i + 1], text);
            }
    }
    if (json_is_array(targets)) assert_int_equal(json_array_size(targets), c.count);
    /* Builds each prompt as in a dialogue, after the answers so far. These answers stay unchanged,
     * or lose their thinking if the template leaves it out. */
    struct token_buffer asked = { 0 }, told = { 0 };
    for (size_t i = 0; i < c.count; i++) {
        struct chat_exchange waiting = c.turns[i];
        waiting.answer = NULL;
        if (chat_template_prompt(&t, &asked, c.system, &waiting, i == 0, &why))
            fail_msg("%s", why.text);
        same_ids(line, "prompt", json_array_get(prompts, i), &asked);
        size_t before = told.count;
        if (chat_template_prompt(&t, &told, c.system, &waiting, i == 0, &why))
            fail_msg("%s", why.text);
        same_ids(line, "prompt after turns", json_array_get(prompts, i), &told);
        told.count = before;
        if (chat_template_turn(&t, &told, c.system, &c.turns[i], i == 0, &why))
            fail_msg("%s", why.text);
        asked.count = 0;
        if (token_buffer_add(&asked, ids.ids, spans[2 * i + 1], &why)) fail_msg("%s", why.text);
    }
    token_buffer_release(&told);
    token_buffer_release(&asked);
    token_buffer_release(&ids);
    chat_template_close(&t);
}

static void test_conversations(void **state)
{
    (void)state;
    assert_true(each_line(GOLDEN "cases.jsonl", check_case) > 150);
    assert_true(each_line(GOLDEN "families.jsonl", check_case) > 200);
}

/* The cases use every template and every text of the table. */
static char seen[80000];

static void note_case(const json_t *line)
{
    const char *digest = text_of(line, "digest");
    size_t used = strlen(seen);
    snprintf(seen + used, sizeof seen - used, "%s %s\n", text_of(line, "template"),
             digest ? digest : "-");
}

static void test_every_template_has_a_case(void **state)
{
    (void)state;
    static const char *const names[] = { "longqlora",
                                         "vicuna",
                                         "alpaca",
                                         "llama-2",
                                         "llama-3",
                                         "llama-3.1",
                                         "zephyr",
                                         "chatml",
                                         "mistral",
                                         "mistral-v3",
                                         "mistral-nemo",
                                         "mistral-2023",
                                         "mistral-2023-space",
                                         "qwen3",
                                         "qwen3-no-think",
                                         "deepseek",
                                         "deepseek-r1",
                                         "phi-3",
                                         "phi-3-medium",
                                         "phi-4",
                                         "phi-4-mini",
                                         "gemma",
                                         "gemma-3",
                                         "granite",
                                         "olmo-2",
                                         "mistral-small" };
    char part[100];
    *seen = 0;
    each_line(GOLDEN "cases.jsonl", note_case);
    each_line(GOLDEN "families.jsonl", note_case);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(part, sizeof part, "%s ", names[i]);
        if (!strstr(seen, part)) fail_msg("no case of %s", names[i]);
    }
    for (const struct chat_known *known = chat_known_table; known->digest; known++)
        if (known->template_name && !strstr(seen, known->digest))
            fail_msg("no case of %s", known->of);
}

/* Records are read as the published text would read them: it knows no role developer, and may join
 * the parts of a text in its own way. */
static void check_reading(const json_t *line)
{
    const char *digest = text_of(line, "digest");
    const struct chat_known *known = digest ? known_of(digest) : NULL;
    struct chat_template t;
    open_template(&t, line, false);
    bool is_gemma = known && strstr(known->of, "gemma-3");
    bool is_granite = known && strstr(known->of, "granite-4");
    const char *name = text_of(line, "template");
    bool is_of_program = !strcmp(name, "longqlora") || !strcmp(name, "vicuna") ||
                         !strcmp(name, "vicuna-apart") || !strcmp(name, "alpaca");
    assert_int_equal(t.is_of_model, !is_of_program);
    assert_int_equal(t.parts, is_gemma     ? CHAT_PARTS_TRIMMED
                              : is_granite ? CHAT_PARTS_FILLED_LINES
                                           : CHAT_PARTS_LINES);
    chat_template_close(&t);
}

static void test_how_records_are_read(void **state)
{
    (void)state;
    each_line(GOLDEN "cases.jsonl", check_reading);
    each_line(GOLDEN "families.jsonl", check_reading);
}

/* A template that is opened by its name equals the one opened by a Jinja text without changes. */
static void check_by_name(const json_t *line)
{
    const char *digest = text_of(line, "digest");
    const struct chat_known *known = digest ? known_of(digest) : NULL;
    struct chat_template t, named;
    if (!known || known->begin || known->system || known->finish || known->others) return;
    open_template(&t, line, false);
    open_template(&named, line, true);
    assert_string_equal(t.digest, named.digest);
    chat_template_close(&t);
    chat_template_close(&named);
}

static void test_template_by_name_or_text(void **state)
{
    (void)state;
    each_line(GOLDEN "cases.jsonl", check_by_name);
    each_line(GOLDEN "families.jsonl", check_by_name);
}

/* ---- the form of a text ---- */

static void check_form(const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    char *form = jinja_form(json_string_value(text), json_string_length(text), &why);
    if (!form) fail_msg("%s: %s", json_string_value(text), why.text);
    assert_string_equal(form, text_of(line, "form"));
    free(form);
}

static void test_form_of_a_text(void **state)
{
    (void)state;
    static const char *const bad[] = { "{{ a",        "{% if a",          "{# a",
                                       "{{ 'a }}",    "{{ (a }}",         "{%",
                                       "{{ 'a\\' }}", "{% raw %}{{ a }}", "{{" };
    assert_true(each_line(GOLDEN "forms.jsonl", check_form) > 40);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (jinja_form(bad[i], strlen(bad[i]), &why)) fail_msg("%s has a form", bad[i]);
        assert_int_equal(why.status, STATUS_INPUT);
    }
    assert_null(jinja_form("a\0b", 3, &why));
}

/* ---- templates that are refused ---- */

static void test_unknown_texts_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "<|im_start|>{{ m }}<|im_end|>", "special texts of chatml: if you know" },
        { "<|start_header_id|>{{ m }}<|eot_id|>", "choose it with --chat llama-3" },
        { "<|start_header_id|>Cutting Knowledge Date{{ m }}", "choose it with --chat llama-3.1" },
        { "[INST] <<SYS>>{{ m }}<</SYS>> [/INST]", "choose it with --chat llama-2" },
        { "[INST] {{ m }} [/INST]", "choose it with --chat mistral" },
        { "[INST] {{ m }}[/INST]", "choose it with --chat mistral-v3" },
        { "[INST]{{ m }}[/INST]", "choose it with --chat mistral-nemo" },
        { "[SYSTEM_PROMPT]{{ s }}[INST] {{ m }} [/INST]", "choose it with --chat mistral-small" },
        { "<|im_start|>{{ m }}</think><|im_end|>", "choose it with --chat qwen3" },
        { "<|im_start|><|im_sep|>{{ m }}<|im_end|>", "choose it with --chat phi-4" },
        { "<\uff5cUser\uff5c>{{ m }}<\uff5cAssistant\uff5c>", "choose it with --chat deepseek" },
        { "<\uff5cUser\uff5c>{{ m }}</think>", "choose it with --chat deepseek-r1" },
        { "<start_of_turn>{{ m }}<end_of_turn>", "choose it with --chat gemma" },
        { "<|start_of_role|>{{ m }}<|end_of_role|>", "choose it with --chat granite" },
        { "<|assistant|>{{ m }}<|end|>", "choose it with --chat phi-3" },
        { "<|im_start|>{{ strftime_now('%d') }}<|im_end|>",
          "writes the current date (strftime_now), so the tokens of a conversation change every "
          "day: --chat chatml formats conversations without the current date" },
        { "<|start_header_id|>Cutting Knowledge Date{{ strftime_now('%d') }}",
          "--chat llama-3.1 formats conversations without the current date" },
        { "{{ strftime_now('%d') }}",
          "--chat FILE formats conversations without the current date (docs" },
        { "<|user|>{{ m }}<|assistant|>", "choose it with --chat zephyr" },
        { "USER: {{ m }} ASSISTANT:", "choose it with --chat vicuna" },
        { "### Instruction: {{ m }} ### Response:", "choose it with --chat alpaca" },
        { "<start_of_turn>{{ m }}", "--chat FILE reads a template from a file" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(chat_known_find(cases[i].text, strlen(cases[i].text), "--chat", &why));
        if (!strstr(why.text, cases[i].words)) fail_msg("'%s': %s", cases[i].words, why.text);
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

static void refused(const char *template, const char *system, size_t count,
                    const struct chat_exchange *turns, const char *words)
{
    struct chat_template t;
    struct token_buffer ids = { 0 };
    uint32_t spans[2 * TURNS];
    if (chat_template_open(&t, template, tokenizer_of("spm-legacy"), &why))
        fail_msg("%s", why.text);
    assert_int_equal(chat_template_encode(&t, &ids, system, turns, count, spans, &why), -1);
    if (!strstr(why.text, words)) fail_msg("'%s': %s", words, why.text);
    assert_int_equal(why.status, STATUS_INPUT);
    token_buffer_release(&ids);
    chat_template_close(&t);
}

static void test_conversations_that_are_refused(void **state)
{
    (void)state;
    const struct chat_exchange plain[2] = { { "a", "b", NULL, NULL }, { "c", "d", NULL, NULL } };
    const struct chat_exchange spells = { "a ASSISTANT: b", "c", NULL, NULL },
                               ends = { "a", "b</s>c", NULL, NULL };
    const struct chat_exchange late = { "a", "b ASSISTANT: c", NULL, NULL };
    const struct chat_exchange no_prompt = { "", "b", NULL, NULL },
                               no_answer = { "a", "", NULL, NULL };
    static const char *const no_place[] = { "alpaca", "mistral-2023", "mistral-2023-space" };
    for (size_t i = 0; i < sizeof no_place / sizeof *no_place; i++)
        refused(no_place[i], "S", 1, plain, "has no place for a system prompt");
    refused("alpaca", NULL, 2, plain, "2 turns, but the template alpaca has only one");
    refused("vicuna", NULL, 1, &spells, "contains ' ASSISTANT: '");
    refused("vicuna", NULL, 1, &late, "contains ' ASSISTANT: '");
    refused("vicuna", NULL, 1, &ends, "contains '</s>'");
    refused("vicuna", NULL, 1, &no_prompt, "an empty prompt");
    refused("vicuna", NULL, 1, &no_answer, "an empty answer");
}

/* "zk" is one token, but "zkq" becomes the tokens "z" and "kq". The answer "q" begins with the
 * token "kq", although the token before it differs from the prompt's last one. */
static void test_a_token_across_the_border_belongs_to_the_answer(void **state)
{
    (void)state;
    static const char json[] = "{\"turn\": \"{}zk\", \"whole\": true}";
    const char *path = scratch_file;
    const struct tokenizer *spm = tokenizer_of("spm-legacy");
    const struct chat_exchange turn = { "a", "q", NULL, NULL };
    struct chat_template t;
    struct token_buffer prompt = { 0 }, whole = { 0 };
    uint32_t span[2];
    size_t bytes;
    FILE *file = fopen(path, "we");
    assert_true(file && fputs(json, file) >= 0 && !fclose(file));
    if (chat_template_open(&t, path, spm, &why)) fail_msg("%s", why.text);
    assert_int_equal(chat_template_prompt(&t, &prompt, NULL, &turn, true, &why), 0);
    assert_int_equal(chat_template_encode(&t, &whole, NULL, &turn, 1, span, &why), 0);
    char *last = tokenizer_decode(spm, whole.ids + span[0], span[1] - span[0], &bytes, &why);
    assert_true(bytes == 2 && !memcmp(last, "kq", 2));
    assert_int_equal(span[0], prompt.count);
    assert_int_not_equal(whole.ids[span[0] - 1], prompt.ids[prompt.count - 1]);
    free(last);
    token_buffer_release(&prompt);
    token_buffer_release(&whole);
    chat_template_close(&t);
}

/* NFC makes the prompt shorter. The token " the" contains the prompt's "t" and the answer's
 * "he". */
static void test_composed_prompts_move_no_answer(void **state)
{
    (void)state;
    static const char json[] = "{\"turn\": \"{} t\", \"whole\": true, \"strip\": []}";
    const struct tokenizer *bytes = tokenizer_of("bytes");
    const struct chat_exchange turn = { "e\u0301 e\u0301 e\u0301 e\u0301 e\u0301", "he of and",
                                        NULL, NULL };
    struct chat_template t;
    struct token_buffer whole = { 0 };
    uint32_t span[2];
    size_t count;
    if (chat_template_open_text(&t, "t", json, bytes, &why)) fail_msg("%s", why.text);
    assert_int_equal(chat_template_encode(&t, &whole, NULL, &turn, 1, span, &why), 0);
    char *text = tokenizer_decode(bytes, whole.ids + span[0], span[1] - span[0], &count, &why);
    assert_non_null(text);
    if (strncmp(text, " the of and", 11) != 0) fail_msg("'%.*s'", (int)count, text);
    free(text);
    token_buffer_release(&whole);
    chat_template_close(&t);
}

static void test_templates_that_are_refused(void **state)
{
    (void)state;
    struct chat_template t;
    const struct tokenizer *spm = tokenizer_of("spm-legacy");
    assert_int_equal(chat_template_open(&t, "llama-3", spm, &why), -1);
    assert_string_equal(why.text, "llama-3: the tokenizer has no token <|start_header_id|>: a "
                                  "template for another model?");
    assert_int_equal(chat_template_open(&t, "lama-3", spm, &why), -1);
    assert_int_equal(why.status, STATUS_USAGE);
    assert_non_null(strstr(why.text, "there are " CHAT_TEMPLATES));
}

/* These are refused: templates whose keys about thinking contradict each other, and conversations
 * with thinking that a template cannot express. */
static void test_thinking_that_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *words;
    } cases[] = {
        { "{\"turn\": \"{}\", \"thinking\": \"lose\"}",
          "'thinking' is one of keep, drop and drop_newlines" },
        { "{\"turn\": \"{}\", \"thought\": \"<think>{}</think>\"}",
          "'thought' needs 'thinking': drop" },
        { "{\"turn\": \"{}\", \"thinking\": \"drop\", \"thought\": \"<think>\"}",
          "'thought' needs one {}" },
        { "{\"turn\": \"{}\", \"thinking\": \"drop\", \"thought\": \"a{}b\", \"waiting\": \"b\"}",
          "'waiting' must be 'thought' without content, or the beginning of that" },
        { "{\"turn\": \"{}\", \"answer\": \" {}\", \"waiting\": \"b\"}",
          "'waiting' cannot be combined with a text before an answer" },
        { "{\"turn\": \"{}\", \"waiting\": \"{x}\"}",
          "'waiting': the placeholder {x} is not possible there" },
    };
    const struct tokenizer *bytes = tokenizer_of("bytes");
    struct chat_template t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(chat_template_open_text(&t, "t", cases[i].json, bytes, &why), -1);
        if (!strstr(why.text, cases[i].words)) fail_msg("'%s': %s", cases[i].words, why.text);
    }
    const struct chat_exchange turns[] = {
        { "<tool_response>\n1\n</tool_response>", "a", NULL, NULL }, { "b", "c", NULL, NULL }
    };
    uint32_t spans[2 * TURNS];
    struct token_buffer ids = { 0 };
    if (chat_template_open(&t, "qwen3", bytes, &why)) fail_msg("%s", why.text);
    assert_int_equal(chat_template_encode(&t, &ids, NULL, turns, 2, spans, &why), 0);
    assert_int_equal(chat_template_encode(&t, &ids, NULL, turns, 1, spans, &why), -1);
    assert_non_null(strstr(why.text, "the last prompt is a <tool_response>"));
    token_buffer_release(&ids);
    chat_template_close(&t);
}

/* After an answer in a dialogue, the next prompt is worded as in the reference, without the
 * thinking. */
static void test_a_dialogue_drops_the_thinking(void **state)
{
    (void)state;
    static const char *const templates[] = { "qwen3", "qwen3-no-think", "deepseek-r1" };
    static const char answer[] = "<think>\na b</think>\n\nthe answer";
    const struct tokenizer *bytes = tokenizer_of("bytes");
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        struct chat_template t;
        struct token_buffer said = { 0 }, wanted = { 0 };
        size_t dropped;
        const struct chat_exchange first = { "q", "the answer", NULL, NULL },
                                   second = { "r", NULL, NULL, NULL };
        const struct chat_exchange spaced = { "q", "\n\nthe answer", NULL, NULL };
        if (chat_template_open(&t, templates[i], bytes, &why)) fail_msg("%s", why.text);
        struct talk talk = { .template = &t, .context = 1000 };
        assert_int_equal(talk_ask(&talk, "q", 0, &dropped, &why), 0);
        assert_int_equal(tokenizer_encode_after(bytes, &said, answer, strlen(answer), &why), 0);
        struct answer a = { .ids = said.ids, .count = (int64_t)said.count };
        assert_int_equal(talk_answered(&talk, &a, &why), 0);
        assert_int_equal(talk_ask(&talk, "r", 0, &dropped, &why), 0);
        assert_int_equal(
            chat_template_turn(&t, &wanted, NULL, i == 2 ? &spaced : &first, true, &why), 0);
        assert_int_equal(chat_template_prompt(&t, &wanted, NULL, &second, false, &why), 0);
        assert_int_equal(talk.ids.count, wanted.count);
        assert_memory_equal(talk.ids.ids, wanted.ids, wanted.count * sizeof *wanted.ids);
        talk_release(&talk);
        token_buffer_release(&said);
        token_buffer_release(&wanted);
        chat_template_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form_of_a_text),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_every_template_has_a_case),
        cmocka_unit_test(test_how_records_are_read),
        cmocka_unit_test(test_template_by_name_or_text),
        cmocka_unit_test(test_unknown_texts_are_refused),
        cmocka_unit_test(test_conversations_that_are_refused),
        cmocka_unit_test(test_a_token_across_the_border_belongs_to_the_answer),
        cmocka_unit_test(test_composed_prompts_move_no_answer),
        cmocka_unit_test(test_templates_that_are_refused),
        cmocka_unit_test(test_thinking_that_is_refused),
        cmocka_unit_test(test_a_dialogue_drops_the_thinking),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
