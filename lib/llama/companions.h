/* companions.h - copies the files that belong to a model besides its weights: the tokenizer's files
 * and the licence's.
 *
 * A model's folder may come from elsewhere, and a symbolic link in it may lead to any file of this
 * machine. So each file must be regular, at most 64 MiB, and lie in the folder itself after
 * following links, or in the blobs of the Hugging Face hub cache to which the folder belongs
 * (models--NAME/snapshots/REVISION, models--NAME/blobs).
 *
 * A GGUF file stands for a folder with the tokenizer's files, which are made of its keys. If its
 * tokenizer is not understood, for a folder without them.
 *
 * The files are read before any work and written from memory at its end, so a later change of the
 * folder does not matter.
 */
#ifndef LONGQLORA_LLAMA_COMPANIONS_H
#define LONGQLORA_LLAMA_COMPANIONS_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stdint.h>

enum { COMPANION_MAX = 64 << 20 };

/* Name i of these files; NULL after the last. */
const char *companion_name(size_t i);
/* Is it one of these names? */
bool companion_is(const char *name);

/* Where the files come from; NULL means nowhere. Each may be a GGUF file. */
struct companions_place {
    const char *folder;
    /* The folder of the tokenizer's files and the chat template, if it is another one. */
    const char *tokenizer;
};

struct companions;
/* Reads the files that exist. Fails, and names the file, if one may not be copied. The caller frees
 * *all with companions_free. */
int companions_read(struct companions **all, struct companions_place from,
                    struct fail *why) MUST_USE;
/* Why the tokenizer of a GGUF is not among the files: "MODEL.gguf: tokenizer.ggml.pre …". "" if it
 * is, or if there is no GGUF. */
const char *companions_lack(const struct companions *all);
/* Does *all contain a file of that name? all may be NULL. */
bool companions_hold(const struct companions *all, const char *name);
/* The bytes of that file; NULL if there is none. They end with a zero that *bytes does not count.
 */
const char *companions_text(const struct companions *all, const char *name, size_t *bytes);
/* Replaces the bytes of that file, or adds it with the permissions of another file. text is memory
 * from malloc, and belongs to *all then. */
void companions_set(struct companions *all, const char *name, char *text, size_t bytes);
/* The sum of their sizes; all may be NULL. */
uint64_t companions_bytes(const struct companions *all);
/* Writes the files. An existing file with the same content stays; one with other content is an
 * error. */
int companions_write(const struct companions *all, const char *to, struct fail *why) MUST_USE;
void companions_free(struct companions *all);

#endif
