/* RoPE (Su et al. 2021): rotates the heads of q or k. */
#include "kernels/cpu/cpu.h"

struct rotation {
    struct mat out, x;
    const float *cos, *sin;
    const int32_t *position;
    int64_t rows, heads, head_dim, rotary_dim;
    float sign;
};

static void rotate_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct rotation *r = arg;
    int64_t half = r->rotary_dim / 2;
    size_t rest = (size_t)(r->head_dim - r->rotary_dim) * sizeof(float);
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, r->rows); t++) {
        const float *restrict cos = r->cos + r->position[t] * half;
        const float *restrict sin = r->sin + r->position[t] * half;
        for (int64_t h = 0; h < r->heads; h++) {
            const float *x = row_of(r->x, t) + h * r->head_dim;
            float *out = row_of(r->out, t) + h * r->head_dim;
#pragma omp simd
            for (int64_t i = 0; i < half; i++) {
                float a = x[i], b = x[half + i], s = r->sign * sin[i];
                out[i] = a * cos[i] - b * s;
                out[half + i] = b * cos[i] + a * s;
            }
            if (rest && out != x) memcpy(out + r->rotary_dim, x + r->rotary_dim, rest);
        }
    }
}

void rope_apply(struct device *dev, struct mat out, struct mat x, const float *cos,
                const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                int64_t head_dim, int64_t rotary_dim, int direction)
{
    must(direction == 1 || direction == -1);
    must(rotary_dim % 2 == 0 && rotary_dim <= head_dim);
    struct rotation r = { out,  x,     cos,      sin,        position,
                          rows, heads, head_dim, rotary_dim, (float)direction };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), rotate_rows, &r);
}
