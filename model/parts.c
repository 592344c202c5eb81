/* Which part of the flat arrays a rank owns. Each section is cut into as many parts as there are
 * ranks. A part consists of whole pieces of SQUARES_PIECE values, so that no sum of squares depends
 * on the number of ranks. */
#include "model/model_internal.h"

bool parts_are_shared(const struct model *m) { return m->setup.parts > 1; }
int64_t parts_count(const struct model *m) { return parts_are_shared(m) ? m->setup.parts : 1; }

static int64_t pieces_of(int64_t count) { return (count + SQUARES_PIECE - 1) / SQUARES_PIECE; }

struct owned parts_of(const struct section *s, int64_t number, int64_t parts)
{
    int64_t pieces = pieces_of(s->count), first = pieces * number / parts * SQUARES_PIECE;
    int64_t end = pieces * (number + 1) / parts * SQUARES_PIECE;
    if (end > s->count) end = s->count;
    return (struct owned){ s->first + first, end - first, 0 };
}

void parts_list(struct model *m)
{
    struct parameters *p = &m->params;
    int64_t number = parts_are_shared(m) ? m->setup.part : 0;
    p->own_count = 0;
    for (int64_t i = 0; i < p->section_count; i++) {
        struct section *s = &p->section[i];
        int64_t at = (p->own_count + SECTION_ALIGNMENT - 1) / SECTION_ALIGNMENT * SECTION_ALIGNMENT;
        s->own = parts_of(s, number, parts_count(m));
        s->own.at = at;
        p->own_count = at + s->own.count;
    }
}

int64_t parts_pieces(const struct model *m, int64_t number)
{
    int64_t pieces = 0;
    for (int64_t i = 0; i < m->params.section_count; i++)
        pieces += pieces_of(parts_of(&m->params.section[i], number, parts_count(m)).count);
    return pieces;
}

int64_t parts_all_pieces(const struct model *m)
{
    int64_t pieces = 0;
    for (int64_t i = 0; i < m->params.section_count; i++)
        pieces += pieces_of(m->params.section[i].count);
    return pieces;
}

/* Adds the squares in the order of the pieces. `all` has those of the first rank, then those of the
 * second, and so on. */
double parts_add_squares(const struct model *m, const double *all)
{
    int64_t parts = parts_count(m);
    double sum = 0;
    for (int64_t i = 0; i < m->params.section_count; i++) {
        const double *of_rank = all;
        for (int64_t r = 0; r < parts; r++) {
            int64_t before = 0;
            for (int64_t j = 0; j < i; j++)
                before += pieces_of(parts_of(&m->params.section[j], r, parts).count);
            int64_t n = pieces_of(parts_of(&m->params.section[i], r, parts).count);
            for (int64_t j = 0; j < n; j++)
                sum += of_rank[before + j];
            of_rank += parts_pieces(m, r);
        }
    }
    return sum;
}
