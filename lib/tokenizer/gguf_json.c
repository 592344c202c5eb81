/* gguf_json.c - writes JSON into a text that grows. jansson's tree of a tokenizer would take twenty
 * times as much memory. */
#include "lib/tokenizer/gguf_internal.h"

#include "lib/common/buffer.h"

#include <stdarg.h>

static void put_bytes(struct gguf_json *to, const char *bytes, size_t count)
{
    struct fail unused;
    if (to->is_lost || buffer_reserve(&to->at, &to->capacity, to->used, count + 1, &unused)) {
        to->is_lost = true;
        return;
    }
    memcpy(to->at + to->used, bytes, count);
    to->used += count;
    to->at[to->used] = 0;
}

void gguf_json_put(struct gguf_json *to, const char *text) { put_bytes(to, text, strlen(text)); }

void gguf_json_format(struct gguf_json *to, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(length >= 0 && (size_t)length < sizeof text);
    put_bytes(to, text, (size_t)length);
}

void gguf_json_text(struct gguf_json *to, struct gguf_text text)
{
    put_bytes(to, "\"", 1);
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char c = (unsigned char)text.at[i];
        size_t plain = i;
        while (plain < text.bytes && (unsigned char)text.at[plain] >= 0x20 &&
               text.at[plain] != '"' && text.at[plain] != '\\')
            plain++;
        if (plain > i) {
            put_bytes(to, text.at + i, plain - i);
            i = plain - 1;
        } else if (c < 0x20) {
            gguf_json_format(to, "\\u%04x", c);
        } else {
            gguf_json_format(to, "\\%c", c);
        }
    }
    put_bytes(to, "\"", 1);
}
