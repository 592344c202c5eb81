/* YAML recipes, up to the check that a run begins with. */
#include "../../tools/train/recipe.h"
#include "fuzz.h"

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
    return 0;
}
