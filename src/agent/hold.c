/* The table of held execs: those that run, and the last of those that are over. */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

#define MAX_HELD     (SBX_HELD_RUNNING + SBX_HELD_FINISHED)
#define MAX_BUFFERED (64ULL * 1024 * 1024) /* bytes of all rings together */

static struct hold holds[MAX_HELD];
static uint64_t orders;

static int64_t wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void hold_option(struct hold_options *options, const struct sbx_field *field)
{
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    (void)sbx_field_u32(field, &u32);
    (void)sbx_field_u64(field, &u64);
    if (field->tag == SBX_TAG_HELD && field->len <= SBX_HELD_ID_MAX) {
        memcpy(options->id, field->data, field->len);
        options->id[field->len] = '\0';
    } else if (field->tag == SBX_TAG_TTY) {
        options->tty = u32 == 1;
    } else if (field->tag == SBX_TAG_BLOCK) {
        options->block = u32 == 1;
    } else if (field->tag == SBX_TAG_TIED) {
        options->tied = u32 == 1;
    } else if (field->tag == SBX_TAG_ROWS) {
        options->rows = u32;
    } else if (field->tag == SBX_TAG_COLUMNS) {
        options->columns = u32;
    } else if (field->tag == SBX_TAG_BUFFER) {
        options->buffer = u64;
    } else if (field->tag == SBX_TAG_OUTPUT_LIMIT) {
        options->output_limit = u64;
    }
}

struct hold *hold_find(const uint8_t *id, size_t len)
{
    for (size_t i = 0; i < MAX_HELD; i++)
        if (holds[i].used && strlen(holds[i].options.id) == len && memcmp(holds[i].options.id, id, len) == 0)
            return &holds[i];
    return NULL;
}

struct hold *hold_next(uint64_t order)
{
    struct hold *next = NULL;
    for (size_t i = 0; i < MAX_HELD; i++)
        if (holds[i].used && holds[i].order > order && (!next || holds[i].order < next->order))
            next = &holds[i];
    return next;
}

void hold_free(struct hold *hold)
{
    hold_gone(hold);
    hold_ring_done(&hold->ring);
    hold->used = false;
}

struct totals {
    size_t running, finished;
    uint64_t bytes;
    struct hold *oldest; /* of the finished */
};

static struct totals add_up(void)
{
    struct totals totals = {.oldest = NULL};
    for (struct hold *hold = hold_next(0); hold; hold = hold_next(hold->order)) {
        totals.bytes += hold->ring.size;
        totals.running += hold->exec != NULL;
        totals.finished += hold->exec == NULL;
        if (!hold->exec && !totals.oldest)
            totals.oldest = hold;
    }
    return totals;
}

/* Old ones give way until so many bytes fit. */
static bool make_room(uint64_t bytes, int *err, const char **why)
{
    struct totals totals = add_up();
    if (totals.running >= SBX_HELD_RUNNING) {
        *err = EAGAIN;
        *why = "too many held commands are running at once";
        return false;
    }
    while (totals.oldest && (totals.finished > SBX_HELD_FINISHED || totals.bytes + bytes > MAX_BUFFERED)) {
        hold_free(totals.oldest);
        totals = add_up();
    }
    if (totals.bytes + bytes <= MAX_BUFFERED)
        return true;
    *err = EAGAIN;
    *why = "the running commands' buffers are too large together";
    return false;
}

static struct hold *free_slot(void)
{
    for (size_t i = 0; i < MAX_HELD; i++)
        if (!holds[i].used)
            return &holds[i];
    return NULL;
}

struct hold *hold_new(const struct request *request, int *err, const char **why)
{
    const struct hold_options *options = &request->hold;
    uint64_t bytes = options->buffer > 0 ? options->buffer : SBX_HELD_BUFFER;

    if (hold_find((const uint8_t *)options->id, strlen(options->id))) {
        *err = EEXIST;
        *why = "a held command has this id already";
        return NULL;
    }
    if (!make_room(bytes, err, why))
        return NULL;
    struct hold *hold = free_slot();
    *err = ENOMEM;
    *why = "out of memory for the output";
    if (!hold)
        return NULL;
    *hold = (struct hold){.options = *options};
    if (!hold_ring_init(&hold->ring, bytes))
        return NULL;
    hold->used = true;
    hold->order = ++orders;
    text_join(hold->request, sizeof(hold->request), conn_request(), NULL);
    text_join(hold->command, sizeof(hold->command), request->command ? request->command : request->argv[0],
              NULL);
    return hold;
}

void hold_begin(struct hold *hold, struct exec *exec, uint32_t stream)
{
    hold->exec = exec;
    hold->started_ms = wall_ms();
    hold_send_state(stream, hold, 0, 0);
    file_refuse(stream, 0, NULL);
}

void hold_end(struct hold *hold, const struct outcome *outcome)
{
    hold->exec = NULL;
    hold->ended_ms = wall_ms();
    hold->outcome_len = outcome_put(outcome, hold->outcome, sizeof(hold->outcome), 0);
    if (hold->forget)
        hold_free(hold);
    else if (add_up().finished > SBX_HELD_FINISHED)
        hold_free(add_up().oldest);
}

/* What a reader has not had waits for him, but the end of a cancelled command waits for nobody: the oldest
 * gives way to what stands in its pipes then. */
static uint64_t keep_from(const struct hold *hold)
{
    bool waits = hold->options.block && !(hold->cancelled && hold->exec->settling);
    return waits && hold->seen < hold->ring.end ? hold->seen : hold->ring.end;
}

static bool over_limit(const struct hold *hold)
{
    return hold->options.output_limit > 0 && hold->ring.end >= hold->options.output_limit;
}

bool hold_wants(const struct hold *hold, int channel)
{
    return over_limit(hold) || hold_ring_room(&hold->ring, channel, keep_from(hold)) > 0;
}

/* The limit's last byte is kept; one more ends the command. */
static ssize_t read_beyond(struct hold *hold, int fd)
{
    static uint8_t waste[4096];
    ssize_t n = read(fd, waste, sizeof(waste));
    if (n > 0)
        exec_end(hold->exec, SBX_EXIT_OUTPUT_LIMIT, now_us());
    return n;
}

ssize_t hold_read(struct hold *hold, int channel, int fd)
{
    if (over_limit(hold))
        return read_beyond(hold, fd);
    size_t room = hold_ring_room(&hold->ring, channel, keep_from(hold));
    uint64_t limit = hold->options.output_limit;
    if (limit > 0 && limit - hold->ring.end < room)
        room = (size_t)(limit - hold->ring.end);
    return hold_ring_read(&hold->ring, channel, fd, room);
}
