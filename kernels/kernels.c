/* Chooses a backend by name. For the CPU it chooses the best level of the instruction set. */
#include "kernels/cuda_plan.h"

#include "lib/common/program.h"

#include <dlfcn.h>

extern const struct kernels kernels_cpu_baseline;
#if defined(__x86_64__)
extern const struct kernels kernels_cpu_v3, kernels_cpu_v4, kernels_cpu_bf16;
#endif

/* LONGQLORA_CPU=baseline or v3 lowers the level, so that one machine can test every level. "dots"
 * leaves AMX out (kernels/cpu/gemm_tiles.c), and v4 leaves out nothing. */
static int check_limits(struct fail *why)
{
    const char *limit = getenv("LONGQLORA_CPU"), *memory = getenv("LONGQLORA_MEMORY");
    if (memory && (memory[strspn(memory, "0123456789")] || strlen(memory) > 18))
        return fail_usage(why, "LONGQLORA_MEMORY=%s is not a number of bytes", memory);
    if (!limit || !*limit || !strcmp(limit, "baseline") || !strcmp(limit, "v3") ||
        !strcmp(limit, "v4") || !strcmp(limit, "dots"))
        return 0;
    return fail_usage(why, "LONGQLORA_CPU=%s is not one of baseline, v3, v4, dots", limit);
}

static const struct kernels *best_cpu(void)
{
#if defined(__x86_64__)
    const char *limit = getenv("LONGQLORA_CPU");
    if (limit && !strcmp(limit, "baseline")) return &kernels_cpu_baseline;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd") && !(limit && !strcmp(limit, "v3")))
        return &kernels_cpu_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return &kernels_cpu_v3;
#endif
    return &kernels_cpu_baseline;
}

static int load_plugin(const struct kernels **table, const char *name, struct fail *why)
{
    char path[4096];
    const char *other = getenv("LONGQLORA_CUDA"); /* tests use it to load another plug-in */
    if (!program_plugin(name, path))
        return fail(why, "device cuda: cannot find the folder of this program");
    if (other) snprintf(path, sizeof path, "%s", other);
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        return fail(why,
                    "device cuda: there is no usable %s, which make builds where nvcc is "
                    "installed; --device cpu works without it (%s)",
                    name, dlerror());
    const struct kernels *found = dlsym(plugin, "kernels_cuda");
    if (!found)
        return fail(
            why, "device cuda: %s has no table of kernels (does LONGQLORA_CUDA name another file?)",
            path);
    if (found->version != KERNELS_VERSION || found->size != sizeof *found)
        return fail(why,
                    "device cuda: %s is of version %d, this program needs %d: build or install "
                    "both anew",
                    path, found->version, KERNELS_VERSION);
    *table = found;
    return 0;
}

/* ---- tables for planning a run on a GPU without a plug-in ---- */

static uint64_t available_unknown(void) { return 0; }

static int no_plugin(struct fail *why)
{
    return fail(why, "device cuda: this installation can only plan for it: there is no plug-in, "
                     "which make builds where nvcc is installed");
}

static void describe_nothing(struct device_facts *facts) { *facts = (struct device_facts){ 0 }; }

static int open_nothing(struct device **dev, int threads, struct fail *why)
{
    (void)threads;
    *dev = NULL;
    return no_plugin(why);
}

static int find_nothing(char name[MESSAGES_NAME], struct fail *why)
{
    *name = 0;
    return no_plugin(why);
}

static int has_fp8(struct fail *why)
{
    (void)why;
    return 0;
}

static int lacks_fp8(struct fail *why) { return fail_usage(why, CUDA_F16_LACKS_FP8); }

static size_t plan_bf16(const struct shape *s, int threads)
{
    (void)threads;
    return cuda_scratch_bytes(s, DTYPE_BF16);
}

static size_t plan_f16(const struct shape *s, int threads)
{
    (void)threads;
    return cuda_scratch_bytes(s, DTYPE_F16);
}

/* A table that stands for the plug-in whose activations have this type. It has the fields that a
 * memory plan reads, and no operations. */
#define PLANNED(type_name, type, plan_of_type, probe_of_fp8)                                       \
    {                                                                                              \
        .version = KERNELS_VERSION, .size = sizeof(struct kernels), .name = "cuda",                \
        .act_name = (type_name), .act_type = (type), .cache_type = (type), .act_bytes = 2,         \
        .head_dim_max = CUDA_HEAD_DIM, .chunk_rows = CUDA_CHUNK_ROWS, .read_rows = CUDA_READ_ROWS, \
        .probe = no_plugin, .probe_fp8 = (probe_of_fp8), .describe = describe_nothing,             \
        .available = available_unknown, .open = open_nothing, .plan = (plan_of_type),              \
        .messages_find = find_nothing,                                                             \
    }

static const struct kernels planned_bf16 = PLANNED("bf16", DTYPE_BF16, plan_bf16, has_fp8);
static const struct kernels planned_f16 = PLANNED("f16", DTYPE_F16, plan_f16, lacks_fp8);

/* ---- choosing a GPU ---- */

/* Returns the number that a launcher gave this process among those that it started on this machine;
 * 0 if there is no launcher. mpirun's variable comes first, because mpirun may run inside of a job
 * of Slurm. */
static int local_rank(void)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID",
                                         "MPI_LOCALRANKID" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        if (text && *text && strlen(text) < 9 && !text[strspn(text, "0123456789")])
            return (int)strtol(text, NULL, 10);
    }
    return 0;
}

/* Chooses the GPU with that number, or the process's own if it is -1. */
static int choose_gpu(const struct kernels *k, const char *device, int number, struct fail *why)
{
    int count = k->count();
    if (!count || number < count) {
        k->choose(number >= 0 ? number : count ? local_rank() % count : 0);
        return 0;
    }
    if (count == 1) return fail_usage(why, "device %s: there is one GPU here, cuda:0", device);
    return fail_usage(why, "device %s: there are %d GPUs here, cuda:0 to cuda:%d", device, count,
                      count - 1);
}

enum { DEVICE_NAME = 16 };

/* Splits "cuda-f16:1" into the backend's name and the GPU's number, which is -1 if there is none.
 * Returns false if the device has neither form. */
static bool split_device(const char *device, char name[DEVICE_NAME], int *number)
{
    size_t length = strcspn(device, ":");
    const char *digits = device[length] ? device + length + 1 : NULL;
    *number = -1;
    if (length >= DEVICE_NAME) return false;
    memcpy(name, device, length);
    name[length] = 0;
    if (!digits) return true;
    if (strncmp(name, "cuda", 4) != 0 || !*digits || strlen(digits) > 6 ||
        digits[strspn(digits, "0123456789")])
        return false;
    *number = (int)strtol(digits, NULL, 10);
    return true;
}

/* ---- choosing a backend ---- */

static int load_for_gpu(const struct kernels **table, const char *file, const char *device,
                        int number, struct fail *why)
{
    return load_plugin(table, file, why) ? -1 : choose_gpu(*table, device, number, why);
}

/* Loads the plug-in in bf16 if the GPU has bf16, else the one in f16. Without a GPU, a plan may use
 * either of them. */
static int load_cuda(const struct kernels **table, const char *device, int number, struct fail *why)
{
    struct fail none = { .status = STATUS_FAILED };
    const struct kernels *f16;
    if (load_for_gpu(table, "kernels-cuda.so", device, number, why)) return -1;
    if ((*table)->probe(&none) &&
        !load_for_gpu(&f16, "kernels-cuda-f16.so", device, number, &none) && !f16->probe(&none))
        *table = f16;
    return 0;
}

static int open_cpu_bf16(const struct kernels **table, struct fail *why)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bf16") && best_cpu() == &kernels_cpu_v4) {
        *table = &kernels_cpu_bf16;
        return 0;
    }
#endif
    *table = NULL;
    return fail(why,
                "device cpu-bf16: this CPU has no bf16 products (AVX512_BF16); use --device cpu");
}

/* Without a driver there is no GPU, so the plug-in and its libraries need not be loaded. */
static bool has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver) dlclose(driver);
    return driver;
}

int kernels_open(const struct kernels **table, const char *device, struct fail *why)
{
    struct fail none = { .status = STATUS_FAILED };
    char name[DEVICE_NAME];
    int number;
    bool is_name = split_device(device, name, &number);
    if (check_limits(why)) return -1;
    if (is_name && !strcmp(name, "cuda")) return load_cuda(table, device, number, why);
    if (is_name && !strcmp(name, "cuda-bf16"))
        return load_for_gpu(table, "kernels-cuda.so", device, number, why);
    if (is_name && !strcmp(name, "cuda-f16"))
        return load_for_gpu(table, "kernels-cuda-f16.so", device, number, why);
    if (is_name && !strcmp(name, "cpu-bf16")) return open_cpu_bf16(table, why);
    bool is_auto = is_name && !strcmp(name, "auto");
    if (is_auto && has_driver() && !load_cuda(table, device, number, &none) &&
        !(*table)->probe(&none))
        return 0;
    if (!is_auto && !(is_name && !strcmp(name, "cpu")))
        return fail_usage(why,
                          "device '%s' is not one of " KERNELS_NAMES(
                              ", ", ", ") "; a number after cuda, as cuda:1, chooses a GPU",
                          device);
    *table = best_cpu();
    return 0;
}

const char *kernels_level(const struct kernels *k)
{
#if defined(__x86_64__)
    if (k == &kernels_cpu_v3) return "v3";
    if (k == &kernels_cpu_v4) return "v4";
    if (k == &kernels_cpu_bf16) return "bf16";
#endif
    return k == &kernels_cpu_baseline ? "baseline" : "";
}

int kernels_choose(const struct kernels **table, const char *name, bool plan_only, struct fail *why)
{
    struct fail none = { .status = STATUS_FAILED };
    if (!plan_only || strncmp(name, "cuda", 4) != 0) return kernels_open(table, name, why);
    if (!kernels_open(table, name, &none)) return 0;
    if (none.status == STATUS_USAGE) return kernels_open(table, name, why);
    *table = strncmp(name, "cuda-f16", 8) != 0 ? &planned_bf16 : &planned_f16;
    return 0;
}
