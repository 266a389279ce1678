/* CRC-32 as gzip and xz use it (IEEE 802.3). Private to src/archive. */
#ifndef SRC_ARCHIVE_CRC32_H
#define SRC_ARCHIVE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continue a checksum over n more bytes; it starts with 0. */
uint32_t sbx_crc32(uint32_t crc, const void *data, size_t n);

#endif
