/* One step of UTF-8 decoding, shared by the cleaner and the JSON code. */
#ifndef SRC_BASE_UTF8_H
#define SRC_BASE_UTF8_H

#include <stddef.h>

#define SBX_UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* Bytes of the well-formed sequence at p (n > 0 bytes are there), or minus the bytes of the maximal subpart
 * of an ill-formed one, which is what one U+FFFD stands for. */
int sbx_utf8_step(const char *p, size_t n);

#endif
