/* options.h - what tokenize's command line asks for. */
#ifndef LONGQLORA_TOKENIZE_OPTIONS_H
#define LONGQLORA_TOKENIZE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *model, *output, *format, *text_key, *source_key, *source, *on_error, *raw, *from,
        *to, *template, *train_on, *odd;
    int64_t show;
    bool no_bos, eos, decode;
};

/* Dies, before anything is read, of options that exclude each other or would do nothing. */
void options_check(const struct options *o, const char **files);

#endif
