/* CRC-32C (Castagnoli), the frames' checksum. Private to src/wire. */
#ifndef SBX_WIRE_CRC32C_H
#define SBX_WIRE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue a checksum over n more bytes. The first call's crc is the start value: 0 gives the usual CRC-32C.
 */
uint32_t sbx_crc32c(uint32_t crc, const void *data, size_t n);

/* The same without the CPU's instruction: what sbx_crc32c falls back to, and its test. */
uint32_t sbx_crc32c_table(uint32_t crc, const void *data, size_t n);

#endif
