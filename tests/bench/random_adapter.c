/* random_adapter CONFIG OUT_DIR RANK - writes a PEFT adapter with random matrices for every linear
 * layer, in f32. It is used for benchmarks at full size. */
#include "lib/cli/die.h"
#include "lib/common/output.h"
#include "lib/common/rng.h"
#include "lib/llama/adapter.h"
#include "lib/tensorfile/safetensors.h"

static struct fail why;

static void put_matrix(struct safetensors_writer *w, uint64_t index, int64_t count)
{
    enum { PIECE = 1 << 16 };
    static float values[PIECE];
    uint64_t key = rng_key(index, "adapter");
    for (int64_t i = 0; i < count; i += PIECE) {
        int64_t n = count - i < PIECE ? count - i : PIECE;
        for (int64_t j = 0; j < n; j++)
            values[j] = 0.02f * (rng_uniform(key, 0, (uint64_t)(i + j)) - 0.5f);
        or_die(safetensors_put(w, values, (size_t)n * sizeof *values, &why), &why);
    }
}

int main(int argc, char **argv)
{
    struct config c;
    struct tensor *table;
    struct safetensors_writer *w;
    char path[4096];
    die_init("random_adapter", false);
    if (argc != 4) die_usage("random_adapter CONFIG OUT_DIR RANK");
    int64_t rank = strtoll(argv[3], NULL, 10);
    or_die(config_read(&c, argv[1], &why), &why);
    int64_t count = tensors_list(&c, &table, &why);
    or_die((int)count, &why);
    char(*names)[160] = calloc((size_t)count * 2, sizeof *names);
    struct tensor_header *headers = calloc((size_t)count * 2, sizeof *headers);
    if (!names || !headers) die(STATUS_FAILED, "out of memory");
    size_t n = 0;
    for (int64_t i = 0; i < count; i++)
        for (int kind = TRAINED_LORA_A; table[i].role == ROLE_LINEAR && kind <= TRAINED_LORA_B;
             kind++) {
            adapter_tensor_name(&table[i], (enum trained)kind, names[n], sizeof names[n]);
            bool is_a = kind == TRAINED_LORA_A;
            headers[n] = (struct tensor_header){
                names[n], DTYPE_F32, 2, { is_a ? rank : table[i].rows, is_a ? table[i].cols : rank }
            };
            n++;
        }
    or_die(output_directory(argv[2], &why), &why);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", argv[2]);
    or_die(safetensors_create(&w, path, headers, n, &why), &why);
    for (size_t i = 0; i < n; i++)
        put_matrix(w, i, headers[i].shape[0] * headers[i].shape[1]);
    or_die(safetensors_finish(w, &why), &why);
    json_t *config = json_pack("{s:s,s:s,s:I,s:I,s:s,s:s}", "peft_type", "LORA", "task_type",
                               "CAUSAL_LM", "r", (json_int_t)rank, "lora_alpha", (json_int_t)16,
                               "bias", "none", "target_modules", "all-linear");
    snprintf(path, sizeof path, "%s/adapter_config.json", argv[2]);
    or_die(json_write_file(config, path, &why), &why);
    json_decref(config);
    free(names);
    free(headers);
    free(table);
    config_release(&c);
    return 0;
}
