#include "tokenizer_model.h"

const char *tokenizer_control(const struct tokenizer *t, uint32_t id, size_t *bytes)
{
    if (id >= t->count || t->pieces[id].type != PIECE_CONTROL) return NULL;
    *bytes = t->pieces[id].length;
    return t->pieces[id].text;
}
