/* options.h - the command line of tokenize.
 */
#ifndef LONGQLORA_TOKENIZE_OPTIONS_H
#define LONGQLORA_TOKENIZE_OPTIONS_H

#include "lib/cli/opt.h"
#include "lib/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_SOURCE_KEY "source" /* the default of --source-key */

struct options {
    const char *model, *output, *format, *text_key, *source_key, *source, *on_error, *raw, *from,
        *to, *template, *train_on, *odd, *save, *lines;
    struct opt_list tokens, special_tokens; /* tokens to add to the tokenizer */
    int64_t show;
    bool bos, no_bos, eos, no_eos, parse_special, decode;
};

/* Return the token that stands before each document and the one that stands after it; UINT32_MAX if
 * there is none. The options override the tokenizer's own files. Both functions die if the token
 * does not exist. */
uint32_t options_begin(const struct options *o, const struct tokenizer *t);
uint32_t options_end(const struct options *o, const struct tokenizer *t);

/* Dies if options exclude each other or have no effect. Call it before anything is read. */
void options_check(const struct options *o, const char **files);

#endif
