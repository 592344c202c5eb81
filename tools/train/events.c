#include "tools/train/events.h"

#include "lib/cli/die.h"
#include "lib/common/output.h"
#include "lib/common/protobuf.h"
#include "tools/train/growing.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

struct events {
    FILE *file;
    int dir; /* descriptor of its folder, which may be moved; -1: none */
    char path[4096];
    char name[GROWING_NAME]; /* of the file in the folder */
    double missing;          /* see growing_keep */
    bool told_failure;
};

/* A protocol buffer while it is written. */
struct message {
    uint8_t data[2048];
    size_t used;
};

/* Numbers of the fields of TensorFlow's event.proto and summary.proto: Event, SessionLog, Summary,
 * Summary.Value. */
enum {
    EVENT_WALL_TIME = 1,    /* double */
    EVENT_STEP = 2,         /* int64 */
    EVENT_FILE_VERSION = 3, /* string */
    EVENT_SUMMARY = 5,
    EVENT_SESSION_LOG = 7,
};
enum { SESSION_LOG_STATUS = 1, SESSION_STATUS_START = 1 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE_VALUE = 2 /* float */ };

static void put_bytes(struct message *m, const void *data, size_t bytes)
{
    must(bytes <= sizeof m->data - m->used);
    memcpy(m->data + m->used, data, bytes);
    m->used += bytes;
}

static void put_varint(struct message *m, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)(value & 127) | (value > 127 ? 128 : 0);
        put_bytes(m, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_key(struct message *m, unsigned field, enum protobuf_wire wire)
{
    put_varint(m, field << 3 | wire);
}

static void put_block(struct message *m, unsigned field, const void *data, size_t bytes)
{
    put_key(m, field, PROTOBUF_BYTES);
    put_varint(m, bytes);
    put_bytes(m, data, bytes);
}

static void begin_event(struct message *m, int64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall_time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    m->used = 0;
    put_key(m, EVENT_WALL_TIME, PROTOBUF_FIXED64);
    put_bytes(m, &wall_time, sizeof wall_time);
    put_key(m, EVENT_STEP, PROTOBUF_VARINT);
    put_varint(m, (uint64_t)step);
}

/* Returns the CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), masked as TFRecords
 * require. */
static uint32_t masked_crc(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static int write_event(struct events *e, const struct message *m, struct fail *why)
{
    uint64_t length = m->used;
    uint32_t length_crc = masked_crc(&length, sizeof length), crc = masked_crc(m->data, m->used);
    if (fwrite(&length, sizeof length, 1, e->file) != 1 ||
        fwrite(&length_crc, sizeof length_crc, 1, e->file) != 1 ||
        fwrite(m->data, 1, m->used, e->file) != m->used ||
        fwrite(&crc, sizeof crc, 1, e->file) != 1 || fflush(e->file))
        return fail(why, "%s: cannot write: %s", e->path, strerror(errno));
    return 0;
}

/* Writes two events: the version of the format, and that a session starts after this step. */
static int write_start(struct events *e, int64_t step, struct fail *why)
{
    static const char version[] = "brain.Event:2";
    static const uint8_t start[] = { SESSION_LOG_STATUS << 3 | PROTOBUF_VARINT,
                                     SESSION_STATUS_START };
    struct message m;
    begin_event(&m, 0);
    put_block(&m, EVENT_FILE_VERSION, version, sizeof version - 1);
    if (write_event(e, &m, why)) return -1;
    begin_event(&m, step + 1);
    put_block(&m, EVENT_SESSION_LOG, start, sizeof start);
    return write_event(e, &m, why);
}

int events_open(struct events **out, const char *directory, int64_t step, struct fail *why)
{
    char host[256] = "localhost";
    *out = NULL;
    if (output_directory(directory, why)) return -1;
    struct events *e = calloc(1, sizeof *e);
    if (!e) return fail(why, "out of memory");
    if (gethostname(host, sizeof host - 1)) snprintf(host, sizeof host, "localhost");
    snprintf(e->path, sizeof e->path, "%s/events.out.tfevents.%lld.%s.%ld", directory,
             (long long)time(NULL), host, (long)getpid());
    snprintf(e->name, sizeof e->name, "%s", events_name(e));
    e->dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    e->file = growing_open(e->path, true);
    int status = e->file ? write_start(e, step, why)
                         : fail(why, "%s: cannot create: %s", e->path, strerror(errno));
    if (status) {
        if (e->file) fclose(e->file);
        if (e->dir >= 0) close(e->dir);
        free(e);
        return -1;
    }
    *out = e;
    return 0;
}

const char *events_name(const struct events *e) { return strrchr(e->path, '/') + 1; }

/* If the file's name was taken or the file was removed, writes it again. */
static void keep_file(struct events *e, bool is_last)
{
    struct fail lack;
    int status = e->dir < 0 ? 0
                            : growing_keep(&e->file, e->dir, events_name(e), e->name, is_last,
                                           &e->missing, &lack);
    if (status > 0)
        warn("%s: somebody removed or replaced it: the events are written again, to %s", e->path,
             e->name);
    if (status < 0 && !e->told_failure) warn("%s", lack.text);
    e->told_failure = e->told_failure || status < 0;
}

int events_add(struct events *e, int64_t step, const struct event_value *values, int count,
               struct fail *why)
{
    struct message m, summary = { .used = 0 };
    if (!e) return 0;
    for (int i = 0; i < count; i++) {
        struct message value = { .used = 0 };
        float narrow = (float)values[i].value;
        put_block(&value, VALUE_TAG, values[i].tag, strlen(values[i].tag));
        put_key(&value, VALUE_SIMPLE_VALUE, PROTOBUF_FIXED32);
        put_bytes(&value, &narrow, sizeof narrow);
        put_block(&summary, SUMMARY_VALUE, value.data, value.used);
    }
    begin_event(&m, step);
    put_block(&m, EVENT_SUMMARY, summary.data, summary.used);
    keep_file(e, false);
    return write_event(e, &m, why);
}

int events_close(struct events *e, struct fail *why)
{
    if (!e) return 0;
    int status = 0;
    keep_file(e, true);
    if (e->dir >= 0) close(e->dir);
    if (fclose(e->file)) status = fail(why, "%s: cannot write: %s", e->path, strerror(errno));
    free(e);
    return status;
}
