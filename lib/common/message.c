#include "lib/common/message.h"

#include "lib/common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Is this one of the control characters (C0, C1), the invisible format characters (category Cf,
 * without those of hieroglyphs), the line and paragraph separators, or the invisible letters? */
static bool is_masked(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        { 0, 0x1f },          { 0x7f, 0x9f },       { 0xad, 0xad },     { 0x34f, 0x34f },
        { 0x61c, 0x61c },     { 0x115f, 0x1160 },   { 0x17b4, 0x17b5 }, { 0x180b, 0x180f },
        { 0x200b, 0x200f },   { 0x2028, 0x202e },   { 0x2060, 0x206f }, { 0x3164, 0x3164 },
        { 0xfeff, 0xfeff },   { 0xffa0, 0xffa0 },   { 0xfff0, 0xfffb }, { 0x1bca0, 0x1bca3 },
        { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && c >= ranges[i][0]; i++)
        if (c <= ranges[i][1]) return true;
    return false;
}

size_t message_mask(char *text, size_t length)
{
    size_t to = 0;
    for (size_t at = 0; at < length;) {
        size_t bytes = utf8_valid((const unsigned char *)text + at, length - at), unused;
        if (!bytes || is_masked(utf8_decode(text + at, &unused))) {
            text[to++] = '?';
            at += bytes ? bytes : 1;
            continue;
        }
        memmove(text + to, text + at, bytes);
        to += bytes;
        at += bytes;
    }
    return to;
}

/* Does this character change how a terminal behaves? Joiners and soft hyphens do not count, because
 * some texts need them to be displayed correctly. */
static bool is_obeyed(uint32_t c)
{
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7f && c <= 0x9f) || c == 0x61c ||
           c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x206f) || (c >= 0xfff9 && c <= 0xfffb);
}

size_t message_escape(const char *text, size_t length, size_t *taken, char *to, size_t capacity)
{
    enum { ESCAPE_BYTES = 7 }; /* six bytes of an escape, and the NUL that snprintf adds */
    size_t at = 0, used = 0;
    while (at < length && capacity - used >= ESCAPE_BYTES) {
        size_t bytes = utf8_valid((const unsigned char *)text + at, length - at), unused;
        uint32_t c = bytes ? utf8_decode(text + at, &unused) : 0xfffd;
        if (!bytes || is_obeyed(c)) {
            used += bytes ? (size_t)snprintf(to + used, capacity - used, "\\u%04x", (unsigned)c)
                          : utf8_encode(c, to + used);
            at += bytes ? bytes : 1;
            continue;
        }
        memcpy(to + used, text + at, bytes);
        used += bytes;
        at += bytes;
    }
    *taken = at;
    return used;
}

size_t message_fit(const char *text, size_t length, size_t columns)
{
    size_t at = 0, bytes;
    for (size_t used = 0; at < length; at += bytes) {
        /* A character from Hangul (U+1100) on may take two columns, so it counts as two. */
        used += utf8_decode(text + at, &bytes) < 0x1100 ? 1 : 2;
        if (used > columns || at + bytes > length) break;
    }
    return at;
}

size_t message_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) ? 0 : size.ws_col;
}

void message_divert(void)
{
    int fd = isatty(STDOUT_FILENO) ? dup(STDOUT_FILENO) : open("/dev/tty", O_WRONLY | O_NOCTTY);
    /* O_PATH opens a descriptor that can be neither read nor written, as process_begin does. */
    if (fd < 0) fd = open("/", O_PATH);
    if (dup2(fd, STDERR_FILENO) < 0) close(STDERR_FILENO);
    if (fd > STDERR_FILENO) close(fd);
}

void message_write(const char *text, size_t length)
{
    int error = errno;
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigemptyset(&pending);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    while (length) {
        ssize_t n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* this failure cannot be reported either */
        text += n;
        length -= (size_t)n;
    }
    /* Removes the SIGPIPE that this write raised. A SIGPIPE that was pending before stays. */
    if (length && errno == EPIPE && !sigismember(&pending, SIGPIPE)) {
        static const struct timespec at_once = { 0 };
        while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
}
