#include "tools/merge/parts.h"

#include <math.h>
#include <unistd.h>

int part_parse(struct part_word *p, const char *word, struct fail *why)
{
    const char *colon = strrchr(word, ':');
    char *end;
    *p = (struct part_word){ .weight = 1 };
    if (colon && colon[1] && access(word, F_OK)) {
        p->weight = strtod(colon + 1, &end);
        p->has_weight = true;
        if (*end || !isfinite(p->weight))
            return fail_usage(why, "--adapter %.300s: '%.40s' is not a weight", word, colon + 1);
    } else {
        colon = NULL;
    }
    p->path = colon ? strndup(word, (size_t)(colon - word)) : strdup(word);
    return p->path ? 0 : fail(why, "out of memory");
}

/* Fails if the adapter has another position scaling than the result, or if the base's config
 * computes something else than in the adapter's training. */
static int check_config(const struct adapter *a, const struct loaded *l, bool force_base,
                        const char *base_path, struct fail *why)
{
    struct config own;
    if (!a->has_rope) return 0;
    if (config_copy(&own, &l->weights.config, why)) return -1;
    own.original_position = l->config.original_position;
    int status = adapter_set_rope(a, &own, why);
    if (!status && !rope_equal(&own.rope, &l->config.rope))
        status = fail_input(why,
                            "trained with %s positions, factor %g, but the result has %s "
                            "positions, factor %g: merge this adapter alone",
                            rope_type_name(own.rope.type), own.rope.factor,
                            rope_type_name(l->config.rope.type), l->config.rope.factor);
    if (!status && !force_base && adapter_check_config(a, &own, base_path, why)) {
        struct fail first = *why;
        status = fail_input(why, "%s, or --force-base", first.text);
    }
    config_release(&own);
    return status;
}

static int check_base(struct parts *p, const struct adapter *a, const struct loaded *l,
                      const char *path, const char *base_path, struct fail *why)
{
    const struct weights *w = &l->weights;
    if (adapter_check_tokenizer(a, w->tokenizer, base_path, why) ||
        (w->base[0] && adapter_check_base(a, w->base, base_path, why)))
        return loaded_fail_base(path, !w->added_rows, why);
    p->checks_base = p->checks_base || (a->knows_base && !w->base[0]);
    return 0;
}

/* Copies the shapes that the adapter changes to the result's config. Each adapter is compared with
 * the original base. */
static int take_shape(const struct fit *fit, const struct config *own, struct loaded *l,
                      struct fail *why)
{
    if (fit->grows) {
        l->config.vocab = own->vocab;
        json_object_set(l->config.json, "vocab_size", json_object_get(own->json, "vocab_size"));
    }
    if (!fit->unties || !l->config.is_tied) return 0;
    l->config.is_tied = false;
    json_object_set_new(l->config.json, "tie_word_embeddings", json_false());
    return weights_untie(&l->weights, why);
}

static int open_part(struct parts *p, int i, struct loaded *l, const char *path, bool force_base,
                     const char *base_path, struct fail *why)
{
    struct adapter *a = &p->adapters[i];
    struct config own;
    if (adapter_open(a, path, why)) return -1;
    p->at[i].adapter = a;
    if (!force_base && check_base(p, a, l, path, base_path, why)) return -1;
    if (check_config(a, l, force_base, base_path, why)) return fail_in(why, path);
    if (config_copy(&own, &l->weights.config, why)) return -1;
    int status = adapter_fit(a, &own, &p->fits[i], why) ? fail_in(why, path) : 0;
    p->at[i].fit = &p->fits[i];
    if (!status) status = take_shape(&p->fits[i], &own, l, why);
    config_release(&own);
    return status;
}

/* Fails if an earlier adapter has the same bytes as the adapter i, unless both have a weight. The
 * second folder may be a copy, or the last checkpoint of the first. */
static int check_once(const struct parts *p, const struct part_word *words, int i, struct fail *why)
{
    for (int j = 0; j < i; j++)
        if (!strcmp(p->at[j].adapter->digest, p->at[i].adapter->digest) &&
            !(words[i].has_weight && words[j].has_weight))
            return fail_usage(why,
                              "--adapter %.150s: is the same adapter as --adapter %.150s, and "
                              "would be added twice: leave one out, or give each a weight (%.100s"
                              ":0.5)",
                              words[i].path, words[j].path, words[i].path);
    return 0;
}

int parts_open(struct parts *p, struct loaded *l, const struct part_word *words, int count,
               bool force_base, const char *base_path, struct fail *why)
{
    *p = (struct parts){ .count = count, .checks_base = l->must_check_base };
    for (int i = 0; i < count; i++) {
        p->at[i].path = words[i].path;
        p->at[i].weight = words[i].weight;
        if (!i) {
            p->at[i].adapter = &l->adapter;
            p->at[i].fit = &l->fit;
        } else if (open_part(p, i, l, words[i].path, force_base, base_path, why)) {
            return -1;
        }
        if (check_once(p, words, i, why)) return -1;
    }
    return 0;
}

void parts_close(struct parts *p)
{
    for (int i = 1; i < p->count && p->at[i].adapter; i++) {
        fit_release(&p->fits[i]);
        adapter_close(&p->adapters[i]);
    }
}
