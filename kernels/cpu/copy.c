/* Copies rows of matrices. Activations are f32 on the CPU, so a cast is a copy too. */
#include "kernels/cpu/cpu.h"

void cast_in(struct device *dev, struct mat out, const float *in, int64_t rows, int64_t cols)
{
    (void)dev;
    for (int64_t r = 0; r < rows; r++)
        memcpy(row_of(out, r), in + r * cols, (size_t)cols * sizeof(float));
}

void cast_out(struct device *dev, float *out, struct mat in, int64_t rows, int64_t cols)
{
    (void)dev;
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + r * cols, row_of(in, r), (size_t)cols * sizeof(float));
}

void copy_rows(struct device *dev, struct mat out, struct mat in, int64_t rows, int64_t cols)
{
    (void)dev;
    for (int64_t r = 0; r < rows; r++)
        memcpy(row_of(out, r), row_of(in, r), (size_t)cols * sizeof(float));
}
