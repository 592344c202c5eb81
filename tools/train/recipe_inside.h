/* recipe_inside.h - shared by recipe*.c only.
 */
#ifndef LONGQLORA_RECIPE_INSIDE_H
#define LONGQLORA_RECIPE_INSIDE_H

#include "tools/train/recipe.h"

#include <yaml.h>

/* The type of a key's value. PATHS is one path or a list of paths. STEPS is a count, or a share of
 * all steps if it is below 1. WORD is one word of an enum. WORDS is an enum that one word or a list
 * of words sets. */
enum recipe_kind { TEXT, PATHS, COUNT, REAL, STEPS, FLAG, AUTO_FLAG, WORD, WORDS, NAMES, IGNORED };

/* DECIDES: the value influences the result, so a run cannot be resumed with another value, except
 * with another number of steps (schedules.h). OURS: the key exists only in this program. LATER:
 * earlier versions did not have the key, and computed what its default means; so a run's JSON has
 * the key only if its value is not the default. */
enum { DECIDES = 1, OURS = 2, LATER = 4 };

struct recipe_key {
    const char *name;
    enum recipe_kind kind;
    size_t at;
    int flags;
    const char *const *words; /* the words of kinds WORD and WORDS; NULL for other kinds */
    const char *meaning;
};

extern const struct recipe_key recipe_keys[];
extern const int recipe_key_count;

/* ---- words ---- */

/* Each list has the words of an enum, indexed by enumerator, and ends with NULL. An empty word
 * means that no word sets this enumerator. */
extern const char *const recipe_toggles[];
extern const char *const recipe_document_masks[];
extern const char *const recipe_log_intervals[];
extern const char *const recipe_save_intervals[];
extern const char *const recipe_eval_intervals[];
extern const char *const recipe_metrics[];
extern const char *const recipe_optimisers[];
extern const char *const recipe_methods[];
extern const char *const recipe_quantizations[];
extern const char *const recipe_embeddings[];
extern const char *const recipe_attentions[];
extern const char *const recipe_exchanges[];
extern const char *const recipe_reports[];

/* Returns the enumerator of a word, or -1. */
int recipe_word_find(const char *const *words, const char *text);
enum { RECIPE_WORDS_TEXT = 128 };
/* Writes "steps|epoch|no", with that separator. Returns text. */
const char *recipe_words_join(const char *const *words, const char *separator,
                              char text[RECIPE_WORDS_TEXT]);

/* ---- a value as it was written ---- */

/* The most bytes of a list that is joined to one text. They are enough for the longest paths in
 * eval_file. */
enum { RECIPE_LIST = 8 * 4096 };

enum value_shape { VALUE_SCALAR, VALUE_LIST, VALUE_MAPPING };

struct recipe_value {
    enum value_shape shape;
    /* A quoted scalar is a text, but it is accepted where a number or a flag is needed. */
    bool is_quoted;
    const char *text; /* a list's scalars joined by commas; "" or "{...}" for a mapping */
    const char *keys; /* a mapping's keys joined by commas; NULL for other values */
};

/* True for null, ~ and an empty value. */
bool recipe_is_null(const struct recipe_value *v);
/* Returns our key of that name, or NULL. */
const struct recipe_key *recipe_find_key(const char *name);
/* Sets a key to a value from a file or from the command line. origin: where the value was set. */
int recipe_set(struct recipe *r, const struct recipe_key *k, const struct recipe_value *v,
               const char *origin, void (*ignored)(const char *key, const char *why),
               struct fail *why) MUST_USE;
/* Sets the origin of a key and of its other names; NULL means that nobody has set the key. Fails if
 * out of memory. */
int recipe_set_origin(struct recipe *r, const struct recipe_key *k, const char *origin);
/* Fails and names the nearest known key. */
int recipe_unknown_key(const char *name, struct fail *why) MUST_USE;
/* Returns a value as text. Numbers are written into `buffer`. A text that is not set is "". */
const char *recipe_value_text(const struct recipe *r, const struct recipe_key *k, char buffer[64]);
/* True if the key has the same value in both recipes. */
bool recipe_same_value(const struct recipe *a, const struct recipe *b, const struct recipe_key *k);
/* Parses a value of the command line as YAML. The caller deletes *document when the value is no
 * longer used. */
int recipe_parse_value(const char *key, const char *text, struct recipe_value *v,
                       char list[RECIPE_LIST], yaml_document_t *document,
                       struct fail *why) MUST_USE;

/* ---- keys of other programs ---- */

/* SAME_AS: the key is another name of one of our keys. HARMLESS: nothing in this program depends on
 * it. ONLY: it is accepted with the listed values, which have no effect. ANSWERED: it is refused
 * with advice, unless it is empty. NEVER: it is refused with advice, even if it is empty. PACKING:
 * a flag that decides document_mask together with another key (recipe_settle). PER_EPOCH: a count
 * that decides save_steps or eval_steps together with num_train_epochs (recipe_settle). */
enum foreign_kind { SAME_AS, HARMLESS, ONLY, ANSWERED, NEVER, PACKING, PER_EPOCH };

struct foreign_key {
    const char *name;
    const char *programs; /* the programs that have this key */
    enum foreign_kind kind;
    const char *ours; /* for SAME_AS: our key */
    /* For SAME_AS: "theirs=ours|…", or NULL if the values are the same. "theirs=" has no effect.
     * FOREIGN_NULL_IDLE: the values are the same, but null has no effect. For ONLY: the accepted
     * values, such as "false|0". In both kinds the word null is the value null. SAME_AS with a
     * list, and ONLY with values of which none is false, 0 or null, refuse null. */
    const char *values;
    /* The reason or the advice. recipe_foreign_says replaces "{pack}" by the installed name of that
     * program. */
    const char *says;
};

#define FOREIGN_NULL_IDLE "null="

enum { FOREIGN_KEYS_MAX = RECIPE_FOREIGN_MAX };

extern const struct foreign_key recipe_foreign_trainer_keys[], recipe_foreign_program_keys[];
extern const int recipe_foreign_trainer_key_count, recipe_foreign_program_key_count;

/* Returns the key, or NULL if it is unknown. */
const struct foreign_key *recipe_foreign_find(const char *name);
int recipe_foreign_set(struct recipe *r, const struct foreign_key *f, const struct recipe_value *v,
                       const char *origin, void (*ignored)(const char *key, const char *why),
                       struct fail *why) MUST_USE;
enum { FOREIGN_TEXT = 300 };
/* Writes the key's `says` with the installed names of the programs. Returns text. */
const char *recipe_foreign_says(const struct foreign_key *f, char text[FOREIGN_TEXT]);
/* Returns the i-th key of all tables, or NULL after the last. */
const struct foreign_key *recipe_foreign_at(int i);
/* Stores that the recipe or the command line has the key. */
void recipe_foreign_remember(struct recipe *r, const struct foreign_key *f);
/* True if recipe_foreign_remember stored it. */
bool recipe_foreign_given(const struct recipe *r, const char *name);

enum { RECIPE_PROGRAMS = 5 };
extern const char *const recipe_programs[];
/* Returns the value that a key of ours has in a program without the key, or NULL if that is not
 * known. */
const char *recipe_foreign_default(const char *key, int program);
/* Tells in one line which keys that decide the result are not given and have another value than in
 * the program whose keys the recipe has. If several programs may be meant, names them. */
void recipe_tell_defaults(const struct recipe *r, void (*tell)(const char *line));
/* Prints the table of these values, after an empty line. */
void recipe_list_defaults(FILE *to);

/* ---- invisible characters ---- */

enum { RECIPE_INVISIBLE = 64 };
/* Finds the first character that looks like a space or like nothing, but is not one to YAML. Writes
 * its code and name, and the number of characters before it. Returns false if there is none. */
bool recipe_invisible_find(const char *text, size_t bytes, size_t *column,
                           char what[RECIPE_INVISIBLE]);

/* ---- texts, origins, ranges ---- */

/* True if a text of target_modules is not names, but a regular expression. */
bool recipe_is_pattern(const char *names);
/* Returns a copy of a text that lives as long as the recipe, or NULL if memory runs out. */
const char *recipe_keep_text(struct recipe *r, const char *text);
/* Returns a pointer to the origin of a known key. The origin is NULL if nobody has set the key. */
const char **recipe_origin(struct recipe *r, const char *key);
/* Has somebody set this known key? */
bool recipe_is_given(const struct recipe *r, const char *key);
/* The keys that have an effect only on new adapters; first the RECIPE_LORA_NUMBERS. */
enum { RECIPE_LORA_KEYS = 6 };
extern const char *const recipe_lora_keys[RECIPE_LORA_KEYS];

/* Fails if a number is so large that a computation with it would overflow. */
int recipe_check_ranges(const struct recipe *r, struct fail *why) MUST_USE;

#endif
