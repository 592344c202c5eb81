#include "model/sample_ranks.h"

int64_t sample_ranks_max(const struct sample_ranks *s)
{
    int64_t max = s->segments;
    while (s->ranks % max || s->segments % max || s->kv_heads % max)
        max--;
    return max;
}

int sample_ranks_divide(const struct sample_ranks_divided *each, size_t count, int64_t asked,
                        struct fail *why)
{
    for (size_t i = 0; i < count; i++)
        if (each[i].number % asked)
            return fail_usage(why, "--sample-ranks %lld does not divide the %lld %s",
                              (long long)asked, (long long)each[i].number, each[i].what);
    return 0;
}

int sample_ranks_check(const struct sample_ranks *s, int64_t asked, struct fail *why)
{
    char segments[64];
    snprintf(segments, sizeof segments, "segments of a sample (%s)", s->option);
    const struct sample_ranks_divided each[] = { { "ranks", s->ranks },
                                                 { segments, s->segments },
                                                 { "key/value heads", s->kv_heads } };
    return sample_ranks_divide(each, sizeof each / sizeof *each, asked, why);
}

int64_t sample_ranks_rows(int64_t rows, int64_t segments)
{
    int64_t unit = segments * SEGMENT_UNIT;
    return segments < 2 ? rows : (rows + unit - 1) / unit * unit;
}
