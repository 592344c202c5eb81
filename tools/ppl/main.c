/* ppl - perplexity by context length, full attention, by a stated protocol. */
#include "../../lib/common/die.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/progress.h"
#include "../../lib/llama/loaded.h"
#include "corpus.h"
#include "report.h"

#include <unistd.h>

enum { CONTEXTS_MAX = 64 };

struct options {
    struct loaded_options loaded;
    const char *data, *contexts, *protocol, *source, *to, *output, *device, *from;
    int64_t stride, max_tokens;
};

static struct fail why;

static int parse_contexts(const char *text, int64_t contexts[CONTEXTS_MAX])
{
    int n = 0;
    for (const char *at = text;; at++) {
        char *end;
        long long value = strtoll(at, &end, 10);
        if (end == at || value < 2 || value > 1 << 24 || (*end && *end != ','))
            die_usage("--context: '%s' is not a list of lengths of at least 2", text);
        if (n == CONTEXTS_MAX) die_usage("--context: at most %d lengths", CONTEXTS_MAX);
        contexts[n++] = value;
        at = end;
        if (!*at) return n;
    }
}

static struct model *open_model(const struct options *o, const struct loaded *l,
                                const int64_t *contexts, int n)
{
    struct model *m;
    struct model_setup setup = { .method = METHOD_FROZEN,
                                 .device = o->device,
                                 .threads = (int)opt_standard.threads };
    for (int i = 0; i < n; i++) {
        if (contexts[i] > setup.positions) setup.positions = contexts[i];
        if (protocol_rows(contexts[i]) > setup.rows) setup.rows = protocol_rows(contexts[i]);
    }
    setup.chunk = setup.rows < 1024 ? setup.rows : 1024;
    or_die(loaded_model(l, &setup, &m, &why), &why);
    return m;
}

static void show(void *arg, int64_t window, int64_t windows)
{
    (void)windows;
    progress_show(arg, (uint64_t)window, NULL);
}

static void write_report(const struct options *o, const struct report *r)
{
    const char *to = o->to;
    if (!strcmp(to, "auto"))
        to = !strcmp(o->output, "-") && isatty(STDOUT_FILENO) ? "table" : "scores";
    if (!strcmp(to, "table"))
        or_die(report_table(r, o->output, &why), &why);
    else if (!strcmp(to, "json"))
        or_die(report_json(r, o->output, &why), &why);
    else
        or_die(report_stream(r, o->output, &why), &why);
}

static void measure(const struct options *o, const struct loaded *l)
{
    const struct weights *w = &l->weights;
    const struct config *c = &l->config;
    int64_t contexts[CONTEXTS_MAX];
    struct score scores[CONTEXTS_MAX];
    char rope[160], loaded[120];
    int n = parse_contexts(o->contexts, contexts);
    struct protocol p = { .name = o->protocol, .stride = o->stride, .max_tokens = o->max_tokens };
    struct corpus corpus = corpus_read(o->data, view_of(o->from), o->source, w);
    p.bos = corpus.bos;
    struct model *m = open_model(o, l, contexts, n);
    config_describe_rope(c, rope, sizeof rope);
    weights_describe(w, loaded, sizeof loaded);
    note("rope: %s; attention: full; base: %s, %s; device: %s, %s", rope,
         w->is_quantized ? "nf4" : "unquantized", loaded, model_kernels(m)->name,
         model_kernels(m)->act_name);
    for (int i = 0; i < n; i++) {
        struct progress bar;
        if (contexts[i] > config_context(c))
            note("context %lld is beyond the %lld that the positions are made for",
                 (long long)contexts[i], (long long)config_context(c));
        progress_start(&bar, "ppl", "windows", 0, opt_standard.progress, opt_standard.quiet);
        or_die(protocol_run(&p, m, corpus.ids, corpus.count, contexts[i], &scores[i], show, &bar,
                            &why),
               &why);
        progress_end(&bar);
    }
    struct report r = { .model = w->stream[0] ? w->stream : w->base,
                        .base = w->base,
                        .adapter = l->has_adapter ? l->adapter.digest : "",
                        .rope = rope,
                        .tokenizer = w->tokenizer,
                        .protocol = o->protocol,
                        .definition = protocol_definition(o->protocol),
                        .dtype = model_kernels(m)->act_name,
                        .quantization = w->is_quantized ? "nf4" : "none",
                        .source = o->source ? o->source : "",
                        .data = corpus.digest,
                        .stride = o->stride,
                        .scores = scores,
                        .count = n };
    write_report(o, &r);
    model_close(m);
    free(corpus.ids);
}

int main(int argc, char **argv)
{
    struct options o = { .contexts = "1024,2048,4096,8192",
                         .protocol = "longqlora",
                         .to = "auto",
                         .output = "-",
                         .device = "auto",
                         .data = "-",
                         .from = "stream",
                         .loaded = { .with_base = true } };
    struct opt table[] = {
        { "model", 'm', OPT_TEXT, &o.loaded.model, "MODEL",
          "model directory, or weights stream; - is standard input", 0 },
        { "adapter", 'a', OPT_TEXT, &o.loaded.adapter, "DIR", "PEFT adapter directory", 0 },
        { "data", 'd', OPT_TEXT, &o.data, "FILE", "stream of tokens", 0 },
        { "from", 0, OPT_WORD, &o.from, "HOW",
          "what the data is: our stream, JSON lines, or bare little-endian numbers", VIEW_WORDS },
        { "context", 'c', OPT_TEXT, &o.contexts, "LENGTHS", "context lengths to measure at", 0 },
        { "protocol", 0, OPT_WORD, &o.protocol, "NAME", "windows, scored positions, average",
          "longqlora|longlora|sliding|llamacpp" },
        { "stride", 0, OPT_COUNT, &o.stride, "N", "between windows; 0: as the protocol says", 0 },
        { "max-tokens", 0, OPT_COUNT, &o.max_tokens, "N",
          "measure only on the first so many; 0: all", 0 },
        { "source", 0, OPT_TEXT, &o.source, "NAME", "only documents of that source", 0 },
        { "rope", 0, OPT_TEXT, &o.loaded.rope, "HOW",
          "none, or linear, ntk, dynamic or yarn with :FACTOR, instead of what model and adapter "
          "say",
          0 },
        { "original-context", 0, OPT_COUNT, &o.loaded.original_context, "N",
          "the base's context before interpolation; 0: as its config says", 0 },
        { "force-base", 0, OPT_FLAG, &o.loaded.force_base, 0, "take an adapter of another base",
          0 },
        { "to", 0, OPT_WORD, &o.to, "HOW", "auto: a table on a terminal, else a stream of scores",
          "auto|table|scores|json" },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "where the scores go; - is standard output",
          0 },
        { "device", 0, OPT_TEXT, &o.device, "NAME", "auto, cpu, cpu-bf16 or cuda", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "ppl",
        .summary = "measure perplexity by context length",
        .usage = "ppl --model MODEL --data TOKENS [options]",
        .example = "ppl --model Llama-2-7b-hf --adapter run/ --data pg19.tok --context 4096,8192",
        .table = table,
        .no_operands = true,
    };
    const char **operands = opt_parse(argc, argv, &program);
    struct loaded l;
    if (!o.loaded.model) die_usage("--model is needed");
    if (!strcmp(o.loaded.model, "-") && !strcmp(o.data, "-"))
        die_usage("--data is needed: standard input is the model");
    or_die(loaded_open(&l, &o.loaded, &why), &why);
    measure(&o, &l);
    loaded_close(&l);
    free(operands);
    return 0;
}
