/*
 * The stream of parts. A fixed buffer holds what was read and not taken; `safe` bytes at its front are known
 * to be data.
 *
 * The delimiter is CRLF "--" boundary. A CRLF is put before the first byte of the body, so that a delimiter
 * at its very start is one like any other, and the preamble is data of a part that nobody gets to see. Since
 * a boundary contains no CR, a delimiter can only begin at a CR, and what follows one can only be another
 * one's beginning at its next CR.
 */
#include "http/multipart.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_SIZE (32 * 1024)
#define PADDING_MAX 64 /* blanks after a delimiter; more than that and it is data */

enum state {
    STATE_DATA,   /* inside a part or the preamble */
    STATE_HEAD,   /* at the header of a part */
    STATE_CLOSED, /* after the closing boundary */
    STATE_FAILED, /* see failure */
};

struct sbx_multipart {
    ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err);
    void *arg;
    enum state state;
    int parts;
    bool ended; /* the source has no more bytes */
    struct sbx_err failure;
    char delimiter[4 + MULTIPART_BOUNDARY_MAX + 1];
    size_t delimiter_len;
    size_t safe;
    size_t start, end; /* unread part of buf */
    char buf[BUFFER_SIZE];
};

struct sbx_multipart *sbx_multipart_new(const char *content_type,
                                        ssize_t (*read)(void *arg, void *buf, size_t n, struct sbx_err *err),
                                        void *arg, struct sbx_err *err)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    if (sbx_multipart_boundary(content_type, boundary, err) < 0)
        return NULL;
    struct sbx_multipart *multipart = malloc(sizeof(*multipart));
    if (!multipart) {
        sbx_err_set(err, SBX_ERR_INTERNAL, "out of memory for a multipart parser");
        return NULL;
    }
    memset(multipart, 0, offsetof(struct sbx_multipart, buf));
    multipart->read = read;
    multipart->arg = arg;
    multipart->state = STATE_DATA;
    memcpy(multipart->delimiter, "\r\n--", 4);
    memcpy(multipart->delimiter + 4, boundary, strlen(boundary) + 1);
    multipart->delimiter_len = strlen(multipart->delimiter);
    memcpy(multipart->buf, "\r\n", 2);
    multipart->end = 2;
    return multipart;
}

void sbx_multipart_free(struct sbx_multipart *multipart)
{
    free(multipart);
}

/* A failure stays: every later call gives it again. */
static int stay_failed(struct sbx_multipart *m, const struct sbx_err *failure, struct sbx_err *err)
{
    m->failure = *failure;
    m->state = STATE_FAILED;
    if (err)
        *err = *failure;
    return -1;
}

static int fail(struct sbx_multipart *m, const char *what, struct sbx_err *err)
{
    struct sbx_err failure = SBX_ERR_INIT;
    sbx_err_set(&failure, SBX_ERR_BAD_REQUEST, "%s", what);
    return stay_failed(m, &failure, err);
}

/* Read more behind what is there: 0, or -1. Running out is a failure: the closing boundary has not been seen.
 */
static int fill(struct sbx_multipart *m, struct sbx_err *err)
{
    if (m->start > 0) {
        memmove(m->buf, m->buf + m->start, m->end - m->start);
        m->end -= m->start;
        m->start = 0;
    }
    struct sbx_err failure = SBX_ERR_INIT;
    ssize_t n = m->ended ? 0 : m->read(m->arg, m->buf + m->end, sizeof(m->buf) - m->end, &failure);
    if (n < 0)
        return stay_failed(m, &failure, err);
    if (n == 0) {
        m->ended = true;
        return fail(m,
                    m->parts > 0 ? "multipart body ends without its closing boundary"
                                 : "multipart body has no boundary",
                    err);
    }
    m->end += (size_t)n;
    return 0;
}

/* What a delimiter at the front of the buffer is. */
enum delimiter { DELIMITER_NEXT, DELIMITER_CLOSE, DELIMITER_DATA, DELIMITER_CUT };

static enum delimiter classify(const struct sbx_multipart *m, size_t *ret_len)
{
    const char *after = m->buf + m->start + m->delimiter_len;
    size_t n = m->end - m->start - m->delimiter_len;
    if (n >= 2 && memcmp(after, "--", 2) == 0) {
        *ret_len = m->delimiter_len + 2;
        return DELIMITER_CLOSE;
    }
    if (n == 1 && after[0] == '-')
        return DELIMITER_CUT;
    size_t i = 0;
    while (i < n && i <= PADDING_MAX && (after[i] == ' ' || after[i] == '\t'))
        i++;
    if (i > PADDING_MAX)
        return DELIMITER_DATA;
    if (i == n || (i + 1 == n && after[i] == '\r'))
        return DELIMITER_CUT;
    if (after[i] != '\r' || after[i + 1] != '\n')
        return DELIMITER_DATA;
    *ret_len = m->delimiter_len + i + 2;
    return DELIMITER_NEXT;
}

/* How many bytes at the front cannot belong to a delimiter, when there is no whole one in the buffer. */
static size_t before_partial(const struct sbx_multipart *m)
{
    const char *data = m->buf + m->start;
    size_t n = m->end - m->start;
    size_t from = n >= m->delimiter_len ? n - m->delimiter_len + 1 : 0;
    while (from < n) {
        const char *cr = memchr(data + from, '\r', n - from);
        if (!cr)
            break;
        from = (size_t)(cr - data);
        if (memcmp(cr, m->delimiter, n - from) == 0)
            return from;
        from++;
    }
    return n;
}

/* Make `safe` > 0, or step over a delimiter into the next state; 0 or -1. */
static int scan(struct sbx_multipart *m, struct sbx_err *err)
{
    while (m->safe == 0 && m->state == STATE_DATA) {
        const char *data = m->buf + m->start;
        const char *found = memmem(data, m->end - m->start, m->delimiter, m->delimiter_len);
        m->safe = found ? (size_t)(found - data) : before_partial(m);
        if (m->safe > 0)
            break;
        size_t len = 0;
        switch (found ? classify(m, &len) : DELIMITER_CUT) {
        case DELIMITER_DATA:
            m->safe = m->delimiter_len;
            break;
        case DELIMITER_CUT:
            if (fill(m, err) < 0)
                return -1;
            break;
        case DELIMITER_NEXT:
            m->state = STATE_HEAD;
            break;
        case DELIMITER_CLOSE:
            m->state = STATE_CLOSED;
            break;
        }
        m->start += len;
    }
    return 0;
}

/* Where the header at the front ends, its blank line included; -1. *ret_lines: bytes of its lines. */
static ssize_t find_head(struct sbx_multipart *m, size_t *ret_lines, struct sbx_err *err)
{
    size_t seen = 0;
    for (;;) {
        const char *head = m->buf + m->start;
        size_t n = m->end - m->start;
        if (n >= 2 && memcmp(head, "\r\n", 2) == 0) {
            *ret_lines = 0;
            return 2;
        }
        const char *blank = memmem(head + seen, n - seen, "\r\n\r\n", 4);
        size_t lines = blank   ? (size_t)(blank - head) + 2
                       : n > 3 ? n - 1
                               : 0; /* or at least, while it goes on */
        if (lines > MULTIPART_HEAD_MAX)
            return fail(m, "header of a part is larger than 16 KiB", err);
        if (blank) {
            *ret_lines = lines;
            return (ssize_t)lines + 2;
        }
        seen = n > 3 ? n - 3 : 0;
        if (fill(m, err) < 0)
            return -1;
    }
}

static int read_head(struct sbx_multipart *m, struct sbx_part *ret, struct sbx_err *err)
{
    if (++m->parts > MULTIPART_PARTS_MAX)
        return fail(m, "multipart body has more than 100 parts", err);
    size_t lines;
    ssize_t n = find_head(m, &lines, err);
    if (n < 0)
        return -1;
    struct sbx_err failure = SBX_ERR_INIT;
    struct sbx_part part;
    if (sbx_multipart_head(m->buf + m->start, lines, &part, &failure) < 0)
        return stay_failed(m, &failure, err);
    m->start += (size_t)n;
    m->state = STATE_DATA;
    *ret = part;
    return 0;
}

/* Take in what follows the closing boundary: only at the true end of the source it is certain that nothing
 * broke off. */
static int read_epilogue(struct sbx_multipart *m, struct sbx_err *err)
{
    while (!m->ended) {
        struct sbx_err failure = SBX_ERR_INIT;
        ssize_t n = m->read(m->arg, m->buf, sizeof(m->buf), &failure);
        if (n < 0)
            return stay_failed(m, &failure, err);
        m->ended = n == 0;
    }
    return 0;
}

int sbx_multipart_next(struct sbx_multipart *m, struct sbx_part *ret, struct sbx_err *err)
{
    while (m->state == STATE_DATA) {
        if (scan(m, err) < 0)
            return -1;
        m->start += m->safe;
        m->safe = 0;
    }
    if (m->state == STATE_FAILED)
        return stay_failed(m, &m->failure, err);
    if (m->state == STATE_CLOSED)
        return read_epilogue(m, err);
    return read_head(m, ret, err) < 0 ? -1 : 1;
}

ssize_t sbx_multipart_read(struct sbx_multipart *m, void *buf, size_t n, struct sbx_err *err)
{
    if (m->state == STATE_FAILED)
        return stay_failed(m, &m->failure, err);
    if (m->parts == 0 || scan(m, err) < 0)
        return m->parts == 0 ? 0 : -1;
    size_t taken = n < m->safe ? n : m->safe;
    memcpy(buf, m->buf + m->start, taken);
    m->start += taken;
    m->safe -= taken;
    return (ssize_t)taken;
}
