#include "tools/tokenize/lines.h"

#include "lib/common/utf8.h"
#include "lib/common/vocabulary.h"

static const char take_again[] =
    "take the lengths of this shard again (pack --lengths), and draw again";

int lines_open(struct lines *l, const char *path, size_t texts, struct fail *why)
{
    *l = (struct lines){ .path = path };
    if (drawn_lines_read(&l->drawn, path, why)) return -1;
    l->is_one_file = texts == 1 && l->drawn.file_count <= 1;
    return 0;
}

void lines_release(struct lines *l) { drawn_lines_release(&l->drawn); }

/* Compares the options of the header. The option of a key has the key's name, with '-' for '_': the
 * key train_on is --train-on. */
static int check_options(const struct lines *l, const struct msgpack_map *options, struct fail *why)
{
    char key[40];
    int status = msgpack_map_compare(&l->drawn.made_with, options, key, sizeof key, why);
    if (status <= 0) return status;
    if (!strcmp(key, "template_digest")) snprintf(key, sizeof key, "template");
    for (char *c = key; *c; c++)
        if (*c == '_') *c = '-';
    return fail_usage(why, "%s: the lengths were taken with another --%s: give the same", l->path,
                      key);
}

int lines_check_tokens(const struct lines *l, const struct token_info *info,
                       const struct msgpack_map *options, struct fail *why)
{
    const struct token_info *drawn = &l->drawn.text;
    const struct vocabulary tokens = { .tokenizer = drawn->tokenizer };
    const struct vocabulary own = { .name = "--model", .tokenizer = info->tokenizer };
    if (vocabulary_check(&tokens, &own, "name the tokenizer with which the lengths were taken",
                         why))
        return fail_in(why, l->path);
    if (strcmp(drawn->tokenizer, info->tokenizer) != 0 || drawn->vocab_size != info->vocab_size ||
        drawn->bos != info->bos || drawn->eos != info->eos || drawn->add_bos != info->add_bos ||
        drawn->add_eos != info->add_eos)
        return fail_input(
            why,
            "%s: the documents of the draw have another BOS, EOS or vocabulary: give "
            "the options with which their lengths were taken (--bos, --eos, --template)",
            l->path);
    return check_options(l, options, why);
}

/* Returns the index after the last drawn line of a file. */
static size_t end_of(const struct drawn_lines *d, size_t file)
{
    return file + 1 < d->file_count ? d->files[file + 1].first : d->line_count;
}

void lines_begin(struct lines *l, const char *name)
{
    const struct drawn_lines *d = &l->drawn;
    size_t next = l->read.file;
    char shown[TOKENS_ID_MAX]; /* the name in the ids of the documents */
    snprintf(shown, sizeof shown, "%.4000s", name);
    utf8_mend(shown);
    l->end = l->read.line;
    if (next == d->file_count) return;
    /* A file without a document is not in the list of the draw. */
    if (!l->is_one_file && strcmp(d->files[next].name, shown) != 0) return;
    l->end = end_of(d, next);
    l->read.file++;
}

static int missing(const struct lines *l, const char *name, struct fail *why)
{
    return fail_input(why, "%s: line %llu was drawn, but the text has no document there: %s", name,
                      (unsigned long long)l->drawn.lines[l->read.line].line, take_again);
}

int lines_want(struct lines *l, uint64_t line, struct fail *why)
{
    if (l->read.line == l->end) return 0;
    const struct drawn_line *next = &l->drawn.lines[l->read.line];
    if (line < next->line) return 0;
    if (line > next->line)
        return fail_input(why, "line %llu was drawn, but the text has no document there: %s",
                          (unsigned long long)next->line, take_again);
    l->read.line++;
    return 1;
}

int lines_check(struct lines *l, uint64_t line, const struct tokens *t, struct fail *why)
{
    const struct drawn_line *drawn = &l->drawn.lines[l->written.line++];
    must(drawn->line == line);
    if (drawn->tokens != t->count)
        return fail_input(why,
                          "%zu tokens, and it had %u when its length was taken: other options "
                          "(--text-key, --template …), or the text has changed: %s",
                          t->count, drawn->tokens, take_again);
    if (drawn->digest != tokens_digest(t))
        return fail_input(why,
                          "other tokens, or another source, than when its length was taken: other "
                          "options (--source-key …), or the text has changed: %s",
                          take_again);
    return 0;
}

int lines_end(struct lines *l, const char *name, struct fail *why)
{
    return l->read.line == l->end ? 0 : missing(l, name, why);
}

int lines_finish(const struct lines *l, const char *text_digest, struct fail *why)
{
    const struct drawn_lines *d = &l->drawn;
    if (l->read.line < d->line_count)
        return fail_input(
            why,
            "%s: lines of %s were drawn, and no text of this name follows the others: "
            "name the files of the shard as when its lengths were taken, in that order",
            l->path, d->files[l->read.file].name);
    if (strcmp(d->text_digest, text_digest) != 0)
        return fail_input(why,
                          "%s: the text is not that whose lengths were taken (digest %s, then %s): "
                          "%s",
                          l->path, text_digest, d->text_digest, take_again);
    return 0;
}
