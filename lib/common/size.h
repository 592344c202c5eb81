/* size.h - writes a number of bytes for people: "0 bytes", "23.45 kB", "3.87 GB". */
#ifndef LONGQLORA_SIZE_H
#define LONGQLORA_SIZE_H

struct size_text {
    char at[24];
};

/* Uses the largest decimal unit in which the number is at least 1, so only 0 is printed as 0. The
 * returned text lives until the end of the full expression: printf("%s", size_text(n).at). */
struct size_text size_text(double bytes);
/* Like size_text, with binary units: "23.45 KiB", "3.60 GiB". */
struct size_text size_binary(double bytes);

#endif
