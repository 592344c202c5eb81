/* request.h - the options of one JSON line: length, temperature, stop texts, seed.
 *
 * The keys are those of requests to OpenAI, Hugging Face and llama.cpp. Each overrides the
 * program's option of the same meaning. An unsupported key (n, logit_bias, messages …) is refused
 * by name, and the message says what to write instead. Such a key is accepted if its value has no
 * effect. Any other key, such as "id", is copied to the answer.
 */
#ifndef LONGQLORA_REQUEST_H
#define LONGQLORA_REQUEST_H

#include "lib/cli/opt.h"
#include "lib/common/json.h"
#include "lib/common/tally.h"
#include "tools/generate/sampler.h"

enum { REQUEST_STOPS_MAX = 64 };

struct request {
    struct sampling sampling;
    int64_t max_tokens;
    struct opt_list stops; /* borrowed from the line or from the program's options */
    bool has_seed; /* the line has a seed of its own, and its draws depend on that seed alone */
};

/* Counts those keys of the lines that are not options. */
struct request_keys {
    struct tally carried; /* copied to the output */
    /* Keys that are not copied, because the answer has keys of the same names. */
    struct tally replaced;
};

/* Reads the options of a line. On entry *q holds the program's options, which the line's options
 * override. `stops` has space for REQUEST_STOPS_MAX texts. In a line that an earlier run wrote, no
 * key is counted as replaced. has_chat: the line may have a system message. */
int request_read(struct request *q, const json_t *line, bool has_chat, const char **stops,
                 struct request_keys *counts, struct fail *why) MUST_USE;

/* Has the value of an unsupported key no effect? It has none if it is absent, null, false or empty,
 * or the number `idle`. */
bool request_is_idle(const json_t *value, double idle);

#endif
