/* The multipart parser over sources that deliver the bytes in every inconvenient way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "sandboxd/base/buf.h"
#include "sandboxd/http.h"

#define TYPE "multipart/form-data; boundary=B"

/* Bytes handed out `step` at a time, the first time up to `first`. */
struct source {
    const char *data;
    size_t len;
    size_t first; /* 0: no special first piece */
    size_t step;
    bool fails; /* instead of ending */
};

static ssize_t source_read(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct source *source = arg;
    size_t piece = source->first ? source->first : source->step;
    source->first = 0;
    if (source->len == 0 && source->fails)
        return sbx_err_set(err, SBX_ERR_CANCELLED, "gone");
    piece = piece < source->len ? piece : source->len;
    piece = piece < n ? piece : n;
    memcpy(buf, source->data, piece);
    source->data += piece;
    source->len -= piece;
    return (ssize_t)piece;
}

/* Parse everything and write it down as "[name|filename|type]data" for every part, then "." at a good end or
 * "!kind". */
static void transcribe(const char *type, struct source *source, size_t take, struct sbx_buf *out)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_err ignored = SBX_ERR_INIT;
    struct sbx_multipart *multipart = sbx_multipart_new(type, source_read, source, &err);
    struct sbx_part part;
    char piece[512];
    ssize_t n = 0;
    int more;
    assert_non_null(multipart);
    while ((more = sbx_multipart_next(multipart, &part, &err)) == 1) {
        assert_int_equal(sbx_buf_printf(out, &ignored, "[%s|%s|%s]", part.name, part.filename, part.type), 0);
        while ((n = sbx_multipart_read(multipart, piece, take, &err)) > 0)
            assert_int_equal(sbx_buf_add(out, piece, (size_t)n, &ignored), 0);
        if (n < 0)
            break;
        assert_int_equal(sbx_multipart_read(multipart, piece, take, &err), 0);
    }
    if (more < 0 || n < 0) { /* and a failure stays */
        assert_int_equal(sbx_multipart_next(multipart, &part, &ignored), -1);
        assert_int_equal(sbx_multipart_read(multipart, piece, take, &ignored), -1);
        assert_int_equal(ignored.kind, err.kind);
    } else {
        assert_int_equal(sbx_multipart_next(multipart, &part, &ignored), 0);
    }
    assert_int_equal(sbx_buf_printf(out, &ignored, "%s%s", more == 0 ? "." : "!",
                                    more == 0 ? "" : sbx_err_kind_name(err.kind)),
                     0);
    sbx_multipart_free(multipart);
}

static void check_bytes(const char *type, const char *body, size_t n, const char *expected)
{
    static const struct {
        size_t step, take;
    } ways[] = {{SIZE_MAX, 512}, {1, 512}, {SIZE_MAX, 1}, {1, 1}, {3, 2}, {7, 100}};
    struct sbx_err err = SBX_ERR_INIT;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct source source = {.data = body, .len = n, .step = ways[i].step};
        struct sbx_buf out;
        sbx_buf_init(&out, 1 << 20);
        transcribe(type, &source, ways[i].take, &out);
        assert_string_equal(sbx_buf_cstr(&out, &err), expected);
        sbx_buf_done(&out);
    }
}

static void check(const char *body, const char *expected)
{
    check_bytes(TYPE, body, strlen(body), expected);
}

#define HEAD "Content-Disposition: form-data; name=\"a\"\r\n\r\n"

static void parts_are_delivered_in_order(void **state)
{
    check("--B\r\n" HEAD "one\r\n--B\r\n"
          "Content-Disposition: form-data; name=\"b\"; filename=\"x.tar\"\r\nContent-Type: "
          "application/x-tar\r\n\r\n"
          "two\r\n2\r\n--B--\r\n",
          "[a||]one[b|x.tar|application/x-tar]two\r\n2.");
}

static void a_boundary_may_be_split_anywhere(void **state)
{
    static const char body[] = "preamble\r\n--Bx\r\n--B\r\n" HEAD "d\r\r\n-\r\n--\r\n--A\r\n--B \t\r\n" HEAD
                               "\r\n--B\r\n\r\nx\r\n--B--\r\nepilogue\r\n--B\r\n";
    static const char expected[] = "[a||]d\r\r\n-\r\n--\r\n--A[a||][||]x.";
    struct sbx_err err = SBX_ERR_INIT;
    for (size_t first = 1; first < sizeof(body) - 1; first++) {
        for (size_t step = 1; step < sizeof(body); step += step < 8 ? 1 : sizeof(body)) {
            struct source source = {.data = body, .len = sizeof(body) - 1, .first = first, .step = step};
            struct sbx_buf out;
            sbx_buf_init(&out, 1 << 16);
            transcribe(TYPE, &source, 512, &out);
            assert_string_equal(sbx_buf_cstr(&out, &err), expected);
            sbx_buf_done(&out);
        }
    }
}

static void data_that_resembles_the_boundary_is_data(void **state)
{
    check("--B\r\n" HEAD "--B\r\n--BB\r\n--B-\r\n\r\n--C\n--B\n--B--\r\n--B--",
          "[a||]--B\r\n--BB\r\n--B-\r\n\r\n--C\n--B\n--B--.");
    check("--B\r\n" HEAD "\r\n\r\n\r\n--B\r\r\n--B\n\r\n--B--", "[a||]\r\n\r\n\r\n--B\r\r\n--B\n.");
    check("--B\r\n" HEAD "\r\r\n--B--", "[a||]\r.");
}

static void only_crlf_ends_a_line(void **state)
{
    check("--B\n" HEAD "one\n--B--\n", "!bad_request");
    check("--B\r\n" HEAD "one\n--B--\r\n", "[a||]one\n--B--!bad_request");
    check("--B\r\nContent-Disposition: form-data; name=\"a\"\n\none\r\n--B--", "!bad_request");
}

static void blanks_after_the_boundary_are_padding(void **state)
{
    check("--B  \t \r\n" HEAD "one\r\n--B \r\n" HEAD "two\r\n--B-- \r\n", "[a||]one[a||]two.");
    char many[200];
    snprintf(many, sizeof(many), "--B\r\n" HEAD "\r\n--B%*s\r\n--B--", 65, "");
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf expected;
    sbx_buf_init(&expected, 1000);
    assert_int_equal(sbx_buf_printf(&expected, &err, "[a||]\r\n--B%*s.", 65, ""), 0);
    check(many, sbx_buf_cstr(&expected, &err));
    sbx_buf_done(&expected);
}

static void preamble_and_epilogue_are_ignored(void **state)
{
    check("hello\r\nworld\r\n--B\r\n" HEAD "x\r\n--B--", "[a||]x.");
    check("\r\n--B\r\n" HEAD "x\r\n--B--\r\n--B\r\n" HEAD "y\r\n--B--\r\n", "[a||]x.");
    check("--B\r\n" HEAD "x\r\n--B--anything", "[a||]x.");
}

static void no_parts_is_a_good_body(void **state)
{
    check("--B--", ".");
    check("--B--\r\n", ".");
    check("preamble\r\n--B--\r\n", ".");
}

static void an_empty_part_has_no_bytes(void **state)
{
    check("--B\r\n" HEAD "\r\n--B--", "[a||].");
    check("--B\r\n\r\n\r\n--B\r\n\r\n\r\n--B--", "[||][||].");
}

static void a_body_that_ends_early_is_refused(void **state)
{
    static const char whole[] = "--B\r\n" HEAD "one\r\n--B--";
    struct sbx_err err = SBX_ERR_INIT;
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        struct source source = {.data = whole, .len = n, .step = 5};
        struct sbx_buf out;
        sbx_buf_init(&out, 1000);
        transcribe(TYPE, &source, 512, &out);
        assert_non_null(strstr(sbx_buf_cstr(&out, &err), "!bad_request"));
        sbx_buf_done(&out);
    }
    check(whole, "[a||]one.");
}

static void a_failing_source_fails_everywhere(void **state)
{
    static const char whole[] = "--B\r\n" HEAD "one\r\n--B--\r\nepilogue";
    struct sbx_err err = SBX_ERR_INIT;
    for (size_t n = 0; n < sizeof(whole); n++) {
        struct source source = {.data = whole, .len = n, .step = 5, .fails = true};
        struct sbx_buf out;
        sbx_buf_init(&out, 1000);
        transcribe(TYPE, &source, 512, &out);
        assert_non_null(strstr(sbx_buf_cstr(&out, &err), "!cancelled"));
        sbx_buf_done(&out);
    }
}

/* The transcript of a single part with this head and no data. */
static void check_head(const char *head, const char *expected)
{
    char body[2048];
    snprintf(body, sizeof(body), "--B\r\n%s\r\n\r\n--B--", head);
    check(body, expected);
}

static void names_are_unquoted(void **state)
{
    check_head("content-disposition:form-data;name=plain;filename=a.b\r\n", "[plain|a.b|].");
    check_head("CONTENT-DISPOSITION: form-data; NAME=\"x\"; FileName=\"y\"\r\n", "[x|y|].");
    check_head("Content-Disposition: form-data; name=\"a\\\"b\\\\c\"; filename=\"C:\\dir\\f\"\r\n",
               "[a\"b\\c|C:\\dir\\f|].");
    check_head("Content-Disposition: form-data; filename=\"a;name=b.tar\"; name=\"c d\"\r\n",
               "[c d|a;name=b.tar|].");
    check_head("Content-Disposition: form-data; name = \"spaced\" ; filename= \"f\" ;\r\n", "[spaced|f|].");
    check_head("Content-Disposition: form-data; name=\"first\"; name=\"second\"\r\n", "[first||].");
    check_head("Content-Disposition: form-data; name=\"\xc3\xa9\"; filename*=UTF-8''x\r\n", "[\xc3\xa9||].");
    check_head("Content-Disposition: form-data\r\nContent-Type:  text/plain; charset=x  \r\n",
               "[||text/plain; charset=x].");
    check_head("X-Other: 1\r\nX-Empty:\r\n", "[||].");
}

static void malformed_heads_are_refused(void **state)
{
    check_head("no colon\r\n", "!bad_request");
    check_head(": no name\r\n", "!bad_request");
    check_head(" Folded: line\r\n", "!bad_request");
    check_head("X: 1\r\n folded\r\n", "!bad_request");
    check_head("Content-Disposition: form-data; name=\"open\r\n", "!bad_request");
    check_head("Content-Disposition: form-data; name=\"open\\\"\r\n", "!bad_request");
    check_head("Content-Disposition: form-data; name=\"a\"junk\r\n", "!bad_request");
    check_head("Content-Disposition: form-data; name\r\n", "!bad_request");
    check_head("Content-Disposition: form-data; =x\r\n", "!bad_request");
    static const char nul[] = "--B\r\nX: \0\r\n\r\n\r\n--B--";
    check_bytes(TYPE, nul, sizeof(nul) - 1, "!bad_request");
}

static void a_long_name_is_refused_and_a_long_file_name_is_cut(void **state)
{
    char head[1000];
    char expected[1000];
    char name[400];
    memset(name, 'n', sizeof(name));
    snprintf(head, sizeof(head), "Content-Disposition: form-data; name=\"%.128s\"\r\n", name);
    check_head(head, "!bad_request");
    snprintf(head, sizeof(head), "Content-Disposition: form-data; name=\"%.300s\"\r\n", name);
    check_head(head, "!bad_request");
    snprintf(head, sizeof(head),
             "Content-Disposition: form-data; name=%.127s; filename=%.300s\r\nContent-Type: %.200s\r\n", name,
             name, name);
    snprintf(expected, sizeof(expected), "[%.127s|%.255s|%.127s].", name, name, name);
    check_head(head, expected);
}

/* A part whose header lines take n bytes. */
static void check_head_size(size_t n, const char *expected)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_buf body;
    sbx_buf_init(&body, 1 << 20);
    assert_int_equal(sbx_buf_addstr(&body, "--B\r\nX-Filler: ", &err), 0);
    char *at = sbx_buf_reserve(&body, n, &err);
    assert_non_null(at);
    memset(at, 'x', n - 12);
    body.len += n - 12;
    assert_int_equal(sbx_buf_addstr(&body, "\r\n\r\ndata\r\n--B--", &err), 0);
    check_bytes(TYPE, body.data, body.len, expected);
    sbx_buf_done(&body);
}

static void a_head_has_at_most_16_kib(void **state)
{
    check_head_size(16 * 1024, "[||]data.");
    check_head_size(16 * 1024 + 1, "!bad_request");
    check_head_size(500 * 1024, "!bad_request");
}

static void a_body_has_at_most_100_parts(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    for (int parts = 100; parts <= 101; parts++) {
        struct sbx_buf body;
        sbx_buf_init(&body, 1 << 20);
        for (int i = 0; i < parts; i++)
            assert_int_equal(sbx_buf_addstr(&body, "--B\r\n\r\nx\r\n", &err), 0);
        assert_int_equal(sbx_buf_addstr(&body, "--B--", &err), 0);

        struct source source = {.data = body.data, .len = body.len, .step = SIZE_MAX};
        struct sbx_multipart *multipart = sbx_multipart_new(TYPE, source_read, &source, &err);
        struct sbx_part part;
        for (int i = 0; i < 100; i++)
            assert_int_equal(sbx_multipart_next(multipart, &part, &err), 1);
        assert_int_equal(sbx_multipart_next(multipart, &part, &err), parts == 100 ? 0 : -1);
        sbx_multipart_free(multipart);
        sbx_buf_done(&body);
    }
    assert_int_equal(err.kind, SBX_ERR_BAD_REQUEST);
}

static void unread_data_is_skipped(void **state)
{
    static const char body[] =
        "--B\r\n" HEAD "long data that nobody wants\r\n--Bx\r\n--B\r\n" HEAD "wanted\r\n--B--";
    struct sbx_err err = SBX_ERR_INIT;
    struct source source = {.data = body, .len = sizeof(body) - 1, .step = 4};
    struct sbx_multipart *multipart = sbx_multipart_new(TYPE, source_read, &source, &err);
    struct sbx_part part;
    char out[16];
    assert_int_equal(sbx_multipart_read(multipart, out, sizeof(out), &err), 0);
    assert_int_equal(sbx_multipart_next(multipart, &part, &err), 1);
    assert_true(sbx_multipart_read(multipart, out, 4, &err) > 0);
    assert_int_equal(sbx_multipart_next(multipart, &part, &err), 1);
    ssize_t n = sbx_multipart_read(multipart, out, sizeof(out), &err);
    assert_true(n > 0);
    assert_memory_equal(out, "wanted", (size_t)n);
    assert_int_equal(sbx_multipart_next(multipart, &part, &err), 0);
    sbx_multipart_free(multipart);
}

/* A part of 50 MB full of almost-boundaries, made as it is read. */
struct big {
    size_t sent;
    size_t total;
};

static const char big_head[] = "--B\r\n" HEAD;
static const char big_data[] = "0123456789\r\n--\r\n--C\r--B\n\r\r\n-";
static const char big_tail[] = "\r\n--B--";

static ssize_t big_read(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct big *big = arg;
    size_t head = sizeof(big_head) - 1;
    size_t tail = sizeof(big_tail) - 1;
    char *out = buf;
    size_t done = 0;
    for (; done < n && big->sent < head + big->total + tail; done++, big->sent++) {
        size_t at = big->sent;
        out[done] = at < head                ? big_head[at]
                    : at < head + big->total ? big_data[(at - head) % (sizeof(big_data) - 1)]
                                             : big_tail[at - head - big->total];
    }
    return (ssize_t)done;
}

static void a_big_part_needs_no_more_memory_than_a_small_one(void **state)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct big big = {.total = 50 << 20};
    struct sbx_multipart *multipart = sbx_multipart_new(TYPE, big_read, &big, &err);
    struct sbx_part part;
    struct rusage before, after;
    static char out[64 * 1024];
    size_t got = 0;
    bool same = true;
    ssize_t n;
    memset(out, 1, sizeof(out));
    assert_int_equal(sbx_multipart_next(multipart, &part, &err), 1);
    getrusage(RUSAGE_SELF, &before);
    while ((n = sbx_multipart_read(multipart, out, sizeof(out), &err)) > 0) {
        for (ssize_t i = 0; i < n; i++, got++)
            same = same && out[i] == big_data[got % (sizeof(big_data) - 1)];
    }
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(n, 0);
    assert_int_equal(got, 50 << 20);
    assert_true(same);
    assert_true(after.ru_maxrss - before.ru_maxrss < 1024);
    assert_int_equal(sbx_multipart_next(multipart, &part, &err), 0);
    sbx_multipart_free(multipart);
}

static void a_boundary_may_be_quoted(void **state)
{
    static const char body[] = "--a b:?\r\n" HEAD "x\r\n--a b:?--";
    check_bytes("multipart/form-data; boundary=\"a b:?\"", body, sizeof(body) - 1, "[a||]x.");
    check_bytes("Multipart/Form-Data ; charset=utf-8; BOUNDARY=B;", "--B--", 5, ".");
    check_bytes("multipart/form-data; boundary=--B", "----B--", 7, ".");
    check_bytes("multipart/form-data; boundary==_B/1", "--=_B/1--", 9, ".");
}

#define LONGEST "0123456789012345678901234567890123456789012345678901234567890123456789"

static void a_bad_content_type_is_refused(void **state)
{
    static const char *const types[] = {
        "",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"open",
        "multipart/form-data; boundary=\"ends with blank \"",
        "multipart/form-data; boundary=\"a\\\"b\"",
        "multipart/form-data; boundary=a*b",
        "multipart/form-data; boundary=\"a\r\nb\"",
        ("multipart/form-data; boundary=" LONGEST "x"),
        "multipart/mixed; boundary=B",
        "multipart/form-datax; boundary=B",
        "application/json",
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct sbx_err err = SBX_ERR_INIT;
        assert_null(sbx_multipart_new(types[i], source_read, NULL, &err));
        assert_int_equal(err.kind, SBX_ERR_BAD_REQUEST);
    }
    check_bytes("multipart/form-data; boundary=" LONGEST, "--" LONGEST "--", 74, ".");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_delivered_in_order),
        cmocka_unit_test(a_boundary_may_be_split_anywhere),
        cmocka_unit_test(data_that_resembles_the_boundary_is_data),
        cmocka_unit_test(only_crlf_ends_a_line),
        cmocka_unit_test(blanks_after_the_boundary_are_padding),
        cmocka_unit_test(preamble_and_epilogue_are_ignored),
        cmocka_unit_test(no_parts_is_a_good_body),
        cmocka_unit_test(an_empty_part_has_no_bytes),
        cmocka_unit_test(a_body_that_ends_early_is_refused),
        cmocka_unit_test(a_failing_source_fails_everywhere),
        cmocka_unit_test(names_are_unquoted),
        cmocka_unit_test(malformed_heads_are_refused),
        cmocka_unit_test(a_long_name_is_refused_and_a_long_file_name_is_cut),
        cmocka_unit_test(a_head_has_at_most_16_kib),
        cmocka_unit_test(a_body_has_at_most_100_parts),
        cmocka_unit_test(unread_data_is_skipped),
        cmocka_unit_test(a_big_part_needs_no_more_memory_than_a_small_one),
        cmocka_unit_test(a_boundary_may_be_quoted),
        cmocka_unit_test(a_bad_content_type_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
