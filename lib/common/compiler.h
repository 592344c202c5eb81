/* compiler.h - attributes of functions, and a ban on unsafe functions of the C library.
 *
 * The banned functions cannot report failure or may overrun their buffer. A file that includes this
 * header and names one of them does not compile.
 */
#ifndef LONGQLORA_COMPILER_H
#define LONGQLORA_COMPILER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define NORETURN __attribute__((noreturn))

#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atof gets

#endif
