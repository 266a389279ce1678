/*
 * What dockerd says: the head of an upgrade's answer, the stream of a pull, image references and its words
 * for failures. The first byte says how the stream is cut.
 */
#include <string.h>

#include "docker/internal.h"
#include "fuzz.h"
#include "sandboxd/base/util.h"

static void parse_head(const char *text, size_t n)
{
    int status = -1;
    ssize_t whole = sbx_docker_parse_head(text, n, &status);
    FUZZ_CHECK(whole <= (ssize_t)n);
    FUZZ_CHECK(whole <= 0 || (status >= 0 && status <= 999));
    /* what is complete stays so with more behind it, and was incomplete or bad with less */
    for (ssize_t less = 0; whole > 0 && less < whole; less++)
        FUZZ_CHECK(sbx_docker_parse_head(text, (size_t)less, &status) == 0);
}

static void follow_pull(const char *text, size_t n, size_t step)
{
    struct sbx_err err = SBX_ERR_INIT;
    struct docker_pull pull = {.image = "image"};
    sbx_buf_init(&pull.line, 1 << 16);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < n; at += step)
        rc = sbx_docker_pull_feed(&pull, text + at, n - at < step ? n - at : step, &err);
    FUZZ_CHECK(rc == 0 || (err.kind != SBX_ERR_NONE && err.msg[0]));
    sbx_buf_done(&pull.line);
}

static void split_reference(const char *text)
{
    struct sbx_err err = SBX_ERR_INIT;
    char name[512];
    char tag[256];
    if (sbx_docker_parse_reference(text, name, sizeof(name), tag, sizeof(tag), &err) == 0)
        FUZZ_CHECK(name[0] && tag[0] && strlen(name) + strlen(tag) <= strlen(text) + strlen("latest"));
    else
        FUZZ_CHECK(err.kind == SBX_ERR_INVALID);
    FUZZ_CHECK(sbx_docker_registry_of(text) <= strlen(text));
}

/* An answer that is an error, or names the versions that it speaks. */
static void read_refusal(const char *text, size_t n)
{
    char message[128];
    memset(message, 'x', sizeof(message));
    sbx_docker_message(text, n, message, sizeof(message));
    size_t len = strnlen(message, sizeof(message));
    FUZZ_CHECK(len < sizeof(message) && sbx_utf8_valid(message, len) == len && !strpbrk(message, "\r\n"));
    FUZZ_CHECK(sbx_docker_parse_version(text, n) < 10000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char text[1 << 14];
    if (n < 1 || n > sizeof(text))
        return 0;
    memcpy(text, data + 1, n - 1);
    text[n - 1] = '\0';
    parse_head(text, n - 1);
    read_refusal(text, n - 1);
    follow_pull(text, n - 1, 1u + data[0]);
    split_reference(text);
    (void)sbx_docker_pull_kind(text);
    return 0;
}
