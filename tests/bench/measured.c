#include "tests/bench/measured.h"

#include "lib/cli/die.h"
#include "lib/common/clock.h"

static struct fail why;
const struct kernels *measured;
struct device *measured_device;

int64_t measured_open(const char *name, int argc, char **argv)
{
    const struct kernels *backend;
    die_init(name, false);
    int64_t scale = argc > 2 ? strtoll(argv[2], NULL, 10) : 1;
    if (argc < 2 || scale < 1 || scale > 32) die_usage("%s DEVICE [SCALE, 1 to 32]", name);
    or_die(kernels_open(&backend, argv[1], &why), &why);
    measured_begin(name, backend);
    return scale;
}

void measured_begin(const char *name, const struct kernels *backend)
{
    die_init(name, false);
    measured = backend;
    or_die(measured->open(&measured_device, 0, &why), &why);
    printf("{\"operation\":\"device\",\"name\":\"%s\",\"elements\":\"%s\"}\n", measured->name,
           measured->act_name);
}

void measured_reserve(struct shape shape)
{
    or_die(measured->reserve(measured_device, &shape, &why), &why);
}

void *measured_bytes(size_t bytes)
{
    void *at;
    or_die(measured->alloc(measured_device, &at, bytes, &why), &why);
    return at;
}

static float *floats_of_host(size_t count)
{
    float *host = malloc(count * sizeof *host);
    if (!host) die(STATUS_FAILED, "out of memory");
    return host;
}

/* Returns a copy on the device, and frees host. */
static float *uploaded(float *host, size_t count)
{
    float *there = measured_bytes(count * sizeof *host);
    measured->upload(measured_device, there, host, count * sizeof *host);
    or_die(measured->sync(measured_device, &why), &why);
    free(host);
    return there;
}

float *measured_floats(size_t count)
{
    static uint32_t state = 1;
    float *host = floats_of_host(count);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        host[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
    }
    return uploaded(host, count);
}

float *measured_constants(size_t count, float value)
{
    float *host = floats_of_host(count);
    for (size_t i = 0; i < count; i++)
        host[i] = value;
    return uploaded(host, count);
}

struct mat measured_mat(int64_t rows, int64_t cols, int64_t stride)
{
    struct mat m = { measured_bytes((size_t)(rows * stride * measured->act_bytes)), stride };
    size_t count = (size_t)(rows * cols);
    float *values = measured_floats(count);
    measured->cast_in(measured_device, m, values, rows, cols);
    or_die(measured->sync(measured_device, &why), &why);
    measured->release(measured_device, values, count * sizeof *values);
    return m;
}

struct linear measured_nf4(int64_t in, int64_t out)
{
    size_t count = (size_t)(in * out);
    return (struct linear){ .type = DTYPE_NF4,
                            .weight = measured_bytes((count + 1) / 2),
                            .absmax = measured_bytes((count + 63) / 64),
                            .absmax_scale = measured_bytes((count + 16383) / 16384 * sizeof(float)),
                            .offset = 0.02f,
                            .out = out,
                            .in = in };
}

double measured_seconds(void (*call)(void *), void *arg, double least)
{
    double begun = clock_seconds();
    call(arg);
    or_die(measured->sync(measured_device, &why), &why);
    if (getenv("ONCE")) return clock_seconds() - begun;
    for (int64_t times = 1;; times *= 2) {
        double start = clock_seconds();
        for (int64_t i = 0; i < times; i++)
            call(arg);
        or_die(measured->sync(measured_device, &why), &why);
        double all = clock_seconds() - start;
        if (all > least) return all / (double)times;
    }
}
