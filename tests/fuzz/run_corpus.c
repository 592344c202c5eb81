/* run_corpus NAME FILE... - runs a fuzz target on the given inputs, as one TAP test. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    printf("1..1\n");
    fflush(stdout);
    for (int i = 2; i < argc; i++) {
        static uint8_t bytes[1 << 22];
        FILE *f = fopen(argv[i], "rb");
        must(f);
        size_t size = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        /* The buffer has exactly `size` bytes, so that sanitizers report a read beyond them. */
        uint8_t *exact = malloc(size + !size);
        must(exact);
        memcpy(exact, bytes, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%sok 1 - %d inputs of %s\n", argc > 2 ? "" : "not ", argc - 2, argv[1]);
    return argc <= 2;
}
