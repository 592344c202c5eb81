/* needle - makes prompts with needles hidden in long texts, and scores the answers to them. */
#include "lib/cli/die.h"
#include "lib/common/file_guard.h"
#include "lib/common/output.h"
#include "lib/llama/model_guard.h"
#include "lib/tokenizer/chat_template.h"
#include "tools/needle/make.h"
#include "tools/needle/score.h"

static struct fail why;

static void declare_files(const struct options *o, const char **files)
{
    if (o->model) or_die(model_guard_input("--model ", o->model, &why), &why);
    if (o->template) or_die(file_guard_input("--template ", o->template, &why), &why);
    if (o->filler) or_die(file_guard_input("--filler ", o->filler, &why), &why);
    if (o->wording) or_die(file_guard_input("--wording ", o->wording, &why), &why);
    for (; *files; files++)
        or_die(file_guard_input("", *files, &why), &why);
    if (o->samples && !opt_standard.quiet) or_die(output_check_apart(o->output, &why), &why);
    die_unless_writable("-o ", o->output);
    for (int i = 0; i < o->figures.count; i++)
        die_unless_writable("--figure ", o->figures.at[i]);
}

static void work(const struct options *o, const char **operands)
{
    static const char *standard_input[] = { "-", NULL };
    struct plan plan;
    const char *command = operands[0], **files = operands + 1;
    if (!command) die_usage("say what to do: make or score");
    if (!strcmp(command, "make")) {
        options_make(o, operands, &plan);
        declare_files(o, files);
        make(o, &plan);
    } else if (!strcmp(command, "score")) {
        options_score(o);
        if (!*files) files = standard_input;
        declare_files(o, files);
        score(o, files);
    } else {
        die_usage("'%s' is neither make nor score", command);
    }
}

int main(int argc, char **argv)
{
    struct options o = { .tasks = "single",
                         .lengths = "1024,2048,4096,8192",
                         .depths = "0,25,50,75,100",
                         .count = 1,
                         .seed = 42,
                         .to = "auto",
                         .output = "-" };
    struct opt table[] = {
        { "model", 'm', OPT_TEXT, &o.model, "FILE",
          "the model's tokenizer.model, tokenizer.json or GGUF file, or a directory with one of "
          "the first two",
          0 },
        { "lengths", 'l', OPT_TEXT, &o.lengths, "TOKENS",
          "lengths of the finished prompts in tokens, template included", 0 },
        { "depths", 0, OPT_TEXT, &o.depths, "PERCENT",
          "how much of the text stands before the needle", 0 },
        { "tasks", 0, OPT_TEXT, &o.tasks, "NAMES",
          "kinds of prompts: single, multikey, multivalue, multiquery, tracking, common, frequent, "
          "or all",
          0 },
        { "count", 0, OPT_COUNT, &o.count, "N", "prompts of each task, length and depth",
          "1000000" },
        { "needles", 0, OPT_COUNT, &o.needles, "N",
          "needles of a prompt (multikey, multivalue, multiquery), variables that follow "
          "(tracking), or words that are asked for (common, frequent); 0: 4, 4, 4, 4, 10 and 3",
          0 },
        { "filler", 0, OPT_TEXT, &o.filler, "FILE",
          "hide the needles in this text, or in the text of this stream of tokens; without the "
          "option in sentences that say nothing",
          0 },
        { "wording", 0, OPT_TEXT, &o.wording, "FILE",
          "a JSON file with other words for the questions", 0 },
        { "template", 0, OPT_TEXT, &o.template, "NAME",
          "make prompts for conversations by this template: " CHAT_TEMPLATES
          "; without a name: auto; without the option the prompts are plain text, in which the "
          "answer is begun",
          "auto" },
        { "system", 0, OPT_TEXT, &o.system, "TEXT", "the system prompt of the conversations", 0 },
        { "samples", 0, OPT_FLAG, &o.samples, 0,
          "write samples for train and ppl instead, whose only targets are the answers' tokens; "
          "the lengths then count the answers too",
          0 },
        { "seed", 's', OPT_COUNT, &o.seed, "N", "seed of all draws", OPT_ANY_COUNT },
        { "to", 0, OPT_WORD, &o.to, "HOW",
          "what score writes: a table, a table in Markdown, or JSON; auto: by the end of the "
          "output's name, .md or .json, else a table",
          "auto|table|markdown|json" },
        { "figure", 0, OPT_LIST, &o.figures, "FILE",
          "draw the scores by length and depth as a figure (.svg or .png), with gnuplot; may be "
          "given several times",
          0 },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "output file; - is standard output", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "needle",
        .summary = "hide needles in long texts, and score how many a model finds",
        .usage = "needle make --model tokenizer.model [options] > prompts\n"
                 "       needle score [options] [ANSWERS...]",
        .example = "needle make --model Llama-2-7b-8k --lengths 4000,8000 | generate --model "
                   "Llama-2-7b-8k --format jsonl | needle score",
        .table = table,
    };
    const char **operands = opt_parse(argc, argv, &program);
    work(&o, operands);
    free(o.figures.at);
    free(operands);
    return 0;
}
