/* generator.h - computes the answer to a prompt, token by token.
 */
#ifndef LONGQLORA_GENERATOR_H
#define LONGQLORA_GENERATOR_H

#include "lib/tokenizer/end_tokens.h"
#include "model/session.h"
#include "tools/generate/sampler.h"
#include "tools/generate/speech.h"

enum ending { END_EOS, END_STOP, END_LENGTH, END_CONTEXT, END_INTERRUPTED };
const char *ending_name(enum ending e);

struct generator {
    struct session session;
    const struct tokenizer *tokenizer;
    struct sampler *sampler;
    struct speech speech;
    /* rows of the model's embedding; a token id that is not below this is refused */
    int64_t rows;
    bool parses_special;    /* the text of a special token in a prompt becomes that token */
    int64_t max_tokens;     /* the largest number of tokens in an answer */
    struct end_tokens ends; /* with the end token of the chat template, if there is one */
};

struct answer {
    uint32_t *ids; /* the answer without EOS; capacity: the session's context */
    int64_t count;
    enum ending ending;
    /* Forward passes while the answer was written. The first token needs none, because reading the
     * prompt gives the logits for it. */
    int64_t steps;
    int64_t shared; /* tokens of the prompt that the cache held already */
    double read_seconds, write_seconds;
};

/* Sets g->ends, the ids that end an answer. They are read from the model's generation_config.json,
 * or else from config.json, or else from the tokenizer. A weights stream's config has the ids of
 * both files already, and a GGUF's has those of its keys. */
int generator_find_eos(struct generator *g, const char *model, const struct config *c,
                       struct fail *why) MUST_USE;

/* Encodes a text that is to be continued. */
int generator_encode(const struct generator *g, const char *text, size_t bytes, bool adds_bos,
                     struct token_buffer *ids, struct fail *why) MUST_USE;

/* Fails if the context has no room for the prompt and one more token. */
int generator_fits(int64_t count, int64_t context, struct fail *why) MUST_USE;

/* Fails if an id is beyond the rows of the model, or if the prompt does not fit the context. */
int generator_check_prompt(const struct generator *g, const uint32_t *prompt, int64_t count,
                           struct fail *why) MUST_USE;

/* Runs the model over the prompt and writes the answer through g->speech. Fails if the prompt does
 * not fit the context. If the flag `stop` of the model's setup becomes true, the answer ends
 * immediately, even before its first token. */
int generator_answer(struct generator *g, const uint32_t *prompt, int64_t count, struct answer *a,
                     struct fail *why) MUST_USE;

/* Fails if the model's file was written to while the answer was computed. Call it after each
 * answer. */
int generator_check_model(const struct generator *g, struct fail *why) MUST_USE;

/* Prints one line on standard error: "what: 1 306 626 …". */
void generator_note_ids(const char *what, const uint32_t *ids, int64_t count);

#endif
