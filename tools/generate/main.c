/* generate - continues a text, or holds a conversation, with a model and an optional adapter. */
#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "tools/generate/generation_config.h"
#include "tools/generate/needs.h"
#include "tools/generate/run.h"
#include "tools/generate/together.h"

static struct fail why;

/* Finds mistakes in paths early, because reading the weights may take minutes. */
static void check_places(const struct options *o)
{
    const struct kernels *k;
    or_die(loaded_check_places(&o->loaded, &why), &why);
    or_die(kernels_choose(&k, o->device, o->dry_run, &why), &why);
    run_find_tokenizer(o);
}

static void generate(const struct options *o, struct loaded *l)
{
    struct tokenizer *t = run_tokenizer(o, l);
    struct generator g = { .tokenizer = t,
                           .max_tokens = o->max_tokens,
                           .parses_special = o->parse_special };
    g.speech = (struct speech){
        .tokenizer = t, .stops = &o->stops, .emit = run_emit, .strips = o->chat != NULL
    };
    or_die(generator_find_eos(&g, o->loaded.model, &l->config, &why), &why);
    or_die(generation_config_tell(o->loaded.model, &o->sampling, &why), &why);
    g.rows = l->config.vocab;
    int64_t vocab = tokenizer_vocab(t) < g.rows ? tokenizer_vocab(t) : g.rows;
    or_die(sampler_open(&g.sampler, &o->sampling, vocab, &why), &why);
    run(&g, o, l);
    together_end(o, &g.session);
    session_close(&g.session);
    speech_release(&g.speech);
    sampler_close(g.sampler);
    tokenizer_close(t);
}

static void plan(const struct options *o, const struct loaded *l)
{
    struct session none = { 0 };
    run_plan(o, l);
    together_end(o, &none);
}

/* Opens the ranks that share the model's work. */
static void open_ranks(struct options *o)
{
    /* Without segments, each process of a launch is a run of its own. */
    int64_t asked = o->asked_ranks || o->segments > 1 ? o->asked_ranks : 1;
    o->ranks = launch_open(asked, o->rank_timeout, o->dry_run);
    o->threads = launch_threads(opt_standard.threads);
    o->parts = ranks_place(o->ranks)->count;
    if (o->dry_run && o->asked_ranks > 1) o->parts = o->asked_ranks;
    /* The ranks compare the digests of their models. */
    if (ranks_place(o->ranks)->count > 1) o->loaded.with_base = true;
}

static void work(struct options *o)
{
    struct loaded l;
    char remark[400];
    options_check(o);
    options_declare_files(o);
    if (options_is_first(o)) options_check_unused(o);
    together_on_options(o);
    /* The plan of --dry-run needs neither weights nor tokenizer, unless a prompt is to be
     * measured. */
    o->loaded.is_outline = o->dry_run && !o->prompt && !o->prompt_file;
    if (!o->loaded.is_outline) {
        check_places(o);
        needs_check_early(o);
        o->loaded.check = needs_check_outline;
        o->loaded.arg = o;
    }
    or_die(loaded_open(&l, &o->loaded, &why), &why);
    if (options_is_first(o) && config_remark(&l.config, remark, sizeof remark))
        warn("%s: %s", file_shown(o->loaded.model), remark);
    together_on_model(o, &l);
    if (!options_is_first(o))
        together_follow(o, &l);
    else if (o->loaded.is_outline)
        plan(o, &l);
    else
        generate(o, &l);
    loaded_close(&l);
}

int main(int argc, char **argv)
{
    struct options o = { .sampling = { .top_p = 1, .repetition = 1 },
                         .format = "text",
                         .device = "auto",
                         .rank_timeout = 600,
                         .segments = 1,
                         .max_tokens = 256 };
    struct opt table[] = {
        { "model", 'm', OPT_TEXT, &o.loaded.model, "MODEL",
          "model directory, GGUF file, or weights stream; - is standard input", 0 },
        { "adapter", 'a', OPT_TEXT, &o.loaded.adapter, "DIR", "PEFT adapter directory", 0 },
        { "tokenizer", 0, OPT_TEXT, &o.tokenizer, "FILE",
          "the tokenizer.model, tokenizer.json or GGUF file, or its directory; without the option "
          "the adapter's, else the model's",
          0 },
        { "prompt", 'p', OPT_TEXT, &o.prompt, "TEXT", "continue this text", 0 },
        { "prompt-file", 'f', OPT_TEXT, &o.prompt_file, "FILE",
          "continue the text of this file; without the option, the text of standard input", 0 },
        { "format", 0, OPT_WORD, &o.format, "HOW",
          "what the file is: one prompt, or JSON lines of prompts, which are answered as JSON "
          "lines",
          "text|jsonl" },
        { "chat", 0, OPT_TEXT, &o.chat, "TEMPLATE",
          "converse turn by turn on a terminal, elsewhere answer once; the template "
          "is " CHAT_TEMPLATES "; without a name: auto",
          "auto" },
        { "system", 0, OPT_TEXT, &o.system, "TEXT", "the system prompt of the conversation", 0 },
        { "max-new-tokens", 'n', OPT_COUNT, &o.max_tokens, "N",
          "largest number of tokens in an answer", 0 },
        { "context", 'c', OPT_COUNT, &o.context, "N",
          "largest number of tokens in prompt and answer; 0: as many as the model's context and "
          "the memory allow",
          0 },
        { "exact-cache", 0, OPT_FLAG, &o.exact_cache, 0,
          "store keys and values as they are computed: on a CPU in f32 instead of f16", 0 },
        SAMPLING_OPTIONS(o.sampling),
        { "stop", 0, OPT_LIST, &o.stops, "TEXT",
          "end the answer before this text; may be given several times", 0 },
        { "no-bos", 0, OPT_FLAG, &o.no_bos, 0,
          "do not begin with BOS, even if the tokenizer's files ask for it", 0 },
        { "parse-special", 0, OPT_FLAG, &o.parse_special, 0,
          "turn the text of a special token in a prompt into that token", 0 },
        LOADED_OPTIONS(
            o.loaded, "position scaling in place of the model's, unless the adapter stores its own",
            "accept an adapter that was trained on another base"),
        { "dry-run", 0, OPT_FLAG, &o.dry_run, 0,
          "print the memory that is needed, and exit; without a prompt a config.json is enough",
          0 },
        { "verbose", 'v', OPT_FLAG, &o.verbose, 0, "print the token ids that the model reads", 0 },
        { "device", 0, OPT_OFFERED, &o.device, "NAME", "where to compute: " KERNELS_DEVICES,
          KERNELS_NAMES("|", "|") },
        LAUNCH_OPTIONS(o.asked_ranks, o.rank_timeout,
                       "how many processes a launcher started to share the model's work; 1: this "
                       "process is a run of its own"),
        { "context-segments", 0, OPT_COUNT, &o.segments, "S",
          "read the text in pieces of S segments, which up to S ranks compute together", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "generate",
        .summary = "continue a text or hold a conversation with a model",
        .usage = "generate --model MODEL [--adapter DIR] [--chat longqlora] [options] < prompt",
        .example = "generate --model Llama-2-7b-8k --prompt 'In the beginning' --temperature 0.7",
        .table = table,
        .no_operands = true,
    };
    launch_begin();
    const char **operands = opt_parse(argc, argv, &program);
    open_ranks(&o);
    work(&o);
    launch_close(STATUS_DONE);
    free(o.stops.at);
    free(operands);
    return 0;
}
