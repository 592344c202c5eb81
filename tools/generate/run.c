#include "tools/generate/run.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/file.h"
#include "lib/common/hub_name.h"
#include "lib/common/input.h"
#include "lib/common/mapped.h"
#include "lib/common/message.h"
#include "lib/common/utf8.h"
#include "lib/common/vocabulary.h"
#include "tools/generate/needs.h"
#include "tools/generate/template_choice.h"
#include "tools/generate/together.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fail why;

/* Finds the tokenizer's file and writes its path. Returns false if there is none. The adapter's own
 * tokenizer is preferred to the base's, because the adapter may have added tokens. */
static bool locate_tokenizer(const struct options *o, char *path, size_t size, bool *is_adapters)
{
    const char *places[] = { o->loaded.adapter, o->loaded.model };
    *is_adapters = false;
    if (o->tokenizer) {
        /* a failure is reported when the file is opened */
        (void)tokenizer_locate(o->tokenizer, path, size);
        return true;
    }
    for (int i = 0; i < 2; i++)
        if (places[i] && weights_have_companions(places[i]) &&
            tokenizer_locate(places[i], path, size)) {
            *is_adapters = i == 0;
            return true;
        }
    return false;
}

NORETURN static void refuse_model(const struct options *o)
{
    const char *model = o->loaded.model;
    die_usage("%s: %s: name one with --tokenizer DIR%s", file_shown(model),
              file_is_folder(model) ? "neither tokenizer.model nor tokenizer.json in it"
                                    : "a weights stream, which has no tokenizer",
              o->loaded.adapter ? " (there is none in the adapter's directory either)" : "");
}

/* True if the file does not begin as a file of weights does. When such a file is opened later, the
 * message says what it is. */
static bool is_other_file(const char *path)
{
    char head[4];
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode)) return false;
    bool is_whole = file_read_head(path, head, sizeof head, &(struct fail){ 0 }) == sizeof head;
    return !is_whole || memcmp(head, "\x28\xb5\x2f\xfd", 4) != 0;
}

void run_find_tokenizer(const struct options *o)
{
    char path[4096];
    bool is_adapters;
    if (o->tokenizer && access(o->tokenizer, F_OK)) {
        (void)hub_name_absent(o->tokenizer, errno, &why);
        die(STATUS_FAILED, "--tokenizer %s", why.text);
    }
    if (!locate_tokenizer(o, path, sizeof path, &is_adapters) && !is_other_file(o->loaded.model))
        refuse_model(o);
}

struct tokenizer *run_tokenizer(const struct options *o, const struct loaded *l)
{
    struct tokenizer *t;
    char path[4096];
    long long vocab = l->config.vocab;
    bool is_adapters;
    if (!locate_tokenizer(o, path, sizeof path, &is_adapters)) refuse_model(o);
    or_die(tokenizer_open(&t, o->tokenizer ? o->tokenizer : path, &why), &why);
    const char *remark = tokenizer_remark(t, !o->no_bos && !o->chat);
    if (remark) warn("%s", remark);
    if (is_adapters) note("tokenizer: the adapter's own, %s", path);
    const struct vocabulary own = { .tokenizer = is_adapters ? NULL : tokenizer_digest(t),
                                    .size = tokenizer_pieces(t) };
    const struct vocabulary model = { file_shown(o->loaded.model), l->weights.tokenizer,
                                      (uint64_t)vocab, NULL, 0 };
    if (vocabulary_check(&own, &model,
                         "--tokenizer names the directory of the model that the weights were made "
                         "of",
                         &why))
        or_die(fail_in(&why, path), &why);
    if (tokenizer_vocab(t) > vocab)
        note("%s: added tokens from %lld on are beyond the model's rows, and refused in a prompt",
             path, vocab);
    if (tokenizer_vocab(t) < vocab)
        warn("%s: the tokenizer has %u tokens, but %s has %lld rows: tokens of the other rows are "
             "never generated",
             path, tokenizer_vocab(t), o->loaded.model, vocab);
    return t;
}

/* Replaces CR LF by LF, as Python does when it reads text. Returns the new length. */
static size_t mend_line_ends(char *text, size_t bytes)
{
    size_t to = 0;
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != '\r' || i + 1 == bytes || text[i + 1] != '\n') text[to++] = text[i];
    return to;
}

/* Refuses one of our own streams, and warns of any other known file format. */
static void check_kind(const struct input *in)
{
    enum file_kind kind = input_kind(in);
    if (kind == FILE_KIND_LONGQLORA)
        die(STATUS_INPUT, "%s: %s, where a prompt is needed", input_name(in),
            file_kind_words(kind));
    if (kind != FILE_KIND_OTHER)
        warn("%s: %s: it is read as plain text, with all its markup", input_name(in),
             file_kind_words(kind));
}

/* Returns the prompt as one text, without the newline at the end of the file. The caller frees it;
 * NULL: out of memory. */
static char *read_prompt(const struct options *o)
{
    struct input *in;
    char *text, *copy;
    size_t bytes;
    if (o->prompt) return strdup(o->prompt);
    if (!o->prompt_file || !strcmp(o->prompt_file, "-")) note_if_typed("-", "the prompt");
    or_die(input_open(&in, o->prompt_file ? o->prompt_file : "-", &why), &why);
    check_kind(in);
    or_die(input_rest(in, &text, &bytes, &why), &why);
    if (memchr(text, 0, bytes))
        die(STATUS_INPUT, "%s: a NUL character in the prompt: not a text", input_name(in));
    size_t valid = utf8_valid_prefix(text, bytes);
    if (valid < bytes)
        die(STATUS_INPUT, "%s: byte %zu: invalid UTF-8 (" UTF8_ADVICE ")", input_name(in),
            valid + 1);
    bytes = mend_line_ends(text, bytes);
    if (bytes && text[bytes - 1] == '\n') bytes--;
    if (!bytes && !o->chat) note("%s: the prompt is empty", input_name(in));
    copy = strndup(text, bytes);
    input_close(in);
    return copy;
}

static int write_out(const char *text, size_t bytes, struct fail *f)
{
    for (ssize_t n; bytes; text += n, bytes -= (size_t)n) {
        n = write(STDOUT_FILENO, text, bytes);
        if (n < 0 && errno == EINTR) n = 0;
        if (n < 0) return fail(f, "standard output: cannot write: %m");
    }
    return 0;
}

int run_emit(void *arg, const char *text, size_t bytes, struct fail *f)
{
    char shown[1024];
    (void)arg;
    if (!isatty(STDOUT_FILENO)) return write_out(text, bytes, f);
    for (size_t taken; bytes; text += taken, bytes -= taken) {
        size_t length = message_escape(text, bytes, &taken, shown, sizeof shown);
        if (write_out(shown, length, f)) return -1;
    }
    return 0;
}

static void report(const struct answer *a, int64_t prompt)
{
    char rate[48] = "";
    if (a->steps && a->write_seconds > 0)
        snprintf(rate, sizeof rate, ": %.1f tokens/s", (double)a->steps / a->write_seconds);
    note("prompt of %lld tokens in %.2f s, %lld tokens in %.2f s%s, ended by %s", (long long)prompt,
         a->read_seconds, (long long)a->count, a->write_seconds, rate, ending_name(a->ending));
}

static void open_session(struct generator *g, const struct options *o, struct loaded *l,
                         int64_t context, struct answer *a)
{
    char rope[160], loaded[120];
    struct model_setup setup = needs_set_up(o, context);
    config_describe_rope(&l->config, rope, sizeof rope);
    weights_describe(&l->weights, loaded, sizeof loaded);
    note("rope: %s; context: %lld; base: %s%s, %s", rope, (long long)context,
         l->weights.is_quantized ? "nf4" : "unquantized", l->has_adapter ? " + adapter" : "",
         loaded);
    if (context > config_context(&l->config))
        warn("a context of %lld is beyond the %lld that the model's positions allow",
             (long long)context, (long long)config_context(&l->config));
    together_tell(o, context);
    needs_check(o, l, context);
    together_barrier(o);
    or_die(session_open(&g->session, l, &setup, &why), &why);
    model_forget_weights(g->session.model, &l->weights);
    or_die(mapped_check(&why), &why); /* on a GPU the weights have been copied by now */
    a->ids = malloc((size_t)context * sizeof *a->ids);
    if (!a->ids) die(STATUS_FAILED, "out of memory");
}

static void begin_reading(int64_t first, int64_t total)
{
    struct progress p = { .unit = "tokens", .total = (double)total, .first = (double)first };
    progress_begin(&p);
}

static void read_until(int64_t done) { progress_at((double)done); }

static const struct session_watch shown = { begin_reading, read_until, progress_end };

/* Answers one text. The context is only as long as prompt and answer need, which saves memory. */
static void answer_one(struct generator *g, struct talk *t, const struct options *o,
                       struct loaded *l, int64_t most, struct answer *a)
{
    struct token_buffer own = { 0 }, *ids = t ? &t->ids : &own;
    size_t dropped;
    char *prompt = read_prompt(o);
    if (!prompt) die(STATUS_FAILED, "out of memory");
    if (t)
        or_die(talk_ask(t, prompt, 0, &dropped, &why), &why);
    else
        or_die(generator_encode(g, prompt, strlen(prompt), !o->no_bos, ids, &why), &why);
    if (ids->dropped)
        warn("the prompt: %llu characters or bytes have no piece in this vocabulary and gave no "
             "token",
             (unsigned long long)ids->dropped);
    free(prompt);
    int64_t count = (int64_t)ids->count, context = count + o->max_tokens;
    or_die(generator_fits(count, most, &why), &why);
    if (context > most) context = most;
    if (o->verbose) generator_note_ids("ids", ids->ids, count);
    if (o->dry_run) {
        needs_print(o, l, context);
    } else {
        open_session(g, o, l, context, a);
        g->session.watch = &shown;
        or_die(generator_answer(g, ids->ids, count, a, &why), &why);
        or_die(run_emit(NULL, "\n", 1, &why), &why);
        or_die(generator_check_model(g, &why), &why);
        report(a, count);
    }
    token_buffer_release(&own);
}

void run_plan(const struct options *o, const struct loaded *l)
{
    needs_print(o, l, needs_context(o, l));
}

void run(struct generator *g, const struct options *o, struct loaded *l)
{
    int64_t context = needs_context(o, l);
    struct chat_template template = { 0 };
    struct talk talk = { .g = g, .template = &template, .system = o->system, .context = context };
    struct talk *chat = o->chat ? &talk : NULL;
    talk.ids.parses_special = o->parse_special;
    struct answer a = { 0 };
    const struct request asked = { .sampling = o->sampling,
                                   .max_tokens = o->max_tokens,
                                   .stops = o->stops };
    const char *file = o->prompt_file ? o->prompt_file : "-";
    bool is_given = o->prompt || o->prompt_file, is_lines = !strcmp(o->format, "jsonl");
    bool is_one = !is_lines && (is_given || !(chat && isatty(STDIN_FILENO)));
    if (chat) {
        template_choice_make(&template, o, l, g->tokenizer);
        end_tokens_add(&g->ends, template.end);
    } else {
        template_choice_remark(l);
        template_choice_add_end(&g->ends, l, g->tokenizer);
    }
    if (is_one) {
        answer_one(g, chat, o, l, context, &a);
    } else {
        if (!o->context) talk.context = context = together_shorten(o, l, context);
        open_session(g, o, l, context, &a);
        if (!is_lines) g->session.watch = &shown;
        if (is_lines && !strcmp(file, "-")) note_if_typed("-", "JSON lines");
        if (is_lines)
            or_die(lines_answer(g, chat, &asked, !o->no_bos, file, &a, &why), &why);
        else
            or_die(talk_on_terminal(chat, &a, o->verbose, &why), &why);
    }
    talk_release(&talk);
    chat_template_close(&template);
    free(a.ids);
}
