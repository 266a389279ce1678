/* Numbers that a client wrote as JSON strings ("5", " 1_000 ", "3.0"), as pydantic 2 reads them in its lax
 * mode. */
#ifndef SRC_BASE_JSON_NUMBER_H
#define SRC_BASE_JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sbx_number {
    SBX_NUMBER_GOOD,
    SBX_NUMBER_BAD,      /* not a number */
    SBX_NUMBER_TOO_LONG, /* more characters than pydantic reads */
    SBX_NUMBER_HIGH,     /* more than INT64_MAX */
    SBX_NUMBER_LOW,      /* less than INT64_MIN */
};

enum sbx_number sbx_number_int(const char *s, size_t n, int64_t *ret);

/* May give an infinity or NaN, which the text can say. Never HIGH or LOW. */
enum sbx_number sbx_number_double(const char *s, size_t n, double *ret);

#endif
