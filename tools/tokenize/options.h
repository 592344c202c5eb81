/* options.h - what tokenize's command line asks for. */
#ifndef LONGQLORA_TOKENIZE_OPTIONS_H
#define LONGQLORA_TOKENIZE_OPTIONS_H

#include "lib/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *model, *output, *format, *text_key, *source_key, *source, *on_error, *raw, *from,
        *to, *template, *train_on, *odd;
    int64_t show;
    bool bos, no_bos, eos, no_eos, parse_special, decode;
};

/* What documents begin and end with: by the tokenizer's own files, unless the options say
 * otherwise; UINT32_MAX: nothing. Die if there is no such token. */
uint32_t options_begin(const struct options *o, const struct tokenizer *t);
uint32_t options_end(const struct options *o, const struct tokenizer *t);

/* Dies, before anything is read, of options that exclude each other or would do nothing. */
void options_check(const struct options *o, const char **files);

#endif
