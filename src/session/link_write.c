/* Write a batch of files over a link: everything is sent without waiting, answers are taken as they come. */
#include "session/link.h"

#include <string.h>

struct batch {
    struct sbx_link *link;
    struct sbx_write *files;
    size_t count;
    size_t next;    /* file being queued */
    size_t sent;    /* bytes of it queued */
    bool opened;    /* its WRITE is queued */
    size_t results; /* files whose RESULT has come */
    uint32_t first; /* stream of files[0]; files[i] has first + i */
};

static int put_write(struct batch *batch, const struct sbx_write *file, uint32_t stream, struct sbx_err *err)
{
    uint8_t
        payload[SBX_PAYLOAD_MAX + 512]; /* a path of PATH_MAX and the numbers; cut into frames if need be */
    size_t n = sbx_field_put(payload, sizeof(payload), 0, SBX_TAG_PATH, file->path, strlen(file->path));
    n = sbx_field_put_u32(payload, sizeof(payload), n, SBX_TAG_MODE, file->mode);
    n = sbx_field_put_u64(payload, sizeof(payload), n, SBX_TAG_SIZE, file->len);
    if (n == 0)
        return sbx_err_set(err, SBX_ERR_INTERNAL, "a path of %zu bytes reached the link", strlen(file->path));
    return sbx_link_put(batch->link, SBX_FRAME_WRITE, stream, payload, n, err);
}

static int queue_more(struct batch *batch, struct sbx_err *err)
{
    while (batch->next < batch->count && batch->link->out.len < SBX_LINK_QUEUE) {
        const struct sbx_write *file = &batch->files[batch->next];
        uint32_t stream = batch->first + (uint32_t)batch->next;
        if (!batch->opened) {
            if (put_write(batch, file, stream, err) < 0)
                return -1;
            batch->opened = true;
        }
        size_t n = file->len - batch->sent;
        n = n < SBX_PAYLOAD_MAX ? n : SBX_PAYLOAD_MAX;
        if (n > 0 && sbx_link_put(batch->link, SBX_FRAME_DATA, stream, (const char *)file->data + batch->sent,
                                  n, err) < 0)
            return -1;
        batch->sent += n;
        if (batch->sent == file->len) {
            batch->next++;
            batch->sent = 0;
            batch->opened = false;
        }
    }
    return 0;
}

static void decode_result(const struct sbx_frame *frame, struct sbx_write *file)
{
    struct sbx_field field;
    size_t off = 0;
    uint32_t status = 0;
    while (sbx_field_next(frame->payload, frame->len, &off, &field)) {
        if (field.tag == SBX_TAG_STATUS)
            (void)sbx_field_u32(&field, &status);
        else if (field.tag == SBX_TAG_MESSAGE)
            snprintf(file->reason, sizeof(file->reason), "%.*s", (int)field.len, (const char *)field.data);
    }
    file->status = (int)status;
    if (status != 0 && !file->reason[0])
        snprintf(file->reason, sizeof(file->reason), "%s", strerror((int)status));
}

int sbx_link_write(struct sbx_link *link, struct sbx_write *files, size_t count, struct sbx_err *err)
{
    struct batch batch = {.link = link, .files = files, .count = count, .first = link->last_stream + 1};
    link->last_stream += (uint32_t)count;
    SBX_SPAN("agent", "write files");
    while (batch.results < count) {
        if (queue_more(&batch, err) < 0)
            return -1;
        link->more = batch.next < count;
        int moved = sbx_link_pump(link, -1, err);
        link->more = false;
        if (moved < 0)
            return -1;
        struct sbx_frame frame;
        int got;
        while ((got = sbx_link_next(link, &frame, err)) > 0) {
            if (frame.type != SBX_FRAME_RESULT || frame.stream < batch.first ||
                frame.stream - batch.first >= count)
                continue;
            decode_result(&frame, &files[frame.stream - batch.first]);
            batch.results++;
        }
        if (got < 0)
            return -1;
    }
    return 0;
}
