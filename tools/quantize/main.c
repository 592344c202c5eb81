/* quantize - a model's linears to NF4 with double quantization, as a weights stream. */
#include "../../lib/common/die.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/progress.h"
#include "quantizer.h"

int main(int argc, char **argv)
{
    const char *output = "-";
    struct opt table[] = {
        { "output", 'o', OPT_TEXT, &output, "FILE", "where the stream goes; - is standard output",
          0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "quantize",
        .summary = "turn a model's linears into NF4, once and for all",
        .usage = "quantize [options] MODEL_DIR > weights",
        .example = "quantize Llama-2-7b-hf -o llama-2-7b.nf4",
        .table = table,
    };
    const char **operands = opt_parse(argc, argv, &program);
    struct fail why;
    struct weights w;
    struct writer *out;
    struct fields none;
    if (!operands[0] || operands[1]) die_usage("one model directory is needed");
    die_if_terminal(output);
    double start = progress_clock();
    or_die(weights_open(&w, operands[0], true, &why), &why);
    if (w.is_quantized || w.stream[0]) die(STATUS_INPUT, "%s: not a model directory", operands[0]);
    struct weights_info info = { .quantization = "nf4" };
    info.config = json_dumps(w.config.json, JSON_COMPACT);
    memcpy(info.base, w.base, sizeof info.base);
    memcpy(info.tokenizer, w.tokenizer, sizeof info.tokenizer);
    fields_init(&none);
    or_die(weights_writer(&out, output, "quantize", &info, &none, &why), &why);
    quantize_all(&w, out, operands[0]);
    or_die(writer_close(out, &why), &why);
    double seconds = progress_clock() - start;
    note("%lld parameters in %.1f s, %.1f million a second",
         (long long)tensors_parameters(&w.config), seconds,
         (double)tensors_parameters(&w.config) / seconds / 1e6);
    weights_info_release(&info);
    weights_close(&w);
    free(operands);
    return 0;
}
