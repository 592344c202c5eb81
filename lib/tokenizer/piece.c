#include "lib/tokenizer/tokenizer_internal.h"

const char *tokenizer_control(const struct tokenizer *t, uint32_t id, size_t *bytes)
{
    if (id >= t->vocab) return NULL;
    const struct piece *piece = tokenizer_piece(t, id);
    if (piece->type != PIECE_CONTROL) return NULL;
    *bytes = piece->length;
    return piece->text;
}
