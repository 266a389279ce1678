/* What needs no agent of file operations: fields in pieces, packing, other names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "sandboxd/archive.h"
#include "session/internal.h"

struct seen {
    size_t count;
    size_t bytes;
    uint8_t last;
};

static int see(void *arg, const struct sbx_field *field, struct sbx_err *err)
{
    struct seen *seen = arg;
    seen->count++;
    seen->bytes += field->len;
    seen->last = field->tag;
    return field->tag == 255 ? sbx_err_set(err, SBX_ERR_CONFLICT, "enough") : 0;
}

static void fields_come_out_whole_however_they_are_cut(void **state)
{
    static uint8_t bytes[700000];
    static char content[SBX_FS_FIELD_MAX];
    size_t n = 0;
    for (uint8_t tag = 1; tag < 20; tag++)
        n = sbx_field_put(bytes, sizeof(bytes), n, tag, content, tag * 31U);
    n = sbx_field_put(bytes, sizeof(bytes), n, 20, content, sizeof(content));
    for (size_t piece = 1; piece <= 4000; piece = piece * 3 + 1) {
        struct seen seen = {.count = 0};
        struct sbx_fields fields;
        struct sbx_err err = SBX_ERR_INIT;
        sbx_fields_init(&fields, see, &seen);
        for (size_t at = 0; at < n; at += piece)
            assert_int_equal(sbx_fields_add(&fields, bytes + at, n - at < piece ? n - at : piece, &err), 0);
        sbx_fields_done(&fields);
        assert_int_equal(seen.count, 20);
        assert_int_equal(seen.last, 20);
        assert_int_equal(seen.bytes, 31 * 190 + sizeof(content));
    }
}

static void a_field_that_no_agent_sends_is_an_error(void **state)
{
    static const uint8_t HUGE[] = {1, 0, 0, 0, 1};
    uint8_t stop[16];
    struct seen seen = {.count = 0};
    struct sbx_fields fields;
    struct sbx_err err = SBX_ERR_INIT;
    sbx_fields_init(&fields, see, &seen);
    assert_int_equal(sbx_fields_add(&fields, HUGE, sizeof(HUGE), &err), -1);
    assert_int_equal(err.kind, SBX_ERR_UPSTREAM);
    sbx_fields_done(&fields);
    sbx_fields_init(&fields, see, &seen);
    size_t n = sbx_field_put(stop, sizeof(stop), 0, 255, "x", 1);
    assert_int_equal(sbx_fields_add(&fields, stop, n, &err), -1);
    assert_int_equal(err.kind, SBX_ERR_CONFLICT);
    sbx_fields_done(&fields);
}

static void other_names_are_the_same_places(void **state)
{
    static const struct {
        const char *path, *real;
    } WANT[] = {{"/workspace/repo", "/repo"},         {"/workspace/repo/a", "/repo/a"},
                {"/workspace/skills/", "/skills/"},   {"/workspace/repository", "/workspace/repository"},
                {"/workspace/tmp", "/workspace/tmp"}, {"/repo/workspace/repo", "/repo/workspace/repo"}};
    for (size_t i = 0; i < SBX_ARRAY_LEN(WANT); i++)
        assert_string_equal(sbx_path_real(WANT[i].path), WANT[i].real);
}

static int collect(void *arg, const void *data, size_t n, struct sbx_err *err)
{
    return sbx_buf_add(arg, data, n, err);
}

static int refuse(void *arg, const void *data, size_t n, struct sbx_err *err)
{
    return sbx_err_set(err, SBX_ERR_UNAVAILABLE, "the disk is full");
}

static void what_is_packed_can_be_unpacked(void **state)
{
    static unsigned char plain[100000];
    static unsigned char back[sizeof(plain) + 1];
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf packed;
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (unsigned char)(i / 100);
    sbx_buf_init(&packed, sizeof(plain));
    struct sbx_packer *packer = sbx_packer_new("gzip", collect, &packed, &err);
    assert_non_null(packer);
    for (size_t at = 0; at < sizeof(plain); at += 1000)
        assert_int_equal(sbx_packer_add(packer, plain + at, 1000, &err), 0);
    assert_int_equal(sbx_packer_end(packer, &err), 0);
    sbx_packer_free(packer);
    z_stream zip = {.next_in = (unsigned char *)packed.data,
                    .avail_in = (unsigned)packed.len,
                    .next_out = back,
                    .avail_out = sizeof(back)};
    assert_int_equal(inflateInit2(&zip, 31), Z_OK);
    assert_int_equal(inflate(&zip, Z_FINISH), Z_STREAM_END);
    assert_int_equal(zip.total_out, sizeof(plain));
    assert_memory_equal(back, plain, sizeof(plain));
    inflateEnd(&zip);
    sbx_buf_done(&packed);
}

static void a_packer_passes_on_why_its_bytes_are_not_taken(void **state)
{
    static const char NOISE[200000];
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_packer *packer = sbx_packer_new("zstd", refuse, NULL, &err);
    assert_non_null(packer);
    int rc = sbx_packer_add(packer, NOISE, sizeof(NOISE), &err);
    if (rc == 0)
        rc = sbx_packer_end(packer, &err);
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, SBX_ERR_UNAVAILABLE);
    sbx_packer_free(packer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_out_whole_however_they_are_cut),
        cmocka_unit_test(a_field_that_no_agent_sends_is_an_error),
        cmocka_unit_test(other_names_are_the_same_places),
        cmocka_unit_test(what_is_packed_can_be_unpacked),
        cmocka_unit_test(a_packer_passes_on_why_its_bytes_are_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
