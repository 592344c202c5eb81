#include "tools/train/rows.h"

#include "lib/llama/own_tokenizer.h"

static int check_sample(const struct sample *sample, uint64_t number, int64_t rows,
                        struct fail *why)
{
    const struct vocabulary tokens = { .ids = sample->ids, .count = sample->count };
    const struct vocabulary model = { .name = "the model", .size = (uint64_t)rows };
    char name[40];
    if (!vocabulary_check(&tokens, &model, OWN_TOKENIZER_ADVICE, why)) return 0;
    snprintf(name, sizeof name, "sample %llu", (unsigned long long)number);
    return fail_in(why, name);
}

int rows_check(struct reader *samples, const struct sample_info *info, const struct weights *w,
               int64_t rows, const char *adapter, struct fail *why)
{
    const struct vocabulary tokens = { .tokenizer = info->text.tokenizer };
    struct sample sample = { 0 };
    uint64_t count = info->text.vocab_size > (uint64_t)rows ? reader_records(samples) : 0;
    if (own_tokenizer_check(&tokens, w, 0, adapter, why)) return fail_in(why, reader_name(samples));
    int status = 0;
    for (uint64_t i = 0; i < count && !status; i++) {
        status = samples_read_at(samples, info, i, &sample, why);
        if (!status && check_sample(&sample, i, rows, why))
            status = fail_in(why, reader_name(samples));
    }
    sample_release(&sample);
    return status;
}
