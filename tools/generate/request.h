/* request.h - what a JSON line asks for besides its prompt: how long, how warm, until which text.
 *
 * The keys are those of OpenAI's, Hugging Face's and llama.cpp's requests. Each goes before the
 * program's option of the same meaning. A key that is known and not done here (n, logit_bias,
 * messages …) is refused by name unless its value asks for nothing; every other key is carried
 * along to the answer, as "id" is.
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
    struct opt_list stops; /* borrowed from the line, or the program's */
    bool has_seed;         /* its own: then its draws depend on that alone */
};

/* *q holds the program's options, and gets the line's; stops: room for REQUEST_STOPS_MAX. carried:
 * keys that say nothing here are counted. has_chat: may the line have a system's sentence? */
int request_read(struct request *q, const json_t *line, bool has_chat, const char **stops,
                 struct tally *carried, struct fail *why) MUST_USE;

#endif
