#include "tools/generate/generator.h"

#include "lib/common/clock.h"
#include "lib/common/file.h"
#include "lib/common/mapped.h"
#include "lib/common/message.h"
#include "lib/common/vocabulary.h"

#include <unistd.h>

const char *ending_name(enum ending e)
{
    static const char *const names[] = { "eos", "stop", "length", "context", "interrupted" };
    return names[e];
}

int generator_find_eos(struct generator *g, const char *model, const struct config *c,
                       struct fail *why)
{
    char path[4096];
    json_t *config = json_copy(c->json);
    if (!config) return fail(why, "out of memory");
    int status = end_tokens_read_generation_config(config, model, why);
    if (!status && end_tokens_parse(&g->ends, json_object_get(config, "eos_token_id"), why)) {
        bool is_folder = file_is_folder(model);
        snprintf(path, sizeof path, is_folder ? "%s/config.json" : "%s", file_shown(model));
        status = fail_in(why, path);
    }
    json_decref(config);
    uint32_t own = tokenizer_eos(g->tokenizer);
    if (!g->ends.count && own != UINT32_MAX) end_tokens_add(&g->ends, own);
    return status;
}

int generator_encode(const struct generator *g, const char *text, size_t bytes, bool adds_bos,
                     struct token_buffer *ids, struct fail *why)
{
    uint32_t begin = tokenizer_begin(g->tokenizer);
    ids->count = 0;
    ids->parses_special = g->parses_special;
    if (adds_bos && begin != UINT32_MAX && token_buffer_add(ids, &begin, 1, why)) return -1;
    if (tokenizer_encode(g->tokenizer, ids, text, bytes, why)) return -1;
    return ids->count
               ? 0
               : fail_input(
                     why, "the prompt is empty, and there is no BOS to begin with: write a prompt");
}

static int write_answer(struct generator *g, struct answer *a, struct fail *why)
{
    struct session *s = &g->session;
    for (;;) {
        if (setup_is_stopped(model_setup_of(s->model))) {
            a->ending = END_INTERRUPTED;
            return 0;
        }
        if (a->count == g->max_tokens || s->count == s->context) {
            a->ending = a->count == g->max_tokens ? END_LENGTH : END_CONTEXT;
            return 0;
        }
        uint32_t id = sampler_draw(g->sampler, s->logits, s->ids, s->count);
        if (end_tokens_have(&g->ends, id)) {
            a->ending = END_EOS;
            return 0;
        }
        a->ids[a->count++] = id;
        int emitted = speech_token(&g->speech, id, why);
        if (emitted) {
            a->ending = END_STOP;
            return emitted < 0 ? -1 : 0;
        }
        bool is_last = a->count == g->max_tokens;
        if (is_last) continue;
        if (session_append(s, id, why) < 0) return -1;
        a->steps++;
    }
}

int generator_fits(int64_t count, int64_t context, struct fail *why)
{
    if (count < context) return 0;
    return fail_input(why,
                      "a prompt of %lld tokens, but the context holds %lld with the answer: "
                      "shorten it, or raise --context",
                      (long long)count, (long long)context);
}

int generator_check_prompt(const struct generator *g, const uint32_t *prompt, int64_t count,
                           struct fail *why)
{
    const struct vocabulary tokens = { .ids = prompt, .count = (size_t)count };
    const struct vocabulary model = { .name = "the model", .size = (uint64_t)g->rows };
    if (vocabulary_check(&tokens, &model,
                         "the tokenizer has added tokens for which this model has no rows", why))
        return fail_in(why, "the prompt");
    return generator_fits(count, g->session.context, why);
}

int generator_answer(struct generator *g, const uint32_t *prompt, int64_t count, struct answer *a,
                     struct fail *why)
{
    struct session *s = &g->session;
    double start = clock_seconds();
    a->count = a->steps = 0;
    if (generator_check_prompt(g, prompt, count, why) || session_read(s, prompt, count, why) < 0)
        return -1;
    double middle = clock_seconds();
    a->shared = s->reused;
    speech_begin(&g->speech, prompt[count - 1]);
    if (write_answer(g, a, why) || speech_end(&g->speech, why)) return -1;
    a->read_seconds = middle - start;
    a->write_seconds = clock_seconds() - middle;
    return 0;
}

void generator_note_ids(const char *what, const uint32_t *ids, int64_t count)
{
    char text[4096];
    size_t used = (size_t)snprintf(text, 64, "%s:", what);
    for (int64_t i = 0; i < count; i++) {
        if (used + 16 > sizeof text) {
            message_write(text, used);
            used = 0;
        }
        used += (size_t)snprintf(text + used, sizeof text - used, " %u", ids[i]);
    }
    text[used++] = '\n';
    message_write(text, used);
}

int generator_check_model(const struct generator *g, struct fail *why)
{
    /* On a GPU nothing is checked, because it has its own copy of the weights. */
    return model_kernels(g->session.model)->is_host ? mapped_check(why) : 0;
}
