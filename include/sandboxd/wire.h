/*
 * The protocol between a worker and the agent (PID 1 of a session's container), over the container's stdin
 * and stdout. Shared by both ends; the agent links nothing else of ours, so this module depends on libc only.
 *
 * Frame, little endian, at most SBX_FRAME_MAX bytes so that a frame is one atomic pipe write:
 *
 *   0  u16  magic 0x5358 ("XS")
 *   2  u8   type
 *   3  u8   flags: SBX_FRAME_MORE = the message goes on in the next frame of this stream
 *   4  u32  stream id; 0 = the connection
 *   8  u16  payload length, 0..SBX_PAYLOAD_MAX
 *  10  u16  header check: folded CRC of bytes 0..9
 *  12  u32  CRC-32C of header and payload, started from the connection key
 *
 * The connection key is 0 for HELLO, HELLO_ACK and REFUSED and derived from HELLO's random nonce for
 * everything else: the checksum starts from it, and the payload is masked with it (XOR with its eight bytes
 * over and over). Frames of an earlier connection never pass for frames of this one. Neither do bytes of a
 * client's file, not even for a HELLO and for a reader that looks for one amid them: whoever wrote them would
 * have to know the mask.
 *
 * A worker may die in the middle of a frame and the next one writes to the same pipe; what dockerd still has
 * of the dead one may even come after the next one's HELLO. A reader that fails a check drops one byte and
 * looks for the next magic; one that has had an incomplete frame for SBX_WIRE_SILENCE_MS looks for a whole
 * one behind it.
 *
 * Messages larger than one frame are sent as frames with MORE set but the last. Messages of different streams
 * may interleave; frames of one stream do not reorder.
 */
#ifndef SANDBOXD_WIRE_H
#define SANDBOXD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SBX_WIRE_VERSION    2
#define SBX_FRAME_HEADER    16
#define SBX_FRAME_MAX       4016
#define SBX_PAYLOAD_MAX     4000
#define SBX_WIRE_SILENCE_MS 50
#define SBX_WIRE_WINDOW     (256 * 1024) /* initial credit of each stream and direction, in payload bytes */
#define SBX_MESSAGE_MAX     (8 * 1024 * 1024) /* largest assembled message (a command with its environment) */

enum sbx_frame_flags { SBX_FRAME_MORE = 1 };

enum sbx_frame_type {
    /* worker → agent */
    SBX_FRAME_HELLO = 1, /* fields: VERSION, NONCE, FENCE, REQUEST */
    SBX_FRAME_EXEC = 2,  /* fields: see SBX_TAG_*; starts stream id */
    SBX_FRAME_STDIN = 3, /* raw bytes for the exec's stdin; costs credit */
    SBX_FRAME_STDIN_EOF = 4,
    SBX_FRAME_KILL = 5, /* end the exec's whole tree at once: EXIT follows with REASON cancelled */
    SBX_FRAME_CREDIT =
        6, /* both ways: payload u32 = bytes of OUTPUT (or STDIN) the sender of this frame has consumed */
    SBX_FRAME_PING = 7, /* keeps the connection's execs alive; answered by PONG with the same payload */
    SBX_FRAME_WRITE =
        8, /* fields: PATH, MODE, SIZE; then DATA frames of SIZE bytes in all on the same stream */
    SBX_FRAME_DATA = 9,
    SBX_FRAME_HELD = 10, /* fields: OP, HELD, and what the operation takes; answered by RESULT */
    /* agent → worker */
    SBX_FRAME_HELLO_ACK = 64, /* fields: VERSION, NONCE, BOOT (random id of this agent process) */
    SBX_FRAME_REFUSED = 65,   /* fields: NONCE, FENCE (newest seen), MESSAGE */
    SBX_FRAME_OUTPUT = 66,    /* u8 channel (1 stdout or merged, 2 stderr), then raw bytes; costs credit */
    SBX_FRAME_EXIT = 67,      /* terminal record of an exec. fields: CODE, SIGNAL, REASON, USER_US, SYSTEM_US,
                                 MAX_RSS, DURATION_US */
    SBX_FRAME_RESULT =
        68, /* terminal record of a WRITE or other operation. fields: STATUS (0 or errno), MESSAGE, … */
    SBX_FRAME_PONG = 69,
    SBX_FRAME_HELD_STATE = 70, /* fields: one held exec, see below */
};

/* Why an exec ended. */
enum sbx_exit_reason {
    SBX_EXIT_EXITED = 0,
    SBX_EXIT_SIGNALLED = 1,
    SBX_EXIT_TIMEOUT = 2,
    SBX_EXIT_CANCELLED = 3,
    SBX_EXIT_OOM = 4,
    SBX_EXIT_FAILED = 5, /* never ran: no shell, bad cwd, fork refused; MESSAGE and STATUS (errno) say why */
    SBX_EXIT_OUTPUT_LIMIT = 6, /* it wrote more than OUTPUT_LIMIT */
};

/*
 * Held execs: an EXEC with HELD (its id) belongs to no connection. It is answered by HELD_STATE and RESULT as
 * soon as it is started, or by EXIT when it cannot be (REASON failed). The agent keeps what it writes in a
 * ring of BUFFER bytes and its state until newer ones need the room. Every byte of output has a number,
 * counted from 0 over both channels; a held exec that drops output drops the oldest.
 *
 * Its HELD_STATE names the REQUEST of the connection that started it.
 *
 * Operations of HELD frames, each answered by RESULT (STATUS ENOENT: there is no such exec) after:
 *   STATE              HELD_STATE
 *   LIST               HELD_STATE of each, oldest first
 *   READ AFTER LIMIT   OUTPUT of at most LIMIT bytes from number AFTER on (without credit), then HELD_STATE
 *                      with FROM and TO: the numbers of those bytes. FROM > AFTER: what is between is dropped
 *   INPUT DATA EOF     RESULT has ACCEPTED, bytes of DATA that were taken; EOF counts when all were.
 *                      EPIPE: nothing reads its stdin
 *   SIGNAL SIGNAL      to its process group, on a terminal to the foreground group; ESRCH when it is over
 *   RESIZE ROWS COLUMNS  ENOTTY without a terminal
 *   CANCEL             TERM, 2 s later KILL, to the whole tree; nothing when it is over
 *   FORGET             CANCEL, and no trace is left when it is over
 */
enum sbx_held_op {
    SBX_HELD_STATE = 1,
    SBX_HELD_LIST = 2,
    SBX_HELD_READ = 3,
    SBX_HELD_INPUT = 4,
    SBX_HELD_SIGNAL = 5,
    SBX_HELD_RESIZE = 6,
    SBX_HELD_CANCEL = 7,
    SBX_HELD_FORGET = 8,
};

#define SBX_REQUEST_ID_MAX  64 /* bytes of REQUEST; a longer one is taken for none */
#define SBX_HELD_ID_MAX     36
#define SBX_HELD_RUNNING    32                 /* at once in one container; more are refused with EAGAIN */
#define SBX_HELD_FINISHED   32                 /* kept; the oldest give way */
#define SBX_HELD_BUFFER     (1024 * 1024)      /* default size of the ring */
#define SBX_HELD_BUFFER_MIN (64 * 1024)        /* smaller ones become this */
#define SBX_HELD_BUFFER_MAX (16 * 1024 * 1024) /* larger ones become this */

/*
 * File operations are builtins of an EXEC: BUILTIN "fs", CWD "/", the operation and its arguments as ARGs.
 * Their channel 1 carries fields, in pieces as they come; FS_CODE is the last of them, and an output without
 * it is a failure. What repeats (entries, matches) begins with PATH each time. Input is the command's stdin.
 *
 *   ls PATH                  PATH, FS_KIND for each entry
 *   stat PATH                FS_KIND, SIZE, MODE, FS_MTIME_NS, FS_UID, FS_GID, FS_TARGET of a symlink
 *   read PATH OFFSET LIMIT   FS_ENCODING, FS_TEXT, FS_COUNT (lines in all), FS_END, FS_TRUNCATED
 *   grep PATTERN PATH GLOB PRUNE…
 *                            PATH, FS_LINE, FS_TEXT for each match, FS_TRUNCATED; GLOB "": all files
 *   glob PATTERN PATH PRUNE… PATH, FS_KIND for each match
 *   write PATH MODE          input: content
 *   edit PATH ALL OLD_LENGTH input: the old text, the new text; FS_COUNT
 *   delete PATH RECURSIVE    FS_COUNT: 1
 *   mkdir PATH MODE PARENTS  FS_COUNT: 1 when it was made, 0 when it was there
 *   move FROM TO OVERWRITE
 *   get PATH FIRST LAST      FS_KIND, SIZE, MODE, FS_MTIME_NS, FS_INODE; of a file also FS_FIRST and
 *                            FS_COUNT of the bytes that follow as FS_TEXT. FIRST and LAST: of HTTP's Range,
 *                            "" where left out; both "": all, both "-": nothing
 *   put PATH MODE            input: content; FS_COUNT: 1 when it was made, 0 when it was replaced. MODE
 *                            "": the present one, else 0644
 *   tar PATH                 FS_TEXT, FS_COUNT: entries that are left out
 *   untar PATH [ALL]         input: a tar of src/archive; FS_COUNT: its members. ALL 1: as a seed
 *
 * Numbers are decimal, flags 0 or 1. Paths: src/agent/fs_path.c.
 */
enum sbx_fs_code {
    SBX_FS_OK = 0,
    SBX_FS_INVALID_PATH = 1,
    SBX_FS_NOT_FOUND = 2,
    SBX_FS_NOT_A_DIRECTORY = 3,
    SBX_FS_IS_A_DIRECTORY = 4,
    SBX_FS_NOT_A_TEXT_FILE = 5,
    SBX_FS_STRING_NOT_FOUND = 6,
    SBX_FS_MULTIPLE_OCCURRENCES = 7,
    SBX_FS_ALREADY_EXISTS = 8,
    SBX_FS_TOO_LARGE = 9,
    SBX_FS_INVALID_OFFSET = 10,
    SBX_FS_INVALID_PATTERN = 11,
    SBX_FS_PERMISSION_DENIED = 12,
    SBX_FS_EXEC_FAILED = 13,
};

#define SBX_FS_READ_MAX  512000          /* bytes of content that one read gives */
#define SBX_FS_GREP_MAX  200             /* matches */
#define SBX_FS_FIELD_MAX SBX_FS_READ_MAX /* no field is longer */

#define SBX_NS_PER_S INT64_C(1000000000)

/* Fields of structured payloads: u8 tag, u32 length, bytes. Unknown tags are skipped. Repeated tags are
 * lists. */
enum sbx_tag {
    SBX_TAG_VERSION = 1,     /* u32 */
    SBX_TAG_NONCE = 2,       /* u64 */
    SBX_TAG_FENCE = 3,       /* u64 */
    SBX_TAG_BOOT = 4,        /* u64 */
    SBX_TAG_MESSAGE = 5,     /* text */
    SBX_TAG_STATUS = 6,      /* u32: 0 or errno of Linux */
    SBX_TAG_COMMAND = 16,    /* text for the shell (bash -o pipefail -c, else sh) */
    SBX_TAG_ARG = 17,        /* repeated: argv, instead of COMMAND */
    SBX_TAG_ENV = 18,        /* repeated: NAME=value, on top of the container's environment */
    SBX_TAG_CWD = 19,        /* default /repo */
    SBX_TAG_TIMEOUT_MS = 20, /* u32, 0 or absent: none */
    SBX_TAG_STDIN = 21,      /* u32: 1 = STDIN frames follow; absent or 0: /dev/null */
    SBX_TAG_SPLIT = 22,      /* u32: 1 = stderr on a channel of its own */
    SBX_TAG_KEEP = 23,       /* u32: 1 = survives the end of this connection */
    SBX_TAG_REQUEST = 24,    /* text: id of the request that opened the connection; absent: none */
    SBX_TAG_BUILTIN =
        25, /* text: a function of the agent instead of a program, ARGs are its arguments: clear DIR…, fs … */
    SBX_TAG_CODE = 32,    /* u32: exit code as a shell would say it (128 + signal) */
    SBX_TAG_SIGNAL = 33,  /* u32 */
    SBX_TAG_REASON = 34,  /* u32: enum sbx_exit_reason */
    SBX_TAG_USER_US = 35, /* u64 */
    SBX_TAG_SYSTEM_US = 36,
    SBX_TAG_MAX_RSS = 37, /* u64 bytes */
    SBX_TAG_DURATION_US = 38,
    SBX_TAG_PATH = 48,
    SBX_TAG_MODE = 49,    /* u32 */
    SBX_TAG_SIZE = 50,    /* u64 */
    SBX_TAG_FS_CODE = 64, /* u32: enum sbx_fs_code; MESSAGE says more */
    SBX_TAG_FS_KIND = 65, /* text: "file", "dir", "symlink", "other" */
    SBX_TAG_FS_TEXT = 66, /* bytes */
    SBX_TAG_FS_LINE = 67, /* u64, and so are those that follow */
    SBX_TAG_FS_COUNT = 68,
    SBX_TAG_FS_END = 69,       /* lines up to the end of what was read */
    SBX_TAG_FS_TRUNCATED = 70, /* 1: there is more */
    SBX_TAG_FS_ENCODING = 71,  /* 1: not text */
    SBX_TAG_FS_MTIME_NS = 72,  /* since 1970; before it negative, in two's complement */
    SBX_TAG_FS_UID = 73,
    SBX_TAG_FS_GID = 74,
    SBX_TAG_FS_INODE = 75,
    SBX_TAG_FS_FIRST = 76,
    SBX_TAG_FS_TARGET = 77, /* bytes */
    SBX_TAG_HELD = 96,      /* text: id of a held exec */
    SBX_TAG_OP = 97,        /* u32: enum sbx_held_op */
    SBX_TAG_AFTER = 98,     /* u64 */
    SBX_TAG_LIMIT = 99,     /* u64 */
    SBX_TAG_TTY = 100,      /* u32: 1 = on a terminal, whose output is all on channel 1 */
    SBX_TAG_ROWS = 101,     /* u32 */
    SBX_TAG_COLUMNS = 102,
    SBX_TAG_BUFFER = 103,       /* u64: bytes of the ring */
    SBX_TAG_OUTPUT_LIMIT = 104, /* u64: the exec is ended when it writes more; 0 or absent: none */
    SBX_TAG_BLOCK = 105,        /* u32: 1 = a full ring makes the exec wait until a READ's AFTER has passed */
    SBX_TAG_TIED = 106, /* u32: 1 = to be cancelled when a follower's client goes away; kept for the worker */
    SBX_TAG_DATA = 107,
    SBX_TAG_EOF = 108,      /* u32: 1 */
    SBX_TAG_ACCEPTED = 109, /* u64 */
    SBX_TAG_RUNNING = 110,  /* u32: 1 = not over yet; CODE, SIGNAL, REASON and the usage follow its end */
    SBX_TAG_INPUT = 111,    /* u32: 1 = stdin is open */
    SBX_TAG_FIRST = 112,    /* u64: number of the oldest byte kept */
    SBX_TAG_END = 113,      /* u64: number of the next byte */
    SBX_TAG_FROM = 114,     /* u64 */
    SBX_TAG_TO = 115,
    SBX_TAG_STARTED_MS = 116, /* u64: wall clock, ms since the epoch */
    SBX_TAG_ENDED_MS = 117,
};

struct sbx_frame {
    uint8_t type;
    uint8_t flags;
    uint32_t stream;
    const uint8_t *payload; /* points into the reader's buffer; valid until the next call on it */
    size_t len;
};

/* The key of the connection opened with this nonce. Never 0. */
uint64_t sbx_wire_key(uint64_t nonce);

/* Encode one frame into out (room for SBX_FRAME_HEADER + len); returns its size. len <= SBX_PAYLOAD_MAX. key
 * is 0 for HELLO, HELLO_ACK and REFUSED. payload may stand in its place (out + SBX_FRAME_HEADER) already. */
size_t sbx_frame_encode(uint8_t *out, uint64_t key, uint8_t type, uint8_t flags, uint32_t stream,
                        const void *payload, size_t len);

/* An incremental reader: feed bytes as they arrive, take frames out. Fixed memory. */
struct sbx_frame_reader {
    uint64_t key;      /* frames of the connection; 0 before HELLO: only key-0 frames pass */
    uint64_t dropped;  /* bytes skipped so far while looking for a frame */
    size_t start, end; /* unread part of buf */
    uint8_t buf[4 * SBX_FRAME_MAX];
};

void sbx_frame_reader_init(struct sbx_frame_reader *reader);

/* Where to read(2) into and how much fits; at least one frame's worth once sbx_frame_next returned false. */
uint8_t *sbx_frame_space(struct sbx_frame_reader *reader, size_t *ret_room);
void sbx_frame_fed(struct sbx_frame_reader *reader, size_t n);

/* The next whole frame that passes all checks; false: more bytes are needed. Types with key 0 pass whatever
 * key is set. */
bool sbx_frame_next(struct sbx_frame_reader *reader, struct sbx_frame *ret);

/* Part of a frame is waiting: the caller should call sbx_frame_resync after SBX_WIRE_SILENCE_MS without new
 * bytes. */
bool sbx_frame_partial(const struct sbx_frame_reader *reader);

/* When a whole frame stands behind the partial one, that was nobody's who is still there: drop everything
 * before the whole one and return true. Otherwise nothing changes: the partial frame may just be slow. */
bool sbx_frame_resync(struct sbx_frame_reader *reader);

/* Fields: append to a caller's buffer; each returns the new length, or 0 when size is too small. A chain
 * starts at 0 too, so either check each call or make the buffer big enough for all of them (sbx_field_size).
 */
size_t sbx_field_put(uint8_t *out, size_t size, size_t len, uint8_t tag, const void *data, size_t n);
size_t sbx_field_put_u32(uint8_t *out, size_t size, size_t len, uint8_t tag, uint32_t value);
size_t sbx_field_put_u64(uint8_t *out, size_t size, size_t len, uint8_t tag, uint64_t value);
size_t sbx_field_size(size_t n); /* bytes a field with n bytes of data takes */

struct sbx_field {
    uint8_t tag;
    const uint8_t *data;
    size_t len;
};

/* Iterate: *off starts at 0. true with a field; false at the end or at a malformed field (then *off != n). */
bool sbx_field_next(const uint8_t *payload, size_t n, size_t *off, struct sbx_field *ret);

/* Values of fixed-size fields; false when the length is wrong. */
bool sbx_field_u32(const struct sbx_field *field, uint32_t *ret);
bool sbx_field_u64(const struct sbx_field *field, uint64_t *ret);

#endif
