/* device_messages.h - whether the ranks move messages between the memories of their devices.
 */
#ifndef LONGQLORA_MODEL_DEVICE_MESSAGES_H
#define LONGQLORA_MODEL_DEVICE_MESSAGES_H

#include "kernels/kernels.h"
#include "lib/ranks/ranks.h"

/* Gives the ranks the backend's own transport of messages (NCCL for GPUs), if all of them can use
 * it (ranks_use_device). LONGQLORA_NCCL=0 on any rank refuses it. All ranks call it, before they
 * look how much memory is free, because the transport takes some. Only the first call has an
 * effect. If connects is false, nothing is opened, but device_messages_way says what would be. */
int device_messages_open(struct ranks *r, const struct kernels *k, bool connects,
                         struct fail *why) MUST_USE;
/* May messages lie in the memory of this backend's device? */
bool device_messages_are_used(const struct ranks *r, const struct kernels *k);
/* Returns how messages between the devices move, and why (ranks_way). "" if the devices' memory is
 * the host's, or if there is one rank. */
const char *device_messages_way(const struct ranks *r);

#endif
