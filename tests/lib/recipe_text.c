#include "tests/lib/recipe_text.h"

#include "tests/lib/check.h"

#include <string.h>
#include <unistd.h>

int recipe_text_read(struct recipe *r, const char *yaml,
                     void (*ignored)(const char *key, const char *why), struct fail *why)
{
    char path[] = "/tmp/longqlora-recipe-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
    recipe_defaults(r);
    int status = recipe_read(r, path, ignored, why);
    unlink(path);
    return status;
}
