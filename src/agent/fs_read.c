/* read: lines of a text file, or all of a small file that is none. */
#include <string.h>
#include <unistd.h>

#include "agent/fs.h"

#define CHUNK (256 * 1024)
#define SNIFF 8192 /* a NUL in so much of the start: not text */

struct page {
    uint64_t first, behind; /* lines wanted */
    uint64_t line;          /* the one that is being looked at */
    bool begun;             /* it has bytes */
    bool full, cut;         /* no more is taken; within a line */
    uint64_t end;           /* lines up to the end of what was taken */
    size_t start;           /* of the present line in text */
    struct fs_data text;
};

/* No more fits: whole lines only, unless it is a single one. */
static void close_page(struct page *page)
{
    page->full = true;
    page->end = page->line;
    if (page->start > 0) {
        page->text.len = page->start;
        return;
    }
    size_t n = SBX_FS_READ_MAX;
    for (int back = 0; back < 3 && n > 0 && (page->text.bytes[n] & 0xc0) == 0x80; back++)
        n--;
    page->text.len = n;
    page->cut = true;
    page->end++;
}

/* Bytes of one line; whole: up to its end. */
static void take(struct page *page, const char *bytes, size_t n, bool whole)
{
    bool wanted = !page->full && page->line >= page->first && page->line < page->behind;
    if (wanted) {
        fs_data_add(&page->text, bytes, n);
        if (page->text.len > SBX_FS_READ_MAX)
            close_page(page);
        else
            page->end = page->line + 1;
    }
    page->begun = !whole;
    page->line += whole;
    if (whole && !page->full)
        page->start = page->text.len;
}

static void put_bytes(int fd, const struct stat *st)
{
    struct fs_data all = {.len = 0};
    if (st->st_size > SBX_FS_READ_MAX)
        fs_fail(SBX_FS_TOO_LARGE, "the file is not text, and larger than 512000 bytes");
    if (lseek(fd, 0, SEEK_SET) < 0)
        fs_fail(SBX_FS_EXEC_FAILED, "cannot read the file again");
    fs_data_read(&all, fd, SBX_FS_READ_MAX);
    fs_put_u64(SBX_TAG_FS_ENCODING, 1);
    fs_put(SBX_TAG_FS_TEXT, all.bytes, all.len);
}

static void put_page(struct page *page)
{
    size_t n = page->text.len;
    if (!page->cut && n > 0 && page->text.bytes[n - 1] == '\n')
        n--; /* lines are joined by their ends */
    fs_put_u64(SBX_TAG_FS_ENCODING, 0);
    fs_put(SBX_TAG_FS_TEXT, page->text.bytes, n);
    fs_put_u64(SBX_TAG_FS_COUNT, page->line);
    fs_put_u64(SBX_TAG_FS_END, page->end);
    fs_put_u64(SBX_TAG_FS_TRUNCATED, page->cut || page->end < page->line);
}

void fs_op_read(char **argv)
{
    static char chunk[CHUNK];
    struct page page = {.first = (uint64_t)fs_number(argv[2])};
    struct fs_place place;
    struct stat st;
    size_t n;
    page.behind = page.first + (uint64_t)fs_number(argv[3]);
    int fd = fs_open_file(argv[1], &place, &st);
    bool text = true;
    uint64_t done = 0;
    /* no further than it reached at first: it may grow as fast as it is read */
    for (; text && done < (uint64_t)st.st_size; done += n) {
        uint64_t left = (uint64_t)st.st_size - done;
        n = fs_read_full(fd, chunk, left < CHUNK ? (size_t)left : CHUNK);
        if (n == 0)
            break;
        if (done == 0)
            text = !memchr(chunk, '\0', n < SNIFF ? n : SNIFF);
        for (size_t at = 0; at < n;) {
            const char *newline = memchr(chunk + at, '\n', n - at);
            size_t len = newline ? (size_t)(newline - chunk) + 1 - at : n - at;
            take(&page, chunk + at, len, newline != NULL);
            at += len;
        }
    }
    page.line += page.begun;
    if (!text || !fs_is_text(page.text.bytes, page.text.len))
        put_bytes(fd, &st);
    else if (page.first > 0 && page.first >= page.line)
        fs_fail(SBX_FS_INVALID_OFFSET, "the offset is behind the last line");
    else
        put_page(&page);
}
