/* adapter_tensors.c - finds the tensors of an adapter's files by name, and converts them to f32. */
#include "lib/llama/adapter.h"

#include "lib/common/bf16.h"

static const char peft_prefix[] = "base_model.model.";

/* What follows a module's name in the name of a tensor. PEFT's usual spelling is the first. The
 * names of a raw state dict also contain the adapter's name, "default"; PEFT accepts them. */
static const char *const suffixes[STORED_KINDS][3] = {
    [TRAINED_WEIGHT] = { ".weight" },
    [TRAINED_LORA_A] = { ".lora_A.weight", ".lora_A.default.weight" },
    [TRAINED_LORA_B] = { ".lora_B.weight", ".lora_B.default.weight" },
    [STORED_MAGNITUDE] = { ".lora_magnitude_vector", ".lora_magnitude_vector.weight",
                           ".lora_magnitude_vector.default.weight" },
    [STORED_BASE] = { ".base_layer.weight" },
    [STORED_EMBEDDING_A] = { ".lora_embedding_A", ".lora_embedding_A.default" },
    [STORED_TOKENS] = { ".token_adapter.trainable_tokens_delta" },
    [STORED_BIAS] = { ".lora_B.bias", ".lora_B.default.bias" },
    [STORED_EMBEDDING_B] = { ".lora_embedding_B", ".lora_embedding_B.default" },
};

int adapter_stored_kind(const struct tensor *t, enum trained kind)
{
    if (t->role != ROLE_EMBEDDING || kind == TRAINED_WEIGHT) return (int)kind;
    return kind == TRAINED_LORA_A ? STORED_EMBEDDING_A : STORED_EMBEDDING_B;
}

/* The names of a bias that was trained because the field `bias` is all or lora_only. PEFT wraps a
 * module that has LoRA matrices; the bias then belongs to base_layer. */
static const char *const bias_suffixes[3] = { ".bias", ".base_layer.bias" };

/* Returns suffix i that a tensor of this kind may have after its module's name; NULL after the
 * last. */
static const char *suffix_of(const struct tensor *t, int kind, int i)
{
    if (t->role != ROLE_BIAS) return suffixes[kind][i];
    return kind == TRAINED_WEIGHT ? bias_suffixes[i] : NULL;
}

static void spell_name(const struct tensor *t, const char *suffix, char *name, size_t size)
{
    char module[64];
    tensor_module(t, module);
    snprintf(name, size, "%s%s%s", peft_prefix, module, suffix);
}

void adapter_tensor_name(const struct tensor *t, int kind, char *name, size_t size)
{
    spell_name(t, suffix_of(t, kind, 0), name, size);
}

void adapter_bias_name(const struct tensor *t, bool is_inside, char *name, size_t size)
{
    must(t->role == ROLE_BIAS);
    spell_name(t, bias_suffixes[is_inside], name, size);
}

const struct stored_tensor *adapter_find(const struct adapter *a, const struct tensor *t, int kind)
{
    char name[160];
    const struct stored_tensor *s = NULL;
    for (int i = 0; i < 3 && suffix_of(t, kind, i) && !s; i++) {
        spell_name(t, suffix_of(t, kind, i), name, sizeof name);
        s = tensor_file_find(&a->file, name);
        if (!s && a->has_trainable_params && kind == TRAINED_WEIGHT)
            s = tensor_file_find(&a->trainable_params, name);
    }
    return !s && a->has_trainable_params && kind == TRAINED_WEIGHT
               ? tensor_file_find(&a->trainable_params, t->name)
               : s;
}

/* Does the tensor have enough rows? LongLoRA's embedding may have more rows than the vocabulary has
 * tokens, because LongLoRA adds a padding token. */
static bool has_rows(const struct adapter *a, const struct tensor *t, const struct stored_tensor *s,
                     int64_t rows)
{
    bool is_trainable_param = a->has_trainable_params && s >= a->trainable_params.at &&
                              s < a->trainable_params.at + a->trainable_params.count;
    return is_trainable_param && t->part == PART_EMBEDDING ? s->shape[0] >= rows
                                                           : s->shape[0] == rows;
}

static bool is_number_type(enum dtype dtype) { return dtype_is_float(dtype) || dtype == DTYPE_F64; }

/* What in the adapter's config requires a tensor of this kind. */
static const char *const required_by[STORED_KINDS] = {
    [TRAINED_WEIGHT] = "modules_to_save require",
    [TRAINED_LORA_A] = "target_modules require",
    [TRAINED_LORA_B] = "target_modules require",
    [STORED_MAGNITUDE] = "use_dora requires",
    [STORED_BASE] = "target_modules require",
    [STORED_EMBEDDING_A] = "target_modules require",
    [STORED_EMBEDDING_B] = "target_modules require",
    [STORED_BIAS] = "lora_bias requires",
    [STORED_TOKENS] = "trainable_token_indices require",
};

/* Finds the stored tensor. Fails if it is missing or has another shape than [rows, cols]. */
static const struct stored_tensor *find_shaped(const struct adapter *a, const struct tensor *t,
                                               int kind, int64_t rows, int64_t cols,
                                               struct fail *why)
{
    char name[160];
    adapter_tensor_name(t, kind, name, sizeof name);
    const struct stored_tensor *s = adapter_find(a, t, kind);
    if (!s) {
        (void)fail_input(why, "its tensor %s is missing, which its %s", name, required_by[kind]);
        return NULL;
    }
    int64_t stored_cols = s->dims == 2 ? s->shape[1] : 1;
    if (s->dims >= 1 && s->dims <= 2 && has_rows(a, t, s, rows) && stored_cols == cols &&
        is_number_type(s->dtype))
        return s;
    char shape[128];
    stored_tensor_describe(s, shape, sizeof shape);
    if (cols == 1)
        (void)fail_input(why, "%s is %s, but this base and the adapter's config need [%lld]", name,
                         shape, (long long)rows);
    else
        (void)fail_input(why, "%s is %s, but this base and the adapter's config need [%lld, %lld]",
                         name, shape, (long long)rows, (long long)cols);
    return NULL;
}

int adapter_check_shape(const struct adapter *a, const struct tensor *t, int kind, int64_t rows,
                        int64_t cols, struct fail *why)
{
    return find_shaped(a, t, kind, rows, cols, why) ? 0 : -1;
}

static float value_at(const struct stored_tensor *s, size_t i)
{
    uint16_t half;
    double wide;
    if (s->dtype == DTYPE_F64) {
        memcpy(&wide, (const char *)s->data + 8 * i, sizeof wide);
        return (float)wide;
    }
    memcpy(&half, (const char *)s->data + 2 * i, sizeof half);
    return s->dtype == DTYPE_BF16 ? bf16_to_float(half) : f16_to_float(half);
}

/* Writes `count` values from `first` on. */
static void copy_values(const struct stored_tensor *s, size_t first, size_t count, float *to)
{
    if (s->dtype == DTYPE_F32)
        memcpy(to, (const char *)s->data + first * sizeof *to, count * sizeof *to);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = value_at(s, first + i);
}

void adapter_rows(const struct adapter *a, const struct tensor *t, int kind, int64_t cols,
                  int64_t first, int64_t count, float *to)
{
    const struct stored_tensor *s = adapter_find(a, t, kind);
    must(s);
    copy_values(s, (size_t)(first * cols), (size_t)(count * cols), to);
}

float *adapter_values(const struct adapter *a, const struct tensor *t, int kind, int64_t rows,
                      int64_t cols, struct fail *why)
{
    size_t count = (size_t)(rows * cols);
    const struct stored_tensor *s = find_shaped(a, t, kind, rows, cols, why);
    if (!s) return NULL;
    float *values = malloc(count * sizeof *values + 1);
    if (!values) {
        (void)fail(why, "out of memory");
        return NULL;
    }
    copy_values(s, 0, count, values);
    return values;
}

float *adapter_transposed(const float *from, int64_t rows, int64_t cols, struct fail *why)
{
    float *to = malloc((size_t)(rows * cols) * sizeof *to + 1);
    if (!to) (void)fail(why, "out of memory");
    for (int64_t r = 0; to && r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            to[c * rows + r] = from[r * cols + c];
    return to;
}
