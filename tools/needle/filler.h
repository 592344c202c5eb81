/* filler.h - the text in which the needles are hidden, cut into pieces of about a sentence.
 */
#ifndef LONGQLORA_NEEDLE_FILLER_H
#define LONGQLORA_NEEDLE_FILLER_H

#include "lib/common/digest.h"
#include "lib/tokenizer/tokenizer.h"

/* White space belongs to the piece before it. The first piece follows the last one again. */
struct filler {
    char *text;
    size_t *ends; /* [count] end of each piece in text */
    size_t count;
    bool is_noise;            /* the text is our own few sentences */
    char digest[DIGEST_TEXT]; /* digest of the text; "" for our own sentences */
};

/* A piece that has this many bytes ends with its present word. */
enum { FILLER_PIECE_MAX = 400 };

/* Reads the filler. path: a text file, or a stream of tokens of this tokenizer, which is decoded.
 * NULL: a few sentences that say nothing. The caller calls filler_release. */
int filler_open(struct filler *f, const char *path, const struct tokenizer *t,
                struct fail *why) MUST_USE;
void filler_release(struct filler *f);

/* Returns piece n modulo count, and its length in *bytes. */
const char *filler_piece(const struct filler *f, size_t n, size_t *bytes);

#endif
