#include "lib/stream/wanted.h"

#include "lib/common/program.h"

static const struct {
    /* `maker` is the program that makes such streams. It is NULL for streams inside checkpoints,
     * which users do not make. */
    const char *what, *maker;
    /* The value of the maker's option --from that stands for JSON lines; NULL if the maker cannot
     * read them. */
    const char *format;
} kinds[] = {
    [STREAM_TOKENS] = { "a stream of tokens", "tokenize", "jsonl" },
    [STREAM_SAMPLES] = { "a stream of samples", "pack", "samples-jsonl" },
    [STREAM_WEIGHTS] = { "a stream of weights", "quantize", NULL },
    [STREAM_SCORES] = { "a stream of scores", "ppl", NULL },
    [STREAM_STATE] = { "a state of training", NULL, NULL },
    [STREAM_LENGTHS] = { "a stream of lengths", "pack", NULL },
    [STREAM_LINES] = { "a stream of lines", "pack", NULL },
};

void stream_wanted(enum stream_kind kind, char *wanted, size_t wanted_size, char *from_json,
                   size_t from_json_size)
{
    const char *maker = kinds[kind].maker, *format = kinds[kind].format;
    snprintf(wanted, wanted_size, "%s, which %s %s", kinds[kind].what,
             maker ? program_of(maker) : "checkpoints", maker ? "makes" : "have");
    *from_json = 0;
    if (format)
        snprintf(from_json, from_json_size, "; %s --from %s makes one of them", program_of(maker),
                 format);
}
