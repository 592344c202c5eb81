/* companions.h - copies the files that belong to a model besides its weights: those of the
 * tokenizer and of the licence.
 *
 * A model's folder may come from elsewhere, and a symbolic link in it may lead to any file of this
 * machine. So each file must be a regular file of at most 64 MiB. After links are followed, it must
 * lie in the folder itself or in the blobs of the Hugging Face hub cache to which the folder
 * belongs (models--NAME/snapshots/REVISION, models--NAME/blobs).
 *
 * A GGUF file counts as a folder with a tokenizer's files, which are made from its keys. If its
 * tokenizer is not supported, the GGUF counts as a folder without these files.
 *
 * Templates in the folder additional_chat_templates are copied into tokenizer_config.json, together
 * with chat_template.jinja (named_templates.h).
 *
 * The files are read when a program starts and written from memory when it ends. So a change of the
 * folder in between does not matter.
 */
#ifndef LONGQLORA_LLAMA_COMPANIONS_H
#define LONGQLORA_LLAMA_COMPANIONS_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stdint.h>

enum { COMPANION_MAX = 64 << 20 };

/* Returns the name of file i; NULL after the last. */
const char *companion_name(size_t i);
/* Is `name` the name of such a file, which belongs to a model besides its weights? */
bool companion_is(const char *name);

/* Where the files come from; NULL means that there are none. Each may be a GGUF file. */
struct companions_place {
    const char *folder;
    /* The folder of the tokenizer's files and the chat template; NULL if it is the same folder. */
    const char *tokenizer;
};

struct companions;
/* Reads the files that exist. Fails if a file may not be copied; the message names it. The caller
 * frees *all with companions_free. */
int companions_read(struct companions **all, struct companions_place from,
                    struct fail *why) MUST_USE;
/* Returns why there are no files of a GGUF's tokenizer: "MODEL.gguf: tokenizer.ggml.pre …". Returns
 * "" if they exist, or if there is no GGUF. */
const char *companions_lack(const struct companions *all);
/* Does *all contain a file of that name? all may be NULL. */
bool companions_hold(const struct companions *all, const char *name);
/* The bytes of that file; NULL if there is none. A zero byte follows them, which *bytes does not
 * count.
 */
const char *companions_text(const struct companions *all, const char *name, size_t *bytes);
/* Replaces the bytes of that file, or adds it with the permissions of another file. text is memory
 * from malloc, which belongs to *all afterwards. */
void companions_set(struct companions *all, const char *name, char *text, size_t bytes);
/* The sum of the files' sizes; all may be NULL. */
uint64_t companions_bytes(const struct companions *all);
/* Writes the files. An existing file with the same content stays; one with other content is an
 * error. */
int companions_write(const struct companions *all, const char *to, struct fail *why) MUST_USE;
void companions_free(struct companions *all);

#endif
