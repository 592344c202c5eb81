/* compiler.h - attributes, and the functions that this project does not use.
 *
 * The banned ones cannot report failure or overrun their buffer; naming one
 * after this header is included does not compile.
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
