/* generator.h - a prompt goes in, an answer comes out token by token.
 */
#ifndef LONGQLORA_GENERATOR_H
#define LONGQLORA_GENERATOR_H

#include "model/session.h"
#include "tools/generate/sampler.h"
#include "tools/generate/speech.h"

enum { EOS_MAX = 16 };

enum ending { END_EOS, END_STOP, END_LENGTH, END_CONTEXT, END_INTERRUPTED };
const char *ending_name(enum ending e);

struct generator {
    struct session session;
    const struct tokenizer *tokenizer;
    struct sampler *sampler;
    struct speech speech;
    int64_t rows;              /* of the model's vocabulary: a token beyond them is refused */
    bool parses_special;       /* special tokens that a text spells are tokens */
    int64_t max_tokens;        /* of an answer */
    uint32_t eos[EOS_MAX + 1]; /* and a template's */
    int eos_count;
};

struct answer {
    uint32_t *ids; /* without EOS; room for the session's context */
    int64_t count;
    enum ending ending;
    int64_t steps; /* of the model while it was written: its first token comes of reading */
    double read_seconds, write_seconds;
};

/* Which ids end an answer: generation_config.json's beside the model, else config.json's,
 * else the tokenizer's. */
int generator_find_eos(struct generator *g, const char *model, const struct config *c,
                       struct fail *why) MUST_USE;

/* One more, once. */
void generator_add_eos(struct generator *g, uint32_t id);

/* The ids of a text to be continued. */
int generator_encode(const struct generator *g, const char *text, size_t bytes, bool adds_bos,
                     struct token_buffer *ids, struct fail *why) MUST_USE;

/* Fails if a context has no room for the prompt and a token more. */
int generator_fits(int64_t count, int64_t context, struct fail *why) MUST_USE;

/* Reads the prompt, says the answer through g->speech. Fails if the prompt does not fit. The
 * setup's stop ends an answer as it is, and one that has not begun. */
int generator_answer(struct generator *g, const uint32_t *prompt, int64_t count, struct answer *a,
                     struct fail *why) MUST_USE;

/* One line on standard error: "what: 1 306 626 …". */
void generator_note_ids(const char *what, const uint32_t *ids, int64_t count);

#endif
