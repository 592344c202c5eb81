/* usable_cpus.h - how many threads of a process can run at a time. */
#ifndef LONGQLORA_USABLE_CPUS_H
#define LONGQLORA_USABLE_CPUS_H

/* The CPUs that the process may run on, or fewer where a control group (a container, a batch
 * system's job) or one above it gives it less time than they have, rounded up; at least 1. root is
 * prepended to /proc and /sys; "" but in tests. */
int usable_cpus(const char *root);

#endif
