#include "tests/lib/backend.h"

const struct kernels *k;
struct device *dev;

static void *device_memory(size_t bytes)
{
    struct fail why;
    void *mem;
    assert_int_equal(k->alloc(dev, &mem, bytes, &why), 0);
    return mem;
}

static void release_memory(void *mem, size_t bytes) { k->release(dev, mem, bytes); }

int backend_open(void **state)
{
    struct fail why;
    (void)state;
    const char *threads = getenv("THREADS");
    if (kernels_open(&k, check_device(), &why) ||
        k->open(&dev, threads ? (int)strtol(threads, NULL, 10) : 2, &why)) {
        print_error("%s\n", why.text);
        return -1;
    }
    if (!k->is_host) {
        check_memory = device_memory;
        check_release = release_memory;
    }
    backend_reserve((struct shape){ .rows = 256,
                                    .chunk = 256,
                                    .dim = 1024,
                                    .ffn = 1024,
                                    .heads = 4,
                                    .kv_heads = 4,
                                    .head_dim = 64,
                                    .vocab = 64,
                                    .has_backward = true });
    return 0;
}

int backend_close(void **state)
{
    (void)state;
    k->close(dev);
    return 0;
}

int buffers_close(void **state)
{
    (void)state;
    check_free_all();
    return 0;
}

void backend_reserve(struct shape shape)
{
    struct fail why;
    assert_int_equal(k->reserve(dev, &shape, &why), 0);
}
