/* tokenizer_model.h - tokenizer.model, parsed; for tokenizer*.c only. */
#ifndef LONGQLORA_TOKENIZER_MODEL_H
#define LONGQLORA_TOKENIZER_MODEL_H

#include "stream.h"
#include "tokenizer.h"

enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER,
    PIECE_UNUSED,
    PIECE_BYTE
};

struct piece {
    const char *text; /* in the model's bytes */
    uint32_t length;
    float score;
    enum piece_type type;
};

struct tokenizer {
    char *model; /* the file */
    struct piece *pieces;
    uint32_t count, bos, eos, unknown;
    uint32_t byte_piece[256];
    bool adds_prefix, has_bytes;
    /* No piece has a space mark after another character, so words are independent. */
    bool splits_at_spaces;
    uint32_t *table; /* open addressing: piece number + 1 */
    uint32_t table_mask;
    char digest[STREAM_DIGEST_TEXT];
};

#define SPACE_MARK "\xe2\x96\x81" /* U+2581 */
enum { SPACE_MARK_BYTES = 3 };

/* The normal piece with that text; UINT32_MAX if there is none. */
uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t length);

#endif
