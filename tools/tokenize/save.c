#include "tools/tokenize/save.h"

#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/common/file_guard.h"
#include "lib/common/output_dir.h"
#include "lib/llama/companions.h"
#include "lib/llama/weights.h"
#include "lib/tokenizer/grown.h"

static struct fail why;

static int refuse_contents(const char *path, struct fail *fault)
{
    return fail(
        fault,
        "%.200s: is not empty, and an existing tokenizer is never replaced: name a new folder",
        path);
}

/* The program never replaces a folder that has contents. */
static const struct folder_kind kind = { "a tokenizer", companion_is, refuse_contents };

void save_declare(const struct options *o)
{
    if (!file_is_folder(o->model))
        die_usage("--model %s: the folder of the tokenizer's files is needed, because tokens are "
                  "added to all of them",
                  o->model);
    or_die(file_guard_output_folder("--save-tokenizer ", o->save, companion_is, &why), &why);
    or_die(folder_check(o->save, &kind, &why), &why);
}

/* Lists the new tokens in the order of their ids. The caller frees the list. */
static struct grown_token *list_tokens(const struct options *o, size_t *count)
{
    const struct opt_list *lists[] = { &o->tokens, &o->special_tokens };
    struct grown_token *tokens =
        calloc((size_t)(o->tokens.count + o->special_tokens.count), sizeof *tokens);
    *count = 0;
    if (!tokens) die(STATUS_FAILED, "out of memory");
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < lists[l]->count; i++) {
            const char *content = lists[l]->at[i];
            for (size_t j = 0; j < *count; j++)
                if (!strcmp(tokens[j].content, content))
                    die_usage("'%.60s' is given twice: leave one out", content);
            tokens[(*count)++] = (struct grown_token){ .content = content, .is_special = l > 0 };
        }
    return tokens;
}

static void print_tokens(const struct options *o, const struct tokenizer *t,
                         const struct grown_token *tokens, size_t count)
{
    static const char *const words[] = { "", ", a piece of the vocabulary",
                                         ", an added token already" };
    for (size_t i = 0; i < count; i++)
        note("token %u: '%s'%s%s", tokens[i].id, tokens[i].content,
             tokens[i].is_special ? ", special" : "", words[tokens[i].before]);
    note("%s: a tokenizer of %u tokens: a model with fewer rows needs more of them (quantize or "
         "merge, --resize-vocab %s)",
         o->save, tokenizer_vocab(t), o->save);
}

/* Copies the contents of the files, because grown_write changes them. */
static void take_files(struct grown_files *f, const struct companions *all)
{
    for (int i = 0; i < GROWN_FILES; i++) {
        const char *text = companions_text(all, grown_file_name((enum grown_file)i), &f->bytes[i]);
        f->text[i] = text ? strndup(text, f->bytes[i]) : NULL;
        if (text && !f->text[i]) die(STATUS_FAILED, "out of memory");
        if (text && strlen(text) != f->bytes[i])
            die(STATUS_INPUT, "%s: the file has a NUL byte", grown_file_name((enum grown_file)i));
    }
}

static void give_files(struct grown_files *f, struct companions *all)
{
    for (int i = 0; i < GROWN_FILES; i++)
        if (f->text[i])
            companions_set(all, grown_file_name((enum grown_file)i), f->text[i], f->bytes[i]);
}

static int write_folder(const struct companions *all, const struct tokenizer *t,
                        const struct folder *f)
{
    struct tokenizer *back;
    if (companions_write(all, f->temporary, &why) || tokenizer_open(&back, f->temporary, &why))
        return -1;
    int status = grown_compare(t, back, &why);
    tokenizer_close(back);
    return status;
}

void save_tokenizer(const struct options *o)
{
    struct tokenizer *t;
    struct companions *all;
    struct grown_files files;
    struct folder folder;
    size_t count;
    struct grown_token *tokens = list_tokens(o, &count);
    or_die(companions_read(&all, (struct companions_place){ .tokenizer = o->model }, &why), &why);
    or_die(tokenizer_open(&t, o->model, &why), &why);
    if (grown_add(t, tokens, count, &why)) die(why.status, "%s: %s", o->model, why.text);
    take_files(&files, all);
    if (grown_write(t, tokens, count, &files, &why)) die(why.status, "%s: %s", o->model, why.text);
    give_files(&files, all);
    or_die(folder_open(&folder, o->save, &kind, &why), &why);
    if (write_folder(all, t, &folder)) {
        fail_rename(&why, folder.temporary, o->save);
        folder_abandon(&folder);
        die(why.status, "%s", why.text);
    }
    or_die(folder_close(&folder, &why), &why);
    print_tokens(o, t, tokens, count);
    companions_free(all);
    tokenizer_close(t);
    free(tokens);
}
