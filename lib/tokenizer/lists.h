/* lists.h - the vocabulary and the merges of a tokenizer.json. Both are read from the text, because
 * a tree of their half a million values would take longer than everything else that loading does.
 * The rest of the file is small and becomes a tree (json.h).
 *
 *     lists_find(&l, text, bytes, why)                 then l.rest is JSON without the lists
 *     s = lists_begin(&l, LIST_VOCAB, why);
 *     while ((got = lists_next_piece(&s, &piece)) > 0) ...
 *     lists_release(&l);
 */
#ifndef LONGQLORA_TOKENIZER_LISTS_H
#define LONGQLORA_TOKENIZER_LISTS_H

#include "lib/common/json_scan.h"
#include "lib/tokenizer/tokenizer.h"

#include <stdbool.h>

enum list_name { LIST_VOCAB, LIST_MERGES, LISTS };
/* A longer text of a piece, or of a merge, is refused. A byte of a piece is spelled with at most
 * two bytes. */
enum { LIST_TEXT_MAX = 4 * TOKENIZER_PIECE_MAX };

struct lists {
    const char *at[LISTS]; /* point into the text; NULL if model has no such object or list */
    size_t bytes[LISTS];
    char *rest; /* the text, in which {} and [] replace the lists that were found */
    size_t rest_bytes;
};
/* Finds the object model.vocab and the list model.merges. In a text that is no JSON it may find
 * anything; then the rest is no JSON either. Fails only if memory runs out. */
int lists_find(struct lists *l, const char *text, size_t bytes, struct fail *why) MUST_USE;
void lists_release(struct lists *l);

struct list_scan {
    struct json_scan json;
    bool is_open;
    size_t count; /* members or elements so far */
    char text[LIST_TEXT_MAX + 1];
};
struct list_scan lists_begin(const struct lists *l, enum list_name name, struct fail *why);

/* Reads the next member of the vocabulary: *text is its key, *id its value, or -1 if the value is
 * no whole number. Returns 1, 0 at the end, or -1. */
int lists_next_piece(struct list_scan *s, const char **text, int64_t *id) MUST_USE;
/* Reads the next merge, "left right" or [left, right]. Both parts are NULL if it is anything else.
 * A text that begins with "#version" is skipped.
 * Returns 1, 0 at the end, or -1. */
int lists_next_merge(struct list_scan *s, const char *parts[2]) MUST_USE;

#endif
