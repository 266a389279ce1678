/*
 * The size of xz dictionaries: libarchive lets liblzma take any (up to 4 GiB), so a few kB of input could
 * make this process grow with everything that is unpacked. Private to src/archive.
 */
#ifndef SRC_ARCHIVE_XZ_CHECK_H
#define SRC_ARCHIVE_XZ_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SBX_XZ_DICT_MAX   ((uint64_t)64 << 20) /* what xz -9 uses */
#define SBX_XZ_HEADER_MAX 1024                 /* a block's header is never longer */

/*
 * Does a block that begins in these n bytes, or that began in the `before` bytes directly in front of them,
 * ask for a dictionary beyond the limit? `offset` is that of `data` in the whole input. Stateless: as long as
 * `before` is at least SBX_XZ_HEADER_MAX (or everything there was), every block's header is seen when its
 * last byte arrives. Blocks are found by looking at every place one can begin; the header's own checksum
 * makes a mistake practically impossible.
 */
bool sbx_xz_check_hungry(const uint8_t *data, size_t n, size_t before, uint64_t offset);

#endif
