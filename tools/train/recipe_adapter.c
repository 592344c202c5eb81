/* Copies the values that the recipe does not set from an adapter that is trained further. */
#include "tools/train/recipe_inside.h"

#include <math.h>
#include <strings.h>

/* Writes the names of those of `parts` that may have LoRA matrices. */
static void list_targets(uint32_t parts, const char *separator, char *text, size_t size)
{
    size_t used = 0;
    *text = 0;
    for (int part = 0; part < PART_COUNT; part++)
        if (parts >> part & 1 && part_target((enum part)part))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? separator : "",
                                     part_target((enum part)part));
    must(used < size);
}

bool recipe_is_pattern(const char *names) { return names[strcspn(names, "()[]{}|*+?^$\\")]; }

int recipe_targets(const struct recipe *r, uint32_t *parts, struct fail *why)
{
    const char *list = r->target_modules;
    bool is_all = !strcmp(list, "all");
    char names[200];
    list_targets(~0u, ", ", names, sizeof names);
    *parts = is_all ? parts_of_role(ROLE_LINEAR) : 0;
    if (recipe_is_pattern(list))
        return fail_usage(why,
                          "target_modules: '%.200s' is a regular expression, which is not "
                          "understood: write all, or a list of %s",
                          list, names);
    while (!is_all && *list) {
        char name[64];
        size_t n = strcspn(list, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, list);
        int part = part_by_target(name);
        if (!strcmp(name, "all") || !strcmp(name, "all-linear"))
            return fail_usage(why,
                              "target_modules: '%s' has no meaning beside other names: write it "
                              "alone, or a list of %s",
                              name, names);
        if (part < 0)
            return fail_usage(why, "target_modules: '%s' cannot have an adapter, only %s can", name,
                              names);
        *parts |= 1u << part;
        list += n + (list[n] == ',');
    }
    return *parts ? 0 : fail_usage(why, "target_modules: the list is empty");
}

int recipe_check_targets(const struct recipe *r, const struct config *c, struct fail *why)
{
    char names[200];
    uint32_t parts, own = 0;
    if (!strcmp(r->target_modules, "all")) return 0;
    if (recipe_targets(r, &parts, why)) return -1;
    for (int part = 0; part < PART_COUNT; part++)
        if (part_exists(c, (enum part)part)) own |= 1u << part;
    list_targets(own, ", ", names, sizeof names);
    for (int part = 0; part < PART_COUNT; part++)
        if (parts & ~own & 1u << part)
            return fail_usage(why, "target_modules: this model has no %s: it has %s",
                              part_target((enum part)part), names);
    uint32_t twice = parts & recipe_modules_to_save(r);
    if (!twice) return 0;
    list_targets(twice, " and ", names, sizeof names);
    return fail_usage(why,
                      "target_modules: %s: train_embedding already trains all of their weights: "
                      "leave out one of the two keys",
                      names);
}

/* True if the recipe does not set the key. In that case the adapter is recorded as the origin of
 * its value. */
static bool leaves_open(struct recipe *r, const char *key)
{
    const char **origin = recipe_origin(r, key);
    if (*origin) return false;
    *origin = "the adapter";
    return true;
}

static int read_flag(struct recipe *r, const char *key, bool *value, bool own, struct fail *why)
{
    if (leaves_open(r, key)) *value = own;
    if (*value == own) return 0;
    return fail_usage(why, "%s: %s, but the adapter has %s: leave the key out", key,
                      *value ? "true" : "false", own ? "trained norms" : "none");
}

static int read_targets(struct recipe *r, const struct adapter *a, struct fail *why)
{
    char list[256];
    uint32_t parts;
    list_targets(a->targets, ",", list, sizeof list);
    if (leaves_open(r, "target_modules")) {
        r->target_modules = recipe_keep_text(r, list);
        return r->target_modules ? 0 : fail(why, "out of memory");
    }
    if (recipe_targets(r, &parts, why)) return -1;
    if (parts == a->targets) return 0;
    return fail_usage(why, "target_modules: %s, but the adapter has %s: leave the key out",
                      r->target_modules, list);
}

uint32_t recipe_modules_to_save(const struct recipe *r)
{
    uint32_t modules_to_save = r->train_norm ? parts_of_role(ROLE_NORM) : 0;
    if (r->train_embedding != EMBEDDING_FROZEN) modules_to_save |= parts_of_role(ROLE_EMBEDDING);
    if (r->train_embedding == EMBEDDING_AND_HEAD) modules_to_save |= parts_of_role(ROLE_HEAD);
    return modules_to_save;
}

static int read_embedding(struct recipe *r, const struct adapter *a, struct fail *why)
{
    bool embedding = a->modules_to_save & parts_of_role(ROLE_EMBEDDING);
    bool head = a->modules_to_save & parts_of_role(ROLE_HEAD);
    enum embedding own = !embedding ? EMBEDDING_FROZEN
                         : head     ? EMBEDDING_AND_HEAD
                                    : EMBEDDING_ALONE;
    bool is_old = a->knows_base && a->head == HEAD_TIED_OLD;
    enum embedding given = r->train_embedding;
    if (head && !embedding)
        return fail_usage(why,
                          "%s: its modules_to_save names the head without the embedding, which is "
                          "not supported in training: merge it, and train on the merged model",
                          r->adapter);
    /* If an older program made the adapter, its value true meant the embedding without the head. */
    bool is_same = given == own || (is_old && embedding && given == EMBEDDING_AND_HEAD);
    if (!leaves_open(r, "train_embedding") && !is_same)
        return fail_usage(why, "train_embedding: %s, but the adapter has %s: train_embedding: %s",
                          recipe_embeddings[given],
                          embedding ? head ? "embedding and head" : "the embedding alone" : "none",
                          recipe_embeddings[own]);
    r->train_embedding = own;
    return 0;
}

/* Takes the adapter's dropout if the recipe has none, as PEFT does. For PEFT a dropout below 0 is
 * none. A recipe may choose another dropout, because it is no part of the adapter's function. */
static int read_dropout(struct recipe *r, const struct adapter *a, void (*tell)(const char *),
                        struct fail *why)
{
    char line[160];
    double own = a->dropout > 0 ? a->dropout : 0;
    bool is_given = !leaves_open(r, "lora_dropout");
    if (!is_given) r->lora_dropout = own;
    if (r->lora_dropout >= 1)
        return fail_usage(why, "%s: its lora_dropout is %g: set lora_dropout below 1", r->adapter,
                          own);
    snprintf(line, sizeof line, "lora_dropout: %g, but the adapter has %g, which PEFT would take",
             r->lora_dropout, own);
    if (is_given && tell && fabs(r->lora_dropout - own) > 1e-9) tell(line);
    return 0;
}

int recipe_use_adapter(struct recipe *r, const struct adapter *a, void (*tell)(const char *),
                       struct fail *why)
{
    bool norms = a->modules_to_save & parts_of_role(ROLE_NORM);
    if (a->is_dora)
        return fail_usage(
            why, "%s: DoRA is not supported in training: merge it, and train on the merged model",
            r->adapter);
    const char *init = json_string_value(json_object_get(a->config, "init_lora_weights"));
    if (init && !strcasecmp(init, "mica"))
        return fail_usage(why,
                          "%s: MiCA (init_lora_weights: mica), of which PEFT trains only the "
                          "matrices A, is not supported in training: merge it, and train on the "
                          "merged model",
                          r->adapter);
    static const char *const ways[] = { "velora_config", "monteclora_config" };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (json_object_size(json_object_get(a->config, ways[i])))
            return fail_usage(why,
                              "%s: %s, with which PEFT trains in another way, is not supported in "
                              "training: merge it, and train on the merged model",
                              r->adapter, ways[i]);
    if (leaves_open(r, "lora_rank")) r->lora_rank = a->rank;
    if (leaves_open(r, "lora_alpha")) r->lora_alpha = a->alpha;
    if (r->lora_rank != a->rank)
        return fail_usage(why, "lora_rank: %lld, but the adapter has %lld: leave the key out",
                          (long long)r->lora_rank, (long long)a->rank);
    /* Older programs rounded the alpha of rank-stabilized adapters in --print-config. */
    if (fabs(r->lora_alpha - a->alpha) > 1e-9 * fabs(a->alpha))
        return fail_usage(why, "lora_alpha: %g, but the adapter has %g: leave the key out",
                          r->lora_alpha, a->alpha);
    r->lora_alpha = a->alpha;
    if (read_dropout(r, a, tell, why)) return -1;
    if (read_embedding(r, a, why) || read_flag(r, "train_norm", &r->train_norm, norms, why))
        return -1;
    return read_targets(r, a, why);
}
