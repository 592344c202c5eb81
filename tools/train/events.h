/* events.h - writes scalars as a TensorBoard event file.
 *
 * The file is a sequence of TFRecords: length (u64, little-endian), masked CRC-32C of the length,
 * data, masked CRC-32C of the data. The data are a tensorflow.Event protocol buffer
 * (tensorflow/core/util/event.proto). Each process writes a file of its own. A resumed run begins
 * with SessionLog START, at which TensorBoard discards later steps of earlier files.
 */
#ifndef LONGQLORA_EVENTS_H
#define LONGQLORA_EVENTS_H

#include "lib/common/fail.h"

#include <stdint.h>

struct events;

struct event_value {
    const char *tag;
    double value; /* written as f32, as the format demands */
};

/* Creates the file events.out.tfevents.<time>.<host>.<process> in the directory, and the directory
 * if it does not exist. Never writes to an existing file. */
int events_open(struct events **e, const char *directory, int64_t step, struct fail *why) MUST_USE;
/* Returns the file's name without its folder. Borrowed. */
const char *events_name(const struct events *e);
/* Writes at most 8 values and flushes. If e is NULL, this and events_close do nothing. */
int events_add(struct events *e, int64_t step, const struct event_value *values, int count,
               struct fail *why) MUST_USE;
int events_close(struct events *e, struct fail *why) MUST_USE;

#endif
