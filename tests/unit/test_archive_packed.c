/*
 * Filters, damage, bombs and memory: what surrounds the members.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "archive/gzip_check.h"
#include "archive/xz_check.h"
#include "sandboxd/base/util.h"
#include "unit/archive_kit.h"

static const int filters[] = {ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_BZIP2, ARCHIVE_FILTER_XZ,
                              ARCHIVE_FILTER_ZSTD};

/* Pack bytes with a filter of libarchive's; free the result. */
static char *pack(int filter, const void *data, size_t n, size_t *ret_len)
{
    size_t room = n + n / 4 + 65536;
    char *out = malloc(room);
    struct archive *writer = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    assert_int_equal(archive_write_add_filter(writer, filter), ARCHIVE_OK);
    assert_int_equal(archive_write_set_format_raw(writer), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(writer, out, room, ret_len), ARCHIVE_OK);
    archive_entry_set_pathname(entry, "data");
    archive_entry_set_filetype(entry, AE_IFREG);
    assert_int_equal(archive_write_header(writer, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(writer, data, n), n);
    assert_int_equal(archive_write_close(writer), ARCHIVE_OK);
    archive_write_free(writer);
    archive_entry_free(entry);
    return out;
}

/* A tar of a few members; incompressible where `random` bytes are asked for. */
static void small_tar(struct kit_tar *tar, size_t random)
{
    char *content = malloc(random + 1);
    kit_tar_init(tar);
    kit_dir(tar, "d");
    kit_file(tar, "d/text", "some text, some text, some text");
    srand(7);
    for (size_t i = 0; i < random; i++)
        content[i] = (char)(rand() >> 8);
    kit_put(tar, '0', "d/random", NULL, 0755, content, random);
    kit_link(tar, "l", "d/text");
    kit_end(tar);
    free(content);
}

static void every_filter_is_unpacked(void **state)
{
    struct kit_tar tar;
    struct kit_result plain;
    small_tar(&tar, 300000);
    kit_sanitise(tar.bytes.data, tar.bytes.len, NULL, &plain);
    kit_assert_good(&plain, 0);
    for (size_t i = 0; i < SBX_ARRAY_LEN(filters); i++) {
        struct kit_result result;
        size_t n;
        char *packed = pack(filters[i], tar.bytes.data, tar.bytes.len, &n);
        kit_sanitise(packed, n, NULL, &result);
        kit_assert_good(&result, 0);
        assert_int_equal(result.count, plain.count);
        assert_int_equal(result.stats.bytes, plain.stats.bytes);
        assert_memory_equal(kit_find(&result, "d/random")->content, kit_find(&plain, "d/random")->content,
                            300000);
        kit_result_done(&result);
        free(packed);
    }
    kit_result_done(&plain);
    kit_tar_done(&tar);
}

static void filters_are_not_stacked(void **state)
{
    static const int others[] = {ARCHIVE_FILTER_COMPRESS, ARCHIVE_FILTER_UU, ARCHIVE_FILTER_LZMA,
                                 ARCHIVE_FILTER_LZIP, ARCHIVE_FILTER_LZ4};
    struct kit_tar tar;
    struct kit_result result;
    size_t n, n2;
    small_tar(&tar, 1000);
    for (size_t i = 0; i < SBX_ARRAY_LEN(filters); i++) {
        char *once = pack(filters[i], tar.bytes.data, tar.bytes.len, &n);
        char *twice = pack(ARCHIVE_FILTER_GZIP, once, n, &n2);
        kit_sanitise(twice, n2, NULL, &result);
        kit_assert_refused(&result, "not a tar");
        free(once);
        free(twice);
    }
    for (size_t i = 0; i < SBX_ARRAY_LEN(others); i++) {
        char *packed = pack(others[i], tar.bytes.data, tar.bytes.len, &n);
        kit_sanitise(packed, n, NULL, &result);
        kit_assert_refused(&result, "not a tar");
        free(packed);
    }
    kit_tar_done(&tar);
}

static void a_plain_tar_is_not_taken_for_a_packed_one(void **state)
{
    static const char *const names[] = {"BZh91AY", "BZh9", "\x28\xb5", "\x1f\x8b", "7zXZ"};
    for (size_t i = 0; i < SBX_ARRAY_LEN(names); i++) {
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        kit_file(&tar, names[i], "x");
        kit_run(&tar, NULL, &result);
        kit_assert_good(&result, 0);
        assert_non_null(kit_find(&result, names[i]));
        kit_result_done(&result);
    }
}

static void what_is_packed_may_be_empty_or_no_tar(void **state)
{
    for (size_t i = 0; i < SBX_ARRAY_LEN(filters); i++) {
        struct kit_result result;
        size_t n;
        char *packed = pack(filters[i], "", 0, &n);
        kit_sanitise(packed, n, NULL, &result);
        kit_assert_refused(&result, n == 0 ? "0 bytes" : "nothing in it");
        free(packed);
        packed = pack(filters[i], "hello, world", 12, &n);
        kit_sanitise(packed, n, NULL, &result);
        kit_assert_refused(&result, "not a tar");
        free(packed);
    }
}

static void a_truncated_packed_archive_is_refused(void **state)
{
    struct kit_tar tar;
    small_tar(&tar, 1500);
    for (size_t i = 0; i < SBX_ARRAY_LEN(filters); i++) {
        size_t n;
        char *packed = pack(filters[i], tar.bytes.data, tar.bytes.len, &n);
        for (size_t cut = 0; cut < n; cut += cut < 40 || cut + 40 > n ? 1 : 37) {
            struct kit_result result;
            kit_sanitise(packed, cut, NULL, &result);
            kit_assert_refused(&result, "");
        }
        free(packed);
    }
    kit_tar_done(&tar);
}

static void a_truncated_plain_archive_is_refused(void **state)
{
    struct kit_tar tar;
    small_tar(&tar, 1500);
    size_t members = tar.bytes.len - 1024;
    for (size_t cut = 1; cut < members; cut += 101) {
        struct kit_result result;
        kit_sanitise(tar.bytes.data, cut, NULL, &result);
        kit_assert_refused(&result, cut < 512 ? "not a tar" : "truncated");
    }
    /* tar itself takes an archive without the end marker */
    for (size_t end = members; end <= members + 1024; end += 512) {
        struct kit_result result;
        kit_sanitise(tar.bytes.data, end, NULL, &result);
        kit_assert_good(&result, 0);
        assert_int_equal(result.count, 4);
        kit_result_done(&result);
    }
    kit_tar_done(&tar);
}

/* A flipped bit either makes no difference (a comment, a time stamp) or is found. */
static void no_flipped_bit_of_a_packed_archive_goes_unnoticed(void **state)
{
    struct kit_tar tar;
    small_tar(&tar, 300);
    for (size_t i = 0; i < 3; i++) { /* zstd has its checksum only when asked for */
        struct kit_result good;
        size_t n;
        char *packed = pack(filters[i], tar.bytes.data, tar.bytes.len, &n);
        kit_sanitise(packed, n, NULL, &good);
        for (size_t bit = 0; bit < n * 8; bit += 3) {
            struct kit_result result;
            packed[bit / 8] ^= (char)(1 << bit % 8);
            kit_sanitise(packed, n, NULL, &result);
            packed[bit / 8] ^= (char)(1 << bit % 8);
            if (result.ret == 0) {
                assert_int_equal(result.count, good.count);
                for (size_t m = 0; m < good.count; m++) {
                    assert_string_equal(result.members[m].name, good.members[m].name);
                    assert_int_equal(result.members[m].size, good.members[m].size);
                    assert_memory_equal(result.members[m].content, good.members[m].content,
                                        good.members[m].size);
                }
            }
            kit_result_done(&result);
        }
        kit_result_done(&good);
        free(packed);
    }
    kit_tar_done(&tar);
}

static void gzip_data_of_several_members_is_one_archive(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    size_t first, second;
    small_tar(&tar, 100000);
    char *a = pack(ARCHIVE_FILTER_GZIP, tar.bytes.data, 50000, &first);
    char *b = pack(ARCHIVE_FILTER_GZIP, tar.bytes.data + 50000, tar.bytes.len - 50000, &second);
    a = realloc(a, first + second);
    memcpy(a + first, b, second);
    kit_sanitise(a, first + second, NULL, &result);
    kit_assert_good(&result, 0);
    assert_int_equal(result.stats.bytes, 100031);
    kit_result_done(&result);
    free(a);
    free(b);
    kit_tar_done(&tar);
}

static void gzip_headers_are_found_across_chunks(void **state)
{
    static const uint8_t header[] = {0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 0, 3};
    for (size_t cut = 1; cut < 40; cut++) {
        uint8_t data[40] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
        struct sbx_gzip_check check = {0};
        sbx_gzip_check_packed(&check, data, cut, 0);
        sbx_gzip_check_packed(&check, data + cut, sizeof(data) - cut, cut);
        assert_false(check.several);
        check = (struct sbx_gzip_check){0};
        memcpy(data + 21, header, sizeof(header));
        sbx_gzip_check_packed(&check, data, cut, 0);
        sbx_gzip_check_packed(&check, data + cut, sizeof(data) - cut, cut);
        assert_true(check.several);
    }
}

static void garbage_behind_the_archive_is_ignored(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    char garbage[5000];
    memset(garbage, 'g', sizeof(garbage));
    small_tar(&tar, 1000);
    assert_int_equal(sbx_buf_add(&tar.bytes, garbage, sizeof(garbage), NULL), 0);
    kit_sanitise(tar.bytes.data, tar.bytes.len, NULL, &result);
    kit_assert_good(&result, 0);
    assert_int_equal(result.count, 4);
    kit_result_done(&result);
    for (size_t i = 0; i < SBX_ARRAY_LEN(filters); i++) {
        size_t n;
        char *packed = pack(filters[i], tar.bytes.data, tar.bytes.len, &n);
        packed = realloc(packed, n + sizeof(garbage));
        memcpy(packed + n, garbage, sizeof(garbage));
        kit_sanitise(packed, n, NULL, &result);
        kit_assert_good(&result, 0);
        kit_result_done(&result);
        /* behind the packed data: gzip and bzip2 take it, xz and zstd do not, and no more does tar with them
         */
        kit_sanitise(packed, n + sizeof(garbage), NULL, &result);
        assert_int_equal(result.ret, i < 2 ? 0 : -1);
        kit_result_done(&result);
        free(packed);
    }
    kit_tar_done(&tar);
}

static void a_damaged_header_is_refused(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    small_tar(&tar, 0);
    tar.bytes.data[512 + 3] ^= 1;
    kit_sanitise(tar.bytes.data, tar.bytes.len, NULL, &result);
    kit_assert_refused(&result, "damaged");
    kit_tar_done(&tar);
}

static void a_bomb_stops_at_the_limit(void **state)
{
    size_t size = (size_t)80 << 20, n;
    struct sbx_archive_options options = kit_options;
    struct kit_tar tar;
    struct kit_result result;
    char *zeros = calloc(1, size);
    kit_tar_init(&tar);
    kit_put(&tar, '0', "zeros", NULL, 0644, zeros, size);
    kit_end(&tar);
    for (size_t i = 0; i < SBX_ARRAY_LEN(filters); i += 3) { /* gzip and zstd are the fastest to pack */
        char *packed = pack(filters[i], tar.bytes.data, tar.bytes.len, &n);
        options.max_bytes = 1 << 20;
        kit_sanitise(packed, n, &options, &result);
        kit_assert_refused(&result, "more than 1048576 bytes");
        options.max_bytes = (int64_t)1 << 30;
        kit_sanitise(packed, n, &options, &result);
        kit_assert_refused(&result, "more than 1000 times");
        free(packed);
    }
    /* what is skipped costs as well */
    kit_tar_done(&tar);
    kit_tar_init(&tar);
    kit_link(&tar, "l", ".");
    kit_put(&tar, '0', "l/zeros", NULL, 0644, zeros, size);
    options.max_bytes = 1 << 20;
    kit_run(&tar, &options, &result);
    kit_assert_refused(&result, "far more than its members");
    free(zeros);
}

/* A sparse file by GNU tar 1.0's pax form, its map at the head of the content. */
static void put_sparse(struct kit_tar *tar, const char *name, const char *size, const char *content, size_t n)
{
    kit_pax(tar, "GNU.sparse.major", "1", 1);
    kit_pax(tar, "GNU.sparse.minor", "0", 1);
    kit_pax(tar, "GNU.sparse.name", name, strlen(name));
    kit_pax(tar, "GNU.sparse.realsize", size, strlen(size));
    kit_put(tar, '0', "GNUSparseFile.0/x", NULL, 0644, content, n);
}

static void sparse_files_are_expanded_and_counted(void **state)
{
    struct sbx_archive_options options = kit_options;
    char content[1024] = "2\n10\n5\n1000000\n0\n";
    memcpy(content + 512, "hello", sizeof("hello"));
    for (int over = 0; over < 2; over++) {
        struct kit_tar tar;
        struct kit_result result;
        kit_tar_init(&tar);
        put_sparse(&tar, "sparse", "1000000", content, 517);
        kit_file(&tar, "next", "x");
        options.max_bytes = 1000001 - over;
        kit_run(&tar, &options, &result);
        if (over) {
            kit_assert_refused(&result, "more than 1000000 bytes");
            continue;
        }
        kit_assert_good(&result, 0);
        const struct kit_member *sparse = kit_find(&result, "sparse");
        assert_int_equal(sparse->size, 1000000);
        assert_int_equal(result.stats.bytes, 1000001);
        for (size_t i = 0; i < sparse->size; i++)
            assert_int_equal(sparse->content[i], i >= 10 && i < 15 ? "hello"[i - 10] : 0);
        kit_result_done(&result);
    }
}

static void a_sparse_bomb_is_refused(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    char content[512] = "1\n1000000000\n0\n";
    kit_tar_init(&tar);
    put_sparse(&tar, "sparse", "1000000000", content, sizeof(content));
    kit_run(&tar, NULL, &result);
    kit_assert_refused(&result, "more than 1000 times");
}

static void a_sparse_map_beyond_all_measure_is_refused(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    size_t size = (size_t)8 << 20, n = 8;
    char *content = malloc(size);
    memcpy(content, "4000000\n", n);
    for (; n < size; n += 2) {
        content[n] = '1';
        content[n + 1] = '\n';
    }
    kit_tar_init(&tar);
    put_sparse(&tar, "sparse", "1000", content, size);
    kit_run(&tar, NULL, &result);
    kit_assert_refused(&result, "header of a member is too large");
    free(content);
}

static void an_xz_dictionary_has_a_ceiling(void **state)
{
    struct kit_tar tar;
    struct kit_result result;
    size_t n;
    small_tar(&tar, 1000);
    char *packed = pack(ARCHIVE_FILTER_XZ, tar.bytes.data, tar.bytes.len, &n);
    uint8_t *header = (uint8_t *)packed + 12;
    size_t len = ((size_t)header[0] + 1) * 4;
    uint8_t *dict = memmem(header, len, "\x21\x01", 2);
    for (uint8_t code = 28; code <= 30; code++) { /* 64, 96, 128 MiB */
        dict[2] = code;
        uint32_t crc = (uint32_t)crc32_z(0, header, len - 4);
        for (int i = 0; i < 4; i++)
            header[len - 4 + (size_t)i] = (uint8_t)(crc >> 8 * i);
        kit_sanitise(packed, n, NULL, &result);
        if (code > 28)
            kit_assert_refused(&result, "dictionary");
        else
            kit_assert_good(&result, 0), kit_result_done(&result);
    }
    /* wherever the header is cut in two, and wherever the block begins */
    uint8_t stream[4096] = {0};
    for (size_t at = 12; at < 2000; at += 252) {
        memset(stream, 0, sizeof(stream));
        memcpy(stream + at, header, len);
        for (size_t cut = at - 4; cut <= at + len + 4; cut++) {
            bool first = sbx_xz_check_hungry(stream, cut, 0, 0);
            bool second = sbx_xz_check_hungry(stream + cut, sizeof(stream) - cut, cut, cut);
            assert_int_equal(first + second, 1);
            assert_int_equal(first, cut >= at + len);
        }
    }
    free(packed);
    kit_tar_done(&tar);
}

static ssize_t read_tar(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct sbx_buf *left = arg;
    n = n < left->len ? n : left->len;
    memcpy(buf, left->data, n);
    sbx_buf_consume(left, n);
    return (ssize_t)n;
}

static void a_full_disk_is_unavailable(void **state)
{
    static const size_t sizes[] = {0, 100000, 1000000};
    for (size_t i = 0; i < SBX_ARRAY_LEN(sizes); i++) {
        struct kit_tar tar;
        struct sbx_err err = SBX_ERR_INIT;
        struct sbx_archive_stats stats;
        small_tar(&tar, sizes[i]);
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        assert_int_equal(sbx_archive_sanitise(read_tar, &tar.bytes, full, &kit_options, &stats, &err), -1);
        assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
        assert_int_equal(err.os_errno, ENOSPC);
        close(full);
        kit_tar_done(&tar);
    }
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_filter_is_unpacked),
        cmocka_unit_test(filters_are_not_stacked),
        cmocka_unit_test(a_plain_tar_is_not_taken_for_a_packed_one),
        cmocka_unit_test(what_is_packed_may_be_empty_or_no_tar),
        cmocka_unit_test(a_truncated_packed_archive_is_refused),
        cmocka_unit_test(a_truncated_plain_archive_is_refused),
        cmocka_unit_test(no_flipped_bit_of_a_packed_archive_goes_unnoticed),
        cmocka_unit_test(gzip_data_of_several_members_is_one_archive),
        cmocka_unit_test(gzip_headers_are_found_across_chunks),
        cmocka_unit_test(garbage_behind_the_archive_is_ignored),
        cmocka_unit_test(a_damaged_header_is_refused),
        cmocka_unit_test(a_bomb_stops_at_the_limit),
        cmocka_unit_test(sparse_files_are_expanded_and_counted),
        cmocka_unit_test(a_sparse_bomb_is_refused),
        cmocka_unit_test(a_sparse_map_beyond_all_measure_is_refused),
        cmocka_unit_test(an_xz_dictionary_has_a_ceiling),
        cmocka_unit_test(a_full_disk_is_unavailable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
