/* events.h - scalars as a TensorBoard event file.
 *
 * A file of TFRecords: length (u64, little-endian), masked CRC-32C of the length, data,
 * masked CRC-32C of the data; the data is a tensorflow.Event protocol buffer
 * (tensorflow/core/util/event.proto). One file a process; a run that goes on begins its
 * own with SessionLog START, on which TensorBoard forgets later steps of earlier files.
 */
#ifndef LONGQLORA_EVENTS_H
#define LONGQLORA_EVENTS_H

#include "lib/common/fail.h"

#include <stdint.h>

struct events;

struct event_value {
    const char *tag;
    double value; /* written as f32, as the format has it */
};

/* events.out.tfevents.<time>.<host>.<process> in the directory, which is made. The file is a new
 * one: a name that is taken is none of this run. */
int events_open(struct events **e, const char *directory, int64_t step, struct fail *why) MUST_USE;
/* The last part of its path. */
const char *events_name(const struct events *e);
/* At most 8 values; flushed. With e NULL nothing happens, here and in events_close. */
int events_add(struct events *e, int64_t step, const struct event_value *values, int count,
               struct fail *why) MUST_USE;
int events_close(struct events *e, struct fail *why) MUST_USE;

#endif
