/* generate - continues a text, or holds a conversation, with a model and an optional adapter. */
#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "tools/generate/run.h"

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
    g.rows = l->config.vocab;
    int64_t vocab = tokenizer_vocab(t) < g.rows ? tokenizer_vocab(t) : g.rows;
    or_die(sampler_open(&g.sampler, &o->sampling, vocab, &why), &why);
    run(&g, o, l);
    session_close(&g.session);
    speech_release(&g.speech);
    sampler_close(g.sampler);
    tokenizer_close(t);
}

static void work(struct options *o)
{
    struct loaded l;
    char remark[400];
    options_check(o);
    options_declare_files(o);
    options_check_unused(o);
    /* The plan of --dry-run needs neither weights nor tokenizer, unless a prompt is to be
     * measured. */
    o->loaded.is_outline = o->dry_run && !o->prompt && !o->prompt_file;
    if (!o->loaded.is_outline) {
        check_places(o);
        run_check_early(o);
        o->loaded.check = run_check_outline;
        o->loaded.arg = o;
    }
    or_die(loaded_open(&l, &o->loaded, &why), &why);
    if (config_remark(&l.config, remark, sizeof remark))
        warn("%s: %s", file_shown(o->loaded.model), remark);
    if (o->loaded.is_outline)
        run_plan(o, &l);
    else
        generate(o, &l);
    loaded_close(&l);
}

int main(int argc, char **argv)
{
    struct options o = { .sampling = { .top_p = 1, .repetition = 1 },
                         .format = "text",
                         .device = "auto",
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
        { "temperature", 't', OPT_REAL, &o.sampling.temperature, "T",
          "randomness of the draws; 0: always the most likely token", 0 },
        { "top-k", 0, OPT_COUNT, &o.sampling.top_k, "K",
          "draw from the K most likely tokens; 0: from all", 0 },
        { "top-p", 0, OPT_REAL, &o.sampling.top_p, "P",
          "draw from the fewest tokens whose probabilities add up to P", 0 },
        { "min-p", 0, OPT_REAL, &o.sampling.min_p, "P",
          "draw from tokens at least P times as likely as the most likely one", 0 },
        { "repetition-penalty", 0, OPT_REAL, &o.sampling.repetition, "R",
          "make tokens that are already in the text less likely; 1: off", 0 },
        { "seed", 's', OPT_COUNT, &o.sampling.seed, "N", "seed of the draws", OPT_ANY_COUNT },
        { "stop", 0, OPT_LIST, &o.stops, "TEXT",
          "end the answer before this text; may be given several times", 0 },
        { "no-bos", 0, OPT_FLAG, &o.no_bos, 0,
          "do not begin with BOS, even if the tokenizer's files ask for it", 0 },
        { "parse-special", 0, OPT_FLAG, &o.parse_special, 0,
          "turn the text of a special token in a prompt into that token", 0 },
        LOADED_OPTIONS(o.loaded, "position scaling in place of the model's or the adapter's",
                       "accept an adapter that was trained on another base"),
        { "dry-run", 0, OPT_FLAG, &o.dry_run, 0,
          "print the memory that is needed, and exit; without a prompt a config.json is enough",
          0 },
        { "verbose", 'v', OPT_FLAG, &o.verbose, 0, "print the token ids that the model reads", 0 },
        { "device", 0, OPT_TEXT, &o.device, "NAME", "where to compute: " KERNELS_DEVICES, 0 },
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
    const char **operands = opt_parse(argc, argv, &program);
    work(&o);
    free(o.stops.at);
    free(operands);
    return 0;
}
