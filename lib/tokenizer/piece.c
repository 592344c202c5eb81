#include "lib/tokenizer/tokenizer_internal.h"

const char *tokenizer_control(const struct tokenizer *t, uint32_t id, size_t *bytes)
{
    if (id >= t->vocab) return NULL;
    const struct piece *piece = tokenizer_piece(t, id);
    if (piece->type != PIECE_CONTROL) return NULL;
    *bytes = piece->length;
    return piece->text;
}

int piece_byte(const struct piece *p, const char *digits)
{
    if (p->length != 6 || memcmp(p->text, "<0x", 3) != 0 || p->text[5] != '>') return -1;
    char text[3] = { p->text[3], p->text[4], 0 };
    return strspn(text, digits) == 2 ? (int)strtoul(text, NULL, 16) : -1;
}
