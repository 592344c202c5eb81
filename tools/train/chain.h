/* chain.h - the lines of proof.jsonl: what a run was made from, and what it made
 * (docs/formats/proof.md). Each line has the SHA-256 of the line before it, so the last digest
 * covers them all.
 */
#ifndef LONGQLORA_TRAIN_CHAIN_H
#define LONGQLORA_TRAIN_CHAIN_H

#include "lib/common/json.h"
#include "lib/common/sha256.h"

extern const char chain_file[]; /* "proof.jsonl" */

struct chain {
    char *text; /* [bytes] the lines as they are in the file; not ended by a zero */
    size_t bytes, capacity;
    json_t *lines; /* array of the lines' objects; NULL if there are none */
    /* The SHA-256 of each line; [json_array_size(lines)]. */
    char (*digests)[SHA256_TEXT];
};

/* Reads directory/proof.jsonl. Fails if a line is damaged, or does not have the digest of the line
 * before it; names the line. Succeeds with an empty chain if there is no such file. The caller
 * calls chain_release, also after a failure. */
int chain_read(struct chain *c, const char *directory, struct fail *why) MUST_USE;
/* Appends a line, after the digest of the last line was put in front. Releases `line`, which may be
 * NULL if memory has run out. */
int chain_add(struct chain *c, json_t *line, struct fail *why) MUST_USE;
/* Copies the first `lines` lines. *to is overwritten. */
int chain_copy(struct chain *to, const struct chain *from, size_t lines, struct fail *why) MUST_USE;
/* Writes directory/proof.jsonl. */
int chain_write(const struct chain *c, const char *directory, struct fail *why) MUST_USE;
void chain_release(struct chain *c);

size_t chain_count(const struct chain *c);
/* Returns the object `kind` ("run", "checkpoint" or "result") of line i, or NULL if the line is of
 * another kind. It belongs to c. */
const json_t *chain_at(const struct chain *c, size_t i, const char *kind);
/* Returns the object of the last line of this kind, or NULL. */
const json_t *chain_last(const struct chain *c, const char *kind);

#endif
