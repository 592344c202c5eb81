/* size.h - numbers of bytes in words: "0 bytes", "23.45 kB", "3.87 GB". */
#ifndef LONGQLORA_SIZE_H
#define LONGQLORA_SIZE_H

struct size_text {
    char at[24];
};

/* In the largest decimal unit that it reaches, so that no number but 0 reads as 0. The text lives
 * until the end of the expression: printf("%s", size_text(n).at). */
struct size_text size_text(double bytes);
/* Likewise in binary units: "23.45 KiB", "3.60 GiB". */
struct size_text size_binary(double bytes);

#endif
