/* rowwise.cuh - launches of kernels that use a block for each row and access 16 bytes at a time.
 * Memory bandwidth limits the speed of such kernels. */
#ifndef LONGQLORA_ROWWISE_CUH
#define LONGQLORA_ROWWISE_CUH

#include "kernels/cuda/device.cuh"

/* Launches kernel<8> if every matrix allows accesses of eight elements, else kernel<1>. */
#define LAUNCH_ROWS(wide, kernel, rows, ...)                                                       \
    do {                                                                                           \
        if (!(rows)) break;                                                                        \
        if (wide)                                                                                  \
            LAUNCH(kernel<8>, dim3((unsigned)(rows)), dim3(THREADS), 0, dev->stream, __VA_ARGS__); \
        else                                                                                       \
            LAUNCH(kernel<1>, dim3((unsigned)(rows)), dim3(THREADS), 0, dev->stream, __VA_ARGS__); \
        launched(dev, __func__);                                                                   \
    } while (0)

#endif
