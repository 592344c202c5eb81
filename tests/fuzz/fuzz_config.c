/* Reads config.json. An accepted file is the same after it is written and read again. Also, a
 * model_max_length that is found in a tokenizer_config.json lies inside the file. */
#include "lib/llama/config.h"
#include "lib/llama/local_rope.h"
#include "lib/llama/model_max_length.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct config c, again;
    size_t at, length;
    if (model_max_length_find((const char *)data, size, &at, &length))
        must(length && at < size && length <= size - at);
    if (config_read(&c, fuzz_file(0, data, size), &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    must(c.heads % c.kv_heads == 0 && c.head_dim % 2 == 0 && c.rope.factor >= 1);
    for (int style = 0; style < 2; style++) {
        json_t *json = config_to_json(&c, style);
        char *text = json_dumps(json, JSON_REAL_PRECISION(17));
        must(text && !config_parse(&again, text, "again", &why));
        must(rope_equal(&again.rope, &c.rope) && again.original_position == c.original_position);
        must(fabs(again.theta - c.theta) <= 1e-9 * c.theta && again.heads == c.heads);
        must(fabs(again.local_theta - c.local_theta) <= 1e-9 * c.local_theta);
        config_release(&again);
        json_decref(json);
        free(text);
    }
    if (c.head_dim <= 256) {
        float cos[3 * 128], sin[3 * 128];
        config_rope_tables(&c, 1 << 20, 5, 3, cos, sin);
        if (c.local_theta != 0) local_rope_tables(&c, 5, 3, cos, sin);
    }
    config_release(&c);
    return 0;
}
