/* Ranges on a profiler's time line, by NVTX. They cost almost nothing when no profiler is attached.
 */
#include "kernels/cuda/device.cuh"

#include <nvtx3/nvToolsExt.h>

void device_range_begin(const char *name) { nvtxRangePushA(name); }
void device_range_end(void) { nvtxRangePop(); }
