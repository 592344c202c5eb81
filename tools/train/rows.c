#include "tools/train/rows.h"

int rows_check(struct reader *samples, const struct sample_info *info, int64_t rows,
               struct fail *why)
{
    struct sample sample = { 0 };
    int status = 0;
    if (info->text.vocab_size <= (uint64_t)rows) return 0;
    for (uint64_t i = 0; i < reader_records(samples) && !status; i++) {
        status = samples_read_at(samples, info, i, &sample, why);
        for (size_t n = 0; !status && n < sample.count; n++)
            if (sample.ids[n] >= rows)
                status = fail_input(why,
                                    "%s: vocabulary %llu, the model has %lld, and sample %llu has "
                                    "token %u: tokenize the text with the model's own tokenizer",
                                    reader_name(samples), (unsigned long long)info->text.vocab_size,
                                    (long long)rows, (unsigned long long)i, sample.ids[n]);
    }
    sample_release(&sample);
    return status;
}
