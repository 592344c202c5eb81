/* filler.h - the text in which the needles are hidden, cut into pieces of about a sentence.
 */
#ifndef LONGQLORA_NEEDLE_FILLER_H
#define LONGQLORA_NEEDLE_FILLER_H

#include "lib/common/digest.h"
#include "lib/tokenizer/tokenizer.h"

/* A piece is text with the white space that follows it. After the last piece the first follows. */
struct filler {
    char *text;
    size_t *ends; /* [count] end of each piece in text */
    size_t count;
    bool is_noise;            /* our own few sentences */
    char digest[DIGEST_TEXT]; /* of the text; "" for noise */
};

enum { FILLER_PIECE_MAX = 400 }; /* bytes of a piece, and at most one word more */

/* path NULL: noise, a few sentences that say nothing. Otherwise a text file, or a stream of tokens
 * of this tokenizer, which is decoded. The caller calls filler_release. */
int filler_open(struct filler *f, const char *path, const struct tokenizer *t,
                struct fail *why) MUST_USE;
void filler_release(struct filler *f);

/* Returns piece number n, counted on from the first piece again after the last; *bytes is its
 * length. */
const char *filler_piece(const struct filler *f, size_t n, size_t *bytes);

#endif
