/*
 * Small helpers for time, file descriptors, identifiers and hashes.
 */
#ifndef SANDBOXD_BASE_UTIL_H
#define SANDBOXD_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandboxd/base/err.h"

#define SBX_UUID_LEN     36
#define SBX_SHA256_HEX   64
#define SBX_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* CLOCK_MONOTONIC in milliseconds and microseconds: durations and deadlines. */
int64_t sbx_now_ms(void);
int64_t sbx_now_us(void);

/* CLOCK_REALTIME in milliseconds since the epoch: for records and logs only. */
int64_t sbx_wall_ms(void);

/* Cleanup attributes: close / free at the end of scope. Ownership is handed over by `ret = x; x = -1`. */
#define SBX_AUTO_CLOSE __attribute__((cleanup(sbx_cleanup_close)))
#define SBX_AUTO_FREE  __attribute__((cleanup(sbx_cleanup_free)))
void sbx_cleanup_close(int *fd);
void sbx_cleanup_free(void *p);

/* Close *fd if it is open and set it to -1. errno is preserved. */
void sbx_close(int *fd);

/* write(2) everything on a blocking fd, EINTR retried. */
int sbx_write_full(int fd, const void *data, size_t n, struct sbx_err *err) SBX_MUST_CHECK;

/* Whole file into a NUL-terminated heap string (caller frees), at most max bytes. *ret_len may be NULL. */
int sbx_read_file(const char *path, size_t max, char **ret, size_t *ret_len,
                  struct sbx_err *err) SBX_MUST_CHECK;

/* mkdir -p with the given mode for what is missing. */
int sbx_mkdirs(const char *path, mode_t mode, struct sbx_err *err) SBX_MUST_CHECK;

/* An unlinked temporary file in dir (O_TMPFILE, or mkostemp+unlink where the file system has none); fd or -1.
 */
int sbx_tmpfile(const char *dir, struct sbx_err *err) SBX_MUST_CHECK;

/* pwrite(2) everything into a file of sbx_tmpfile; UNAVAILABLE when the disk is full. */
int sbx_tmpfile_write(int fd, int64_t off, const void *data, size_t n, const char *dir,
                      struct sbx_err *err) SBX_MUST_CHECK;

/* pread(2) from one: bytes read, 0 at the end, -1. */
ssize_t sbx_tmpfile_read(int fd, int64_t off, void *out, size_t n, const char *dir,
                         struct sbx_err *err) SBX_MUST_CHECK;

/* Random bytes from the kernel; never fails. */
void sbx_random(void *buf, size_t n);

/* Random UUIDv4 as 36 lower-case characters plus NUL. */
void sbx_uuid4(char out[SBX_UUID_LEN + 1]);

/* A canonical (lower- or upper-case) UUID string, nothing around it. */
bool sbx_is_uuid(const char *s);

/* Turn all but printable ASCII into question marks: a message is one line, whatever it quotes. */
void sbx_make_printable(char *text);

/* Lower-case hex SHA-256 of data plus NUL. */
void sbx_sha256_hex(const void *data, size_t n, char out[SBX_SHA256_HEX + 1]);

/* base64 (RFC 4648, padded). The encoder writes 4*ceil(n/3) characters plus NUL and returns the length
 * without it. */
size_t sbx_base64_encode(const void *data, size_t n, char *out);

/* Strict decoder: padding required, no white space. out has room for n/4*3 bytes. Returns the length or -1.
 */
ssize_t sbx_base64_decode(const char *s, size_t n, void *out);

/* Replace invalid UTF-8 in [data, data+n) by U+FFFD while copying to emit(arg, bytes, len); maximal subparts
 * as in the Unicode standard (what Python's errors="replace" does). Stops at and returns the first non-zero
 * result of emit. */
int sbx_utf8_clean(const char *data, size_t n, int (*emit)(void *arg, const char *bytes, size_t len),
                   void *arg);

/* Length of the longest valid UTF-8 prefix; n when all is valid. */
size_t sbx_utf8_valid(const char *data, size_t n);

#endif
