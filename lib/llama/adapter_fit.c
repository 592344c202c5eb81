/* adapter_fit.c - decides which tensors of a base an adapter changes, and how, as PEFT 0.21
 * does. */
#include "lib/llama/adapter_rules.h"

#include "lib/common/suffix.h"
#include "lib/llama/adapter.h"
#include "lib/llama/families.h"

#include <math.h>

/* The state while an adapter is matched with a base. */
struct fitting {
    const struct adapter *a;
    struct config *c;
    struct fit *fit;
    struct adapter_rules *rules;
    /* The tensors of the model with the adapter; the last is the head, even if it is tied. */
    struct tensor *table;
    bool *used, *trainable_params_used; /* one flag for each tensor of the adapter's files */
};

static bool is_in_trainable_params(const struct adapter *a, const struct stored_tensor *s)
{
    return a->has_trainable_params && s >= a->trainable_params.at &&
           s < a->trainable_params.at + a->trainable_params.count;
}

/* Marks a tensor of a file as used. */
static void mark(struct fitting *f, const struct stored_tensor *s)
{
    if (!s) return;
    if (is_in_trainable_params(f->a, s))
        f->trainable_params_used[s - f->a->trainable_params.at] = true;
    else
        f->used[s - f->a->file.at] = true;
}

/* ---- modules without a tensor of their own ---- */

static int check_block(struct fitting *f, const char *module, struct fail *why)
{
    int found = adapter_rules_target(f->rules, module, false, why);
    if (found < 0) return -1;
    if (found)
        return fail_input(why,
                          "target_modules matches %s, which is not a linear layer, embedding or "
                          "head; PEFT refuses it too",
                          module);
    return 0;
}

static int check_blocks(struct fitting *f, struct fail *why)
{
    static const char *const own[] = { "", ".self_attn", ".mlp", ".mlp.act_fn" };
    char module[64];
    if (check_block(f, "model", why) || check_block(f, "model.layers", why) ||
        check_block(f, "model.rotary_emb", why))
        return -1;
    for (int64_t l = 0; l < f->c->layers; l++)
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            snprintf(module, sizeof module, "model.layers.%lld%s", (long long)l, own[i]);
            if (check_block(f, module, why)) return -1;
        }
    return 0;
}

/* ---- each tensor ---- */

static int find_scale(struct fitting *f, const char *module, struct adapted *own, struct fail *why)
{
    const struct adapter *a = f->a;
    const json_t *rank, *alpha;
    if (adapter_rules_rank(f->rules, module, &rank, why) ||
        adapter_rules_alpha(f->rules, module, &alpha, why))
        return -1;
    own->rank = rank ? (int64_t)json_integer_value(rank) : a->rank;
    double r = (double)own->rank, value = alpha ? json_number_value(alpha) : a->plain_alpha;
    if (!rank && !alpha)
        own->scale = a->alpha / r;
    else
        own->scale = value / (a->is_rank_stabilized ? sqrt(r) : r);
    return 0;
}

/* Does modules_to_save name the module, or a block that contains it? At most one name may match the
 * module, because PEFT cannot load a module that it has saved twice. */
static int find_saved(const struct fitting *f, const char *module, bool *is_saved, struct fail *why)
{
    char name[64];
    snprintf(name, sizeof name, "%s", module);
    *is_saved = false;
    for (char *dot = name; dot; dot = strrchr(name, '.')) {
        if (dot != name) *dot = 0;
        if (!adapter_rules_save(f->rules, name)) continue;
        if (*is_saved)
            return fail_input(why,
                              "modules_to_save lists both %s and %s, which contains it: PEFT "
                              "cannot load that either",
                              module, name);
        *is_saved = true;
    }
    return 0;
}

/* A bias has no LoRA matrices of its own. But the adapter may replace its whole module, and the
 * bias with it. */
static int match_bias(struct fitting *f, int64_t i, struct fail *why)
{
    char module[64];
    tensor_module(&f->table[i], module);
    return find_saved(f, module, &f->fit->each[i].is_saved_whole, why);
}

static int match_tensor(struct fitting *f, int64_t i, struct fail *why)
{
    const struct tensor *t = &f->table[i];
    struct adapted *own = &f->fit->each[i];
    char module[64];
    if (t->role == ROLE_BIAS) return match_bias(f, i, why);
    tensor_module(t, module);
    int found = adapter_rules_target(f->rules, module, t->role == ROLE_LINEAR, why);
    if (found < 0) return -1;
    if (found && !tensor_may_adapt(t))
        return fail_input(why, "target_modules matches %s, a norm; PEFT refuses it too", module);
    if (find_saved(f, module, &own->is_saved_whole, why)) return -1;
    if (found && own->is_saved_whole)
        return fail_input(why, "%s is in target_modules and in modules_to_save", module);
    return found ? find_scale(f, module, own, why) : 0;
}

/* ---- embedding and head ---- */

static bool are_equal(const struct stored_tensor *a, const struct stored_tensor *b)
{
    return a->dtype == b->dtype && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

/* For a tied base. Fails if a tensor of this kind is stored for the head, unless the same values
 * are stored for the embedding. */
static int check_equal(struct fitting *f, const struct tensor *head, int kind, struct fail *why)
{
    const struct stored_tensor *e = adapter_find(f->a, &f->table[0], kind);
    const struct stored_tensor *h = adapter_find(f->a, head, kind);
    /* PEFT stores a copy of the base's matrix only for the module that has LoRA matrices. */
    bool may_be_alone = kind == STORED_BASE;
    if (!h || (e ? are_equal(e, h) : may_be_alone)) return 0;
    return fail_input(why,
                      "the base's head is its embedding, but %s %s: PEFT would use the head's for "
                      "both: store equal values, or set modules_to_save",
                      h->name, e ? "differs from the embedding's" : "is stored alone");
}

/* Keeps the head tied to the embedding. */
static int stay_tied(struct fitting *f, const struct tensor *head, struct fail *why)
{
    struct adapted *e = &f->fit->each[0];
    f->fit->count--;
    e->is_saved_whole = e->is_saved_whole || f->fit->each[f->fit->count].is_saved_whole;
    if (check_equal(f, head, TRAINED_WEIGHT, why)) return -1;
    mark(f, adapter_find(f->a, head, TRAINED_WEIGHT));
    return 0;
}

/* Decides for a tied base whether the head stays tied. The table has the head as its last
 * tensor. */
static int decide_tie(struct fitting *f, struct fail *why)
{
    const struct tensor *head = &f->table[f->fit->count - 1];
    const struct adapted *e = &f->fit->each[0], *h = &f->fit->each[f->fit->count - 1];
    bool saves = e->is_saved_whole || h->is_saved_whole, adapts = e->rank || h->rank;
    bool is_ours = f->a->knows_base && f->a->head != HEAD_BY_PEFT;
    if (f->a->ties_head && adapts)
        return fail_input(
            why, "ensure_weight_tying with LoRA on the embedding or the head is not supported: "
                 "merge it in PEFT (merge_and_unload) and use the merged model");
    if ((is_ours || f->a->ties_head) && saves) return stay_tied(f, head, why);
    if (!saves && !adapts) return stay_tied(f, head, why);
    f->fit->unties = true;
    return check_equal(f, head, STORED_BASE, why);
}

/* Is a trained bias stored under the name that PEFT reads? If the linear layer has LoRA matrices,
 * PEFT wraps it, and the name is that of the inner module. */
static bool has_trained_bias(const struct fitting *f, int64_t i)
{
    const struct stored_tensor *s = adapter_find(f->a, &f->table[i], TRAINED_WEIGHT);
    bool is_inside = f->fit->each[tensor_biased(f->table, i)].rank;
    return s && !strstr(s->name, ".base_layer.") == !is_inside;
}

/* Uses the whole tensors that PEFT stores even if modules_to_save does not name them. These are
 * embedding and head of a changed vocabulary, LongLoRA's embedding and norms, and trained biases.
 * They replace the base's tensors. */
static void use_stored(struct fitting *f)
{
    for (int64_t i = 0; i < f->fit->count; i++) {
        const struct tensor *t = &f->table[i];
        struct adapted *own = &f->fit->each[i];
        bool is_table = t->role == ROLE_EMBEDDING || t->role == ROLE_HEAD;
        bool is_trainable_param =
            f->a->has_trainable_params && (t->role == ROLE_EMBEDDING || t->role == ROLE_NORM);
        bool is_bias = t->role == ROLE_BIAS && has_trained_bias(f, i);
        const struct stored_tensor *s = adapter_find(f->a, t, TRAINED_WEIGHT);
        if (!s || own->rank || !(is_table || is_trainable_param || is_bias)) continue;
        bool is_unlisted = is_table && !own->is_saved_whole && !is_in_trainable_params(f->a, s);
        if (is_unlisted) f->fit->unlisted |= 1u << t->part;
        own->is_saved_whole = true;
    }
}

/* Are all rows of the head in the adapter's files? If the head has LoRA matrices, its rows may be
 * in the copy of the base's head, or in the copy of the embedding to which the base's head is tied.
 */
static bool stores_head(const struct fitting *f)
{
    const struct tensor *head = &f->table[f->fit->count - 1];
    const struct adapted *h = &f->fit->each[f->fit->count - 1];
    bool has_copy = adapter_find(f->a, head, STORED_BASE) ||
                    (f->fit->unties && adapter_find(f->a, &f->table[0], STORED_BASE));
    return h->is_saved_whole || has_copy;
}

/* For an adapter without an embedding of more rows: fails if its copy of the head has more rows
 * than the base. */
static int check_head_rows(const struct fitting *f, struct fail *why)
{
    const struct tensor *head = &f->table[f->fit->count - 1];
    const struct stored_tensor *s =
        head->role == ROLE_HEAD ? adapter_find(f->a, head, STORED_BASE) : NULL;
    if (!s || s->dims != 2 || s->shape[0] <= f->c->vocab) return 0;
    return fail_input(
        why,
        "%s has %lld rows and the base has %lld, but the adapter has no rows of the embedding for "
        "the new tokens: name the resized base on which it was trained, or "
        "merge it in PEFT (merge_and_unload)",
        s->name, (long long)s->shape[0], (long long)f->c->vocab);
}

/* Handles an embedding with more rows than the base has. PEFT needs a base that was resized before.
 * These programs need an adapter that contains both the embedding and the head. */
static int grow_vocabulary(struct fitting *f, struct fail *why)
{
    bool is_adapted = f->fit->each[0].rank;
    const struct stored_tensor *e =
        adapter_find(f->a, &f->table[0], is_adapted ? (int)STORED_BASE : (int)TRAINED_WEIGHT);
    long long had = (long long)f->c->vocab;
    if (!e || is_in_trainable_params(f->a, e) || e->dims != 2 || e->shape[0] <= f->c->vocab)
        return check_head_rows(f, why);
    bool has_head = f->table[f->fit->count - 1].role == ROLE_HEAD;
    if (e->shape[0] > 1 << 24) return fail_input(why, "%s has more than 2^24 rows", e->name);
    if (has_head && !stores_head(f))
        return fail_input(why,
                          "%s has %lld rows and the base has %lld, but the adapter has no rows of "
                          "the head for the new tokens: %s",
                          e->name, (long long)e->shape[0], had,
                          is_adapted ? "name the resized base on which it was trained, or merge "
                                       "it in PEFT (merge_and_unload)"
                                     : "save the adapter with save_embedding_layers=True");
    f->c->vocab = e->shape[0];
    f->fit->grows = true;
    json_object_set_new(f->c->json, "vocab_size", json_integer((json_int_t)f->c->vocab));
    f->table[0].rows = f->c->vocab;
    if (has_head) f->table[f->fit->count - 1].rows = f->c->vocab;
    return 0;
}

/* Reads trainable_token_indices: a list of ids, or an object whose only key is the embedding. */
static int read_tokens(struct fitting *f, struct fail *why)
{
    json_t *list = json_object_get(f->a->config, "trainable_token_indices"), *item;
    const char *key = NULL;
    size_t i;
    if (json_is_object(list)) {
        void *first = json_object_iter(list);
        key = first ? json_object_iter_key(first) : "";
        if (json_object_size(list) != 1 || !suffix_is("model.embed_tokens", key) || !*key)
            return fail_input(why,
                              "trainable_token_indices names %s, but only embed_tokens alone is "
                              "supported: merge it in PEFT (merge_and_unload) and use the merged "
                              "model",
                              json_object_size(list) == 1 ? key : "several modules");
        list = json_object_iter_value(first);
    }
    if (!json_array_size(list)) return 0;
    if (f->fit->each[0].is_saved_whole || f->fit->each[0].rank || f->fit->unties)
        return fail_input(why, "trainable_token_indices together with an adapter of the embedding "
                               "or the head is not supported");
    bool *seen = calloc((size_t)f->c->vocab, sizeof *seen);
    int status = seen ? 0 : fail(why, "out of memory");
    json_array_foreach(list, i, item)
    {
        json_int_t token = json_is_integer(item) ? json_integer_value(item) : -1;
        if (status) break;
        if (token < 0 || token >= f->c->vocab || seen[token])
            status = fail_input(why,
                                "trainable_token_indices: number %zu is no token of this base, "
                                "or occurs twice",
                                i);
        else
            seen[token] = true;
    }
    free(seen);
    f->fit->tokens = status ? NULL : list;
    return status;
}

/* ---- the files ---- */

static int check_stored(struct fitting *f, const struct tensor *t, int kind, int64_t rows,
                        int64_t cols, struct fail *why)
{
    if (adapter_check_shape(f->a, t, kind, rows, cols, why)) return -1;
    mark(f, adapter_find(f->a, t, kind));
    return 0;
}

/* Fails if a model of this family cannot have a bias for that tensor. */
static int check_bias(const struct fitting *f, const struct tensor *t, struct fail *why)
{
    if (tensor_can_have_bias(f->c, t)) return 0;
    return fail_input(why,
                      "lora_bias on %s: a model of the type %s cannot have a bias there, so the "
                      "adapter cannot be merged: use it in PEFT",
                      t->name, f->c->family->model_type);
}

static int check_tokens(struct fitting *f, struct fail *why)
{
    const struct tensor *t = &f->table[0];
    if (!f->fit->tokens) return 0;
    if (check_stored(f, t, STORED_TOKENS, (int64_t)json_array_size(f->fit->tokens), t->cols, why))
        return -1;
    f->fit->each[0].is_saved_whole = true;
    return 0;
}

static int check_tensor(struct fitting *f, int64_t i, struct fail *why)
{
    const struct tensor *t = &f->table[i];
    const struct adapted *own = &f->fit->each[i];
    bool is_embedding = t->role == ROLE_EMBEDDING;
    if (own->is_saved_whole && check_stored(f, t, TRAINED_WEIGHT, t->rows, t->cols, why)) return -1;
    if (!own->rank) return 0;
    if (is_embedding ? check_stored(f, t, STORED_EMBEDDING_A, own->rank, t->rows, why) ||
                           check_stored(f, t, STORED_EMBEDDING_B, t->cols, own->rank, why)
                     : check_stored(f, t, TRAINED_LORA_A, own->rank, t->cols, why) ||
                           check_stored(f, t, TRAINED_LORA_B, t->rows, own->rank, why))
        return -1;
    if (f->a->has_bias &&
        (check_bias(f, t, why) || check_stored(f, t, STORED_BIAS, t->rows, 1, why)))
        return -1;
    if (f->a->is_dora &&
        check_stored(f, t, STORED_MAGNITUDE, is_embedding ? t->cols : t->rows, 1, why))
        return -1;
    if (t->role == ROLE_LINEAR || !adapter_find(f->a, t, STORED_BASE)) return 0;
    return check_stored(f, t, STORED_BASE, t->rows, t->cols, why);
}

/* May this tensor stay unused? Yes, if only training uses it. Yes, if PEFT writes it beside a
 * replaced module and does not read it back: its name then contains ".modules_to_save." or
 * ".original_module.". There is one exception. If the adapter unties the head, a tensor with
 * ".original_module." may be the only copy of the embedding or the head. It may then stay unused
 * only if the adapter replaces both embedding and head. */
static bool may_be_unused(const struct fitting *f, const char *name)
{
    bool is_alone = !f->fit->unties || (f->fit->each[0].is_saved_whole &&
                                        f->fit->each[f->fit->count - 1].is_saved_whole);
    return strstr(name, ".lora_velora_embed") || strstr(name, ".lora_monteclora_sampler.") ||
           strstr(name, ".modules_to_save.") || (is_alone && strstr(name, ".original_module."));
}

/* Fails with what is wrong with a trained bias that was not used. PEFT reads a bias under one name:
 * if the linear layer has LoRA matrices, that of the inner module. */
static int fail_bias(const struct fitting *f, const char *name, struct fail *why)
{
    for (int64_t i = 0; i < f->fit->count; i++) {
        const struct tensor *t = &f->table[i];
        char plain[160], inner[160];
        if (t->role != ROLE_BIAS) continue;
        adapter_bias_name(t, false, plain, sizeof plain);
        adapter_bias_name(t, true, inner, sizeof inner);
        size_t module = strlen(plain) - strlen("bias");
        if (strncmp(name, plain, module) != 0) continue;
        return fail_input(why,
                          "its tensor %s is a trained bias, which PEFT reads only as %s: rename it",
                          name, f->fit->each[tensor_biased(f->table, i)].rank ? inner : plain);
    }
    return fail_input(why, "its tensor %s is a trained bias, but this base has no such bias", name);
}

static int check_all_used(const struct fitting *f, const struct tensor_file *file, const bool *used,
                          struct fail *why)
{
    for (size_t i = 0; i < file->count; i++) {
        const char *name = file->at[i].name;
        if (used[i] || may_be_unused(f, name)) continue;
        if (suffix_is(name, ".bias")) return fail_bias(f, name, why);
        return fail_input(why,
                          "its tensor %s matches no module of this base and adapter_config.json: "
                          "was the adapter trained on another base?",
                          name);
    }
    return 0;
}

static void find_merge_only(struct fitting *f)
{
    if (f->fit->grows && (f->fit->each[0].rank || f->fit->each[f->fit->count - 1].rank))
        f->fit->merge_only = "LoRA on an embedding or a head with more tokens than the base's";
    if (f->a->is_dora) f->fit->merge_only = "DoRA";
    if (f->a->has_bias) f->fit->merge_only = "lora_bias";
}

/* Compares the stored biases with those that PEFT would train further: all biases, or with
 * lora_only the biases of linear layers with LoRA matrices. A module that is replaced as a whole
 * includes its bias. */
static void find_not_trainable(struct fitting *f)
{
    const char *which = json_string_value(json_object_get(f->a->config, "bias"));
    bool is_all = which && !strcmp(which, "all"), is_lora = which && !strcmp(which, "lora_only");
    for (int64_t i = 0; i < f->fit->count; i++) {
        const struct adapted *of = NULL;
        if (f->table[i].role == ROLE_BIAS) of = &f->fit->each[tensor_biased(f->table, i)];
        if (!of || (of->is_saved_whole && !of->rank)) continue;
        bool is_trained = is_all || (is_lora && of->rank);
        if (is_trained && !f->fit->each[i].is_saved_whole)
            f->fit->not_trainable = "its key 'bias' says that biases are trained, but its files do "
                                    "not have all of them (bias: none trains none)";
        else if (!is_trained && f->fit->each[i].is_saved_whole)
            f->fit->not_trainable = "its files have biases that its key 'bias' does not train";
    }
    if (f->fit->tokens)
        f->fit->not_trainable =
            "single rows of the embedding (trainable_token_indices) are not supported in training";
}

/* If target_modules is missing, PEFT has default names for some families only. */
static int check_targets(const struct fitting *f, struct fail *why)
{
    const json_t *targets = json_object_get(f->a->config, "target_modules");
    if (json_is_array(targets) || json_is_string(targets) || f->c->family->has_peft_targets)
        return 0;
    return fail_input(why, "target_modules is null, for which PEFT has no names in a %s: name them",
                      f->c->family->model_type);
}

static int match_all(struct fitting *f, struct fail *why)
{
    struct fit *fit = f->fit;
    bool is_tied = f->c->is_tied, carries = false;
    if (check_targets(f, why) || check_blocks(f, why)) return -1;
    for (int64_t i = 0; i < fit->count; i++) {
        if (match_tensor(f, i, why)) return -1;
        carries = carries || fit->each[i].rank;
    }
    if (!carries)
        return fail_input(why, "target_modules matches no module of this base (exclude_modules and "
                               "layers_to_transform count)");
    if (is_tied && decide_tie(f, why)) return -1;
    use_stored(f);
    if (grow_vocabulary(f, why) || read_tokens(f, why)) return -1;
    for (int64_t i = 0; i < fit->count; i++)
        if (check_tensor(f, i, why)) return -1;
    if (check_tokens(f, why)) return -1;
    if (fit->unties) {
        f->c->is_tied = false;
        json_object_set_new(f->c->json, "tie_word_embeddings", json_false());
    }
    find_merge_only(f);
    find_not_trainable(f);
    if (check_all_used(f, &f->a->file, f->used, why)) return -1;
    return f->a->has_trainable_params
               ? check_all_used(f, &f->a->trainable_params, f->trainable_params_used, why)
               : 0;
}

static int open_fitting(struct fitting *f, struct fail *why)
{
    struct config untied = *f->c;
    untied.is_tied = false;
    f->fit->count = tensors_list(&untied, &f->table, why);
    if (f->fit->count < 0) return -1;
    f->fit->each = calloc((size_t)f->fit->count, sizeof *f->fit->each);
    f->used = calloc(f->a->file.count + 1, sizeof *f->used);
    f->trainable_params_used = calloc(
        (f->a->has_trainable_params ? f->a->trainable_params.count : 0) + 1, sizeof *f->used);
    if (!f->fit->each || !f->used || !f->trainable_params_used) return fail(why, "out of memory");
    return adapter_rules_open(&f->rules, f->a->config, why);
}

int adapter_fit(const struct adapter *a, struct config *c, struct fit *fit, struct fail *why)
{
    struct fitting f = { .a = a, .c = c, .fit = fit };
    *fit = (struct fit){ 0 };
    int status = open_fitting(&f, why) || match_all(&f, why) ? -1 : 0;
    adapter_rules_close(f.rules);
    free(f.table);
    free(f.used);
    free(f.trainable_params_used);
    return status;
}

void fit_release(struct fit *fit)
{
    free(fit->each);
    *fit = (struct fit){ 0 };
}

int fit_check_applied(const struct fit *fit, const char *directory, struct fail *why)
{
    if (!fit->merge_only) return 0;
    return fail_input(why,
                      "%s: %s: only merge supports it: merge it first, and name the merged model",
                      directory, fit->merge_only);
}
