/* class.h - lists of tokenizer classes of transformers 5.24, for a test: classes that do not use a
 * tokenizer.json as it is, and the model types for which AutoTokenizer uses the file whatever class
 * is named. */
#ifndef LONGQLORA_TOKENIZER_CLASS_H
#define LONGQLORA_TOKENIZER_CLASS_H

#include <stddef.h>

/* Each returns words, with a space after each. */
const char *class_names(void);
const char *class_file_types(void);
/* Name i of the classes that are compared in detail (see class.c); NULL after the last. */
const char *class_form_at(size_t i);

#endif
