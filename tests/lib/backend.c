#include "backend.h"

const struct kernels *k;
struct device *dev;

int backend_open(void **state)
{
    struct fail why;
    (void)state;
    const char *threads = getenv("THREADS");
    if (kernels_open(&k, "cpu", &why)) return -1;
    return k->open(&dev, threads ? (int)strtol(threads, NULL, 10) : 2, &why);
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
