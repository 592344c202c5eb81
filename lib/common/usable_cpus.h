/* usable_cpus.h - how many threads of the process can run at the same time. */
#ifndef LONGQLORA_USABLE_CPUS_H
#define LONGQLORA_USABLE_CPUS_H

/* The number of CPUs that the process may run on, or fewer if a control group (of a container or a
 * batch job) limits its CPU time; that limit is rounded up. At least 1. `root` is put before /proc
 * and /sys; it is "" except in tests. */
int usable_cpus(const char *root);

#endif
