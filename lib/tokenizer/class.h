/* class.h - lists of names from transformers 5.24. Each list is one string, with a space after each
 * name.
 */
#ifndef LONGQLORA_TOKENIZER_CLASS_H
#define LONGQLORA_TOKENIZER_CLASS_H

/* The tokenizer classes that do not use a tokenizer.json as it is. */
extern const char class_names[];
/* The model types for which AutoTokenizer uses tokenizer.json as it is, even if a class is
 * named. */
extern const char class_file_types[];

#endif
