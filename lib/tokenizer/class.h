/* class.h - lists of names of transformers 5.24: words, with a space after each.
 */
#ifndef LONGQLORA_TOKENIZER_CLASS_H
#define LONGQLORA_TOKENIZER_CLASS_H

/* The tokenizer classes that do not use a tokenizer.json as it is. */
extern const char class_names[];
/* The model types for which AutoTokenizer uses the file, whatever class is named. */
extern const char class_file_types[];

#endif
