#include "scratch.h"

#include "../../lib/common/folder.h"

#include <stdio.h>
#include <stdlib.h>

char scratch_directory[] = "/tmp/longqlora-test-XXXXXX";
char scratch_file[sizeof scratch_directory + 5];

int scratch_open(void **state)
{
    (void)state;
    if (!mkdtemp(scratch_directory)) return -1;
    snprintf(scratch_file, sizeof scratch_file, "%s/file", scratch_directory);
    return 0;
}

int scratch_close(void **state)
{
    (void)state;
    struct fail why;
    return folder_remove(scratch_directory, &why);
}
