/* Reads YAML recipes, up to the check at the beginning of a run, and a value as given on the
 * command line. */
#include "tests/fuzz/fuzz.h"
#include "tools/train/recipe.h"

static void ignored(const char *key, const char *reason)
{
    (void)key;
    (void)reason;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct recipe r;
    recipe_defaults(&r);
    if (recipe_read(&r, fuzz_file(0, data, size), ignored, &why) || recipe_check(&r, true, &why))
        fuzz_check_failure(&why);
    else
        json_decref(recipe_to_json(&r));
    recipe_release(&r);
    char *assignment = strndup((const char *)data, size);
    recipe_defaults(&r);
    if (assignment && recipe_override(&r, assignment, ignored, &why)) fuzz_check_failure(&why);
    recipe_release(&r);
    free(assignment);
    return 0;
}
