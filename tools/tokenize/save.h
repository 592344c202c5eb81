/* save.h - writes a copy of the tokenizer with added tokens (--save-tokenizer).
 */
#ifndef LONGQLORA_TOKENIZE_SAVE_H
#define LONGQLORA_TOKENIZE_SAVE_H

#include "tools/tokenize/options.h"

/* The rows of the table of options (lib/cli/opt.h). `o` is a struct options. */
/* clang-format off */
#define SAVE_OPTIONS(o)                                                                            \
    { "add-token", 0, OPT_LIST, &(o).tokens, "TEXT",                                               \
      "add a token that is found in any text; may be given several times; with "                   \
      "--save-tokenizer", 0 },                                                                     \
    { "add-special-token", 0, OPT_LIST, &(o).special_tokens, "TEXT",                               \
      "add a special token, such as <|im_start|>, after those of --add-token; may be "             \
      "given several times; with --save-tokenizer", 0 },                                           \
    { "save-tokenizer", 0, OPT_TEXT, &(o).save, "DIR",                                             \
      "write the tokenizer with the added tokens to this new folder, and encode with it; "         \
      "without FILE only write it", 0 }
/* clang-format on */

/* Declares o->save as an output folder (file_guard.h), before any work. Dies if it exists and is
 * not empty, or if o->model is no folder. */
void save_declare(const struct options *o);
/* Adds the tokens of o->tokens and o->special_tokens to the tokenizer of o->model. Writes its files
 * to o->save, and reads them back to check them. Prints the tokens with their ids. Dies if
 * something fails; the folder is then still absent or empty. */
void save_tokenizer(const struct options *o);

#endif
