/*
 * The checksum at the end of gzip data, which libarchive's filter skips: without this a flipped bit in an
 * upload would seed a repository with a wrong file. Private to src/archive.
 */
#ifndef SRC_ARCHIVE_GZIP_CHECK_H
#define SRC_ARCHIVE_GZIP_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SBX_GZIP_TRAILER 8

struct sbx_gzip_check {
    uint32_t crc; /* of what was unpacked so far */
    uint32_t len; /* its length modulo 2^32, as the trailer has it */
    /* A second member seems to begin somewhere in the data. Where it does cannot be told from outside the
     * filter, so the members' checksums are not compared then. A header shows up by chance about once in
     * 10^11 bytes. */
    bool several;
};

/* n more packed bytes at `data`, with `before` bytes of what came directly before them (at least 9 once there
 * were). */
void sbx_gzip_check_packed(struct sbx_gzip_check *check, const uint8_t *data, size_t n, size_t before);

void sbx_gzip_check_unpacked(struct sbx_gzip_check *check, const void *data, size_t n);

/* Do checksum and length agree with the trailer? */
bool sbx_gzip_check_end(const struct sbx_gzip_check *check, const uint8_t trailer[SBX_GZIP_TRAILER]);

#endif
