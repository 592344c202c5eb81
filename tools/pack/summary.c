#include "tools/pack/summary.h"

#include "lib/cli/die.h"
#include "lib/common/json.h"
#include "lib/common/utf8.h"

struct source_summary *summary_source(struct summary *s, const char *name)
{
    for (int i = 0; i < s->sources; i++)
        if (!strcmp(s->source[i].name, name)) return &s->source[i];
    if (s->sources == SUMMARY_SOURCES) {
        struct source_summary *rest = &s->source[SUMMARY_SOURCES];
        snprintf(rest->name, sizeof rest->name, "(others)");
        return rest;
    }
    struct source_summary *made = &s->source[s->sources++];
    snprintf(made->name, sizeof made->name, "%s", name);
    return made;
}

void summary_document(struct summary *s, const char *source, uint64_t tokens)
{
    struct source_summary *e = summary_source(s, source);
    int bin = 0;
    while (tokens >> (bin + 1) && bin < SUMMARY_BINS - 1)
        bin++;
    e->documents++;
    e->tokens += tokens;
    e->bin[bin]++;
}

static int entries(const struct summary *s)
{
    return s->sources + (s->source[SUMMARY_SOURCES].documents > 0);
}

uint64_t summary_documents(const struct summary *s)
{
    uint64_t sum = 0;
    for (int i = 0; i <= SUMMARY_SOURCES; i++)
        sum += s->source[i].documents;
    return sum;
}

/* Prints the number of documents by length: below 1024 tokens, then by powers of two, then 32768
 * and more. */
static void print_lengths(const struct summary *s)
{
    enum { FIRST = 10, LAST = 15 };
    note("%-24s %9s %9s %9s %9s %9s %9s %9s", "documents by tokens", "< 1024", "1024", "2048",
         "4096", "8192", "16384", "32768");
    for (int i = 0; i < entries(s); i++) {
        const struct source_summary *e = &s->source[i < s->sources ? i : SUMMARY_SOURCES];
        unsigned long long n[LAST - FIRST + 2] = { 0 };
        for (int b = 0; b < SUMMARY_BINS; b++)
            n[b < FIRST ? 0 : b > LAST ? LAST - FIRST + 1 : b - FIRST + 1] += e->bin[b];
        note("%-24.24s %9llu %9llu %9llu %9llu %9llu %9llu %9llu", e->name, n[0], n[1], n[2], n[3],
             n[4], n[5], n[6]);
    }
}

void summary_print_sources(const struct summary *s)
{
    print_lengths(s);
    for (int i = 0; i < entries(s); i++) {
        const struct source_summary *e = &s->source[i < s->sources ? i : SUMMARY_SOURCES];
        note("%s: %llu documents, %llu tokens; drawn: %llu documents, %llu tokens", e->name,
             (unsigned long long)e->documents, (unsigned long long)e->tokens,
             (unsigned long long)e->drawn_documents, (unsigned long long)e->drawn_tokens);
    }
}

void summary_print(const struct summary *s)
{
    uint64_t documents = 0, tokens = 0;
    summary_print_sources(s);
    for (int i = 0; i <= SUMMARY_SOURCES; i++) {
        documents += s->source[i].documents;
        tokens += s->source[i].tokens;
    }
    note("%llu documents, %llu tokens in: %llu kept in %llu samples, %llu cut, %llu left out; %llu "
         "samples without a target dropped",
         (unsigned long long)documents, (unsigned long long)tokens, (unsigned long long)s->kept,
         (unsigned long long)s->samples, (unsigned long long)s->cut,
         (unsigned long long)s->left_out, (unsigned long long)s->without_target);
}

/* Returns the summary as JSON, which the caller frees. NULL: out of memory. */
static char *text_of(const struct summary *s)
{
    json_t *sources = json_object();
    for (int i = 0; i < entries(s); i++) {
        const struct source_summary *e = &s->source[i < s->sources ? i : SUMMARY_SOURCES];
        json_t *bins = json_array();
        for (int b = 0; b < SUMMARY_BINS; b++)
            json_array_append_new(bins, json_integer((json_int_t)e->bin[b]));
        char name[sizeof e->name];
        memcpy(name, e->name, sizeof name);
        utf8_mend(name);
        json_object_set_new(
            sources, name,
            json_pack("{s:I,s:I,s:I,s:I,s:o}", "documents", (json_int_t)e->documents, "tokens",
                      (json_int_t)e->tokens, "drawn_documents", (json_int_t)e->drawn_documents,
                      "drawn_tokens", (json_int_t)e->drawn_tokens, "lengths_log2", bins));
    }
    json_t *all = json_pack("{s:I,s:I,s:I,s:I,s:I,s:o}", "samples", (json_int_t)s->samples,
                            "tokens_kept", (json_int_t)s->kept, "tokens_cut", (json_int_t)s->cut,
                            "tokens_left_out", (json_int_t)s->left_out, "samples_without_target",
                            (json_int_t)s->without_target, "sources", sources);
    char *text = all ? json_text(all) : NULL;
    json_decref(all);
    return text;
}

int summary_begin(const struct summary *s, const char *path, struct output *out, struct fail *why)
{
    char *text = text_of(s);
    int status = text ? output_open(out, path, why) : fail(why, "out of memory");
    if (!status && (output_write(out, text, strlen(text), why) || output_sync(out, why))) {
        output_abandon(out);
        status = -1;
    }
    free(text);
    return status;
}
