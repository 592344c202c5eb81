/* class.h - the classes of transformers 5.24 that do not read a tokenizer.json as it is,
 * and the types of models for which AutoTokenizer does whatever class is named; for a test. */
#ifndef LONGQLORA_TOKENIZER_CLASS_H
#define LONGQLORA_TOKENIZER_CLASS_H

#include <stddef.h>

/* Words, a space behind each. */
const char *class_names(void);
const char *class_file_types(void);
/* Other classes whose parts are known, one by one; NULL: no more. */
const char *class_form_at(size_t i);

#endif
