/*
 * Multipart bodies and content types. Input: size of the pieces read, size of the pieces taken, length of the
 * boundary's content type, the content type (empty: boundary=B), the body. However a body is cut into pieces,
 * the result is the same.
 */
#include <string.h>

#include "fuzz.h"
#include "sandboxd/base/buf.h"
#include "sandboxd/http.h"

struct source {
    const uint8_t *data;
    size_t len;
    size_t step;
};

static ssize_t source_read(void *arg, void *buf, size_t n, struct sbx_err *err)
{
    struct source *source = arg;
    size_t piece = source->step < n ? source->step : n;
    piece = piece < source->len ? piece : source->len;
    memcpy(buf, source->data, piece);
    source->data += piece;
    source->len -= piece;
    return (ssize_t)piece;
}

static void add(struct sbx_buf *out, const void *data, size_t n)
{
    struct sbx_err err = SBX_ERR_INIT;
    FUZZ_CHECK(sbx_buf_add(out, data, n, &err) == 0);
}

static void add_text(struct sbx_buf *out, const char *text, size_t size)
{
    FUZZ_CHECK(memchr(text, '\0', size) != NULL);
    add(out, text, strlen(text) + 1);
}

/* Write down the parts. On a failure the data of the part in hand is dropped: how much of it came out before
 * the failure was noticed depends on the pieces. Returns whether the type was accepted. */
static bool transcribe(const char *type, struct source source, size_t take, struct sbx_buf *out)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct sbx_multipart *multipart = sbx_multipart_new(type, source_read, &source, &err);
    if (!multipart)
        return false;
    struct sbx_part part;
    char piece[256];
    size_t good = 0;
    int parts = 0;
    ssize_t n = 0;
    int more;
    while ((more = sbx_multipart_next(multipart, &part, &err)) == 1 && n == 0) {
        FUZZ_CHECK(++parts <= 100);
        good = out->len;
        add_text(out, part.name, sizeof(part.name));
        add_text(out, part.filename, sizeof(part.filename));
        add_text(out, part.type, sizeof(part.type));
        while ((n = sbx_multipart_read(multipart, piece, take, &err)) > 0) {
            FUZZ_CHECK((size_t)n <= take);
            add(out, piece, (size_t)n);
        }
    }
    if (more != 0)
        out->len = good;
    add(out, more == 0 ? "." : "!", 1);
    if (more != 0)
        FUZZ_CHECK(err.kind == SBX_ERR_BAD_REQUEST);
    sbx_multipart_free(multipart);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char type[256] = "multipart/form-data; boundary=B";
    if (n < 3 || n - 3 < data[2] || n > 1 << 20)
        return 0;
    size_t step = (size_t)data[0] + 1;
    size_t take = (size_t)data[1] + 1;
    size_t type_len = data[2];
    if (type_len > 0) {
        memcpy(type, data + 3, type_len);
        type[type_len] = '\0';
    }
    struct source source = {.data = data + 3 + type_len, .len = n - 3 - type_len, .step = step};
    struct sbx_buf pieces, whole;
    sbx_buf_init(&pieces, 4 << 20);
    sbx_buf_init(&whole, 4 << 20);
    if (transcribe(type, source, take, &pieces)) {
        source.step = SIZE_MAX;
        FUZZ_CHECK(transcribe(type, source, 256, &whole));
        FUZZ_CHECK(pieces.len == whole.len && memcmp(pieces.data, whole.data, whole.len) == 0);
    }
    sbx_buf_done(&pieces);
    sbx_buf_done(&whole);
    return 0;
}
