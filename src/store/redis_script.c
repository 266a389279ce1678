/*
 * The Lua scripts: each is one atomic step. States are the numbers of enum sbx_session_state. Record keys
 * that PAGE looks up are made in the script, so this needs a Redis that is not a cluster (Sentinel's failover
 * is fine).
 */
#include "redis.h"

/* The record's name, the index, and the name of its key; ARGV[1] is the id, ARGV[2] the prefix of records or
 * "" when it has no key; then field names and values alternate. A key whose session is closing or gone is
 * free. */
static const char insert[] = "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end\n"
                             "if ARGV[2] ~= '' then\n"
                             "  local other = redis.call('GET', KEYS[3])\n"
                             "  local state = other and redis.call('HGET', ARGV[2] .. other, 'state')\n"
                             "  if state and state ~= '3' then return 0 end\n"
                             "  redis.call('SET', KEYS[3], ARGV[1])\n"
                             "end\n"
                             "redis.call('HSET', KEYS[1], unpack(ARGV, 3))\n"
                             "redis.call('ZADD', KEYS[2], 0, ARGV[1])\n"
                             "return 1";

/* ARGV[1] is the session's id, ARGV[2] the prefix of keys. */
#define FREE_KEY                                                                                             \
    "local key = redis.call('HGET', KEYS[1], 'key')\n"                                                       \
    "if key and key ~= '' and redis.call('GET', ARGV[2] .. key) == ARGV[1] then\n"                           \
    "  redis.call('DEL', ARGV[2] .. key)\n"                                                                  \
    "end\n"

/* From ARGV[1] on, at most ARGV[2] records, with the fields ARGV[4 …]; ARGV[3] is the prefix of record keys.
 */
static const char page[] =
    "local out, from, n = {}, ARGV[1], tonumber(ARGV[2])\n"
    "while #out < n do\n"
    "  local ids = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, n - #out)\n"
    "  if #ids == 0 then break end\n"
    "  for _, id in ipairs(ids) do\n"
    "    local row = redis.call('HMGET', ARGV[3] .. id, unpack(ARGV, 4))\n"
    "    if row[1] then out[#out + 1] = row end\n"
    "  end\n"
    "  from = '(' .. ids[#ids]\n"
    "end\n"
    "return out";

/* ARGV[1] is the owner, ARGV[2] the prefix of records. */
static const char count[] = "local n = 0\n"
                            "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do\n"
                            "  local r = redis.call('HMGET', ARGV[2] .. id, 'owner', 'state')\n"
                            "  if r[1] == ARGV[1] and (r[2] == '1' or r[2] == '2') then n = n + 1 end\n"
                            "end\n"
                            "return n";

static const char ready[] = "if redis.call('HGET', KEYS[1], 'state') ~= '1' then return 0 end\n"
                            "redis.call('HSET', KEYS[1], 'state', '2', 'container', ARGV[1],"
                            " 'helper', ARGV[2], 'volume', ARGV[3],"
                            " 'used_ms', ARGV[4], 'expires_ms', ARGV[5])\n"
                            "return 1";

/* 1 set, 0 was set already, -1 not a ready session. */
static const char seeded[] = "local r = redis.call('HMGET', KEYS[1], 'state', 'seeded')\n"
                             "if r[1] ~= '2' then return -1 end\n"
                             "if r[2] == '1' then return 0 end\n"
                             "redis.call('HSET', KEYS[1], 'seeded', '1')\n"
                             "return 1";

static const char closing[] = "local state = redis.call('HGET', KEYS[1], 'state')\n"
                              "if not state then return 0 end\n" FREE_KEY
                              "if state ~= '3' then redis.call('HSET', KEYS[1], 'stopped_ms', ARGV[3]) end\n"
                              "redis.call('HSET', KEYS[1], 'state', '3', 'key', '')\n"
                              "return 1";

static const char stopped[] = "local state = redis.call('HGET', KEYS[1], 'state')\n"
                              "if state == '4' then return 1 end\n"
                              "if state ~= '2' then return 0 end\n"
                              "redis.call('HSET', KEYS[1], 'state', '4', 'stopped_ms', ARGV[1])\n"
                              "return 1";

static const char resumed[] =
    "if redis.call('HGET', KEYS[1], 'state') ~= '4' then return 0 end\n"
    "redis.call('HSET', KEYS[1], 'state', '2', 'stopped_ms', '0', 'used_ms', ARGV[1])\n"
    "return 1";

/* ARGV[1] labels or "" for none, idle_ms, expires_ms, used_ms. */
static const char update[] =
    "local state = redis.call('HGET', KEYS[1], 'state')\n"
    "if state ~= '2' and state ~= '4' then return 0 end\n"
    "if ARGV[1] == '' then redis.call('HDEL', KEYS[1], 'labels')\n"
    "else redis.call('HSET', KEYS[1], 'labels', ARGV[1]) end\n"
    "redis.call('HSET', KEYS[1], 'idle_ms', ARGV[2], 'expires_ms', ARGV[3], 'used_ms', ARGV[4])\n"
    "return 1";

static const char touch[] = "local used = redis.call('HGET', KEYS[1], 'used_ms')\n"
                            "if not used or math.abs(used - ARGV[1]) < tonumber(ARGV[2]) then return 0 end\n"
                            "redis.call('HSET', KEYS[1], 'used_ms', ARGV[1])\n"
                            "return 1";

static const char delete[] = FREE_KEY "redis.call('ZREM', KEYS[2], ARGV[1])\n"
                                      "return redis.call('DEL', KEYS[1])";

/* Count a pool's entries, forgetting those that were claimed or removed, and add one if they are fewer than
 * ARGV[2]. ARGV[1] is the id, ARGV[3] the prefix of records, ARGV[4] the age; then the fields. */
static const char pool_add[] =
    "local n = 0\n"
    "for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do\n"
    "  local row = redis.call('HMGET', ARGV[3] .. id, 'state', 'pool')\n"
    "  if (row[1] == '1' or row[1] == '5') and KEYS[3] == KEYS[4] .. row[2] then n = n + 1\n"
    "  else redis.call('ZREM', KEYS[3], id) end\n"
    "end\n"
    "if n >= tonumber(ARGV[2]) or redis.call('EXISTS', KEYS[1]) == 1 then return 0 end\n"
    "redis.call('HSET', KEYS[1], unpack(ARGV, 5))\n"
    "redis.call('ZADD', KEYS[2], 0, ARGV[1])\n"
    "redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])\n"
    "return 1";

static const char pool_ready[] =
    "local row = redis.call('HMGET', KEYS[1], 'state', 'pool')\n"
    "if row[1] ~= '1' or not row[2] or row[2] == '' then return 0 end\n"
    "redis.call('HSET', KEYS[1], 'state', '5', 'container', ARGV[1], 'helper', ARGV[2], 'volume', ARGV[3])\n"
    "return 1";

/* The oldest entry that is POOLED; entries in the making stay. ARGV[1] is the prefix of records, ARGV[2] the
 * record's key or ""; then the fields. */
static const char pool_claim[] =
    "if ARGV[2] ~= '' then\n"
    "  local other = redis.call('GET', KEYS[2])\n"
    "  local state = other and redis.call('HGET', ARGV[1] .. other, 'state')\n"
    "  if state and state ~= '3' then return false end\n"
    "end\n"
    "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do\n"
    "  local name = ARGV[1] .. id\n"
    "  local row = redis.call('HMGET', name, 'state', 'container', 'helper', 'volume')\n"
    "  if row[1] ~= '1' then redis.call('ZREM', KEYS[1], id) end\n"
    "  if row[1] == '5' then\n"
    "    redis.call('HSET', name, 'state', '1', unpack(ARGV, 3))\n"
    "    if ARGV[2] ~= '' then redis.call('SET', KEYS[2], id) end\n"
    "    return {id, row[2], row[3], row[4]}\n"
    "  end\n"
    "end\n"
    "return false";

static const char pool_drop[] = "if redis.call('HGET', KEYS[1], 'state') ~= '5' then return 0 end\n"
                                "redis.call('HSET', KEYS[1], 'state', '3')\n"
                                "return 1";

static const char wish[] =
    "local old, at = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1])), tonumber(ARGV[2])\n"
    "local score = at\n"
    "if old then\n"
    "  score = math.max(old, at) + math.log(1 + 2 ^ -math.abs(old - at)) / math.log(2)\n"
    "end\n"
    "redis.call('ZADD', KEYS[1], string.format('%.17g', score), ARGV[1])\n"
    "return 1";

/* Wish and score in turns, the highest first. ARGV[1] is the least score, ARGV[2] the most of them. */
static const char wishes[] =
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])\n"
    "return redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')";

static const char lease[] = "local holder = redis.call('GET', KEYS[1])\n"
                            "if holder and holder ~= ARGV[1] then return 0 end\n"
                            "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
                            "return 1";

static const char unlease[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
                              "return redis.call('DEL', KEYS[1])";

/* A lock is its key, its session's fence, and an entry in the hash of what the replica holds; the arguments
 * begin with id and token. Delete it if it is the holder's; ARGV[3] ms later forget the fence, unless "". */
static const char release[] =
    "if ARGV[3] ~= '' then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end\n"
    "if redis.call('HGET', KEYS[3], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[3], ARGV[1]) end\n"
    "if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end\n"
    "return redis.call('DEL', KEYS[1])";

/* The fence, or 0 when another holds the lock, or -1 when it is later than ARGV[4] (ms): nobody waits for the
 * answer any more.  Fences are kept for a day: later the clock is ahead of them.
 */
static const char lock[] =
    "local now = redis.call('TIME')\n"
    "if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[4]) then return -1 end\n"
    "if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3]) then return 0 end\n"
    "local last = tonumber(redis.call('GET', KEYS[2]) or 0)\n"
    "local fence = math.max(now[1] * 1000000 + now[2], last + 1)\n"
    "redis.call('SET', KEYS[2], string.format('%.0f', fence), 'EX', 86400)\n"
    "redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])\n"
    "return fence";

/* A lock that is not there at all is taken again if nobody had it in between, which ARGV[4], its fence,
 * tells: Redis came back without it. */
static const char refresh[] = "local holder = redis.call('GET', KEYS[1])\n"
                              "if holder == ARGV[2] then return redis.call('PEXPIRE', KEYS[1], ARGV[3]) end\n"
                              "local fence = redis.call('GET', KEYS[2])\n"
                              "if holder or (fence and fence ~= ARGV[4]) then return 0 end\n"
                              "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"
                              "redis.call('SET', KEYS[2], ARGV[4], 'EX', 86400)\n"
                              "redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])\n"
                              "return 1";

/* What a replica holds: ids and tokens in turns. Forgets those whose lock is no longer theirs: a release was
 * lost, and the TTL made up for it. ARGV[1] is the prefix of locks. */
static const char held[] = "local out, all = {}, redis.call('HGETALL', KEYS[1])\n"
                           "for i = 1, #all, 2 do\n"
                           "  if redis.call('GET', ARGV[1] .. all[i]) == all[i + 1] then\n"
                           "    out[#out + 1], out[#out + 2] = all[i], all[i + 1]\n"
                           "  else redis.call('HDEL', KEYS[1], all[i]) end\n"
                           "end\n"
                           "return out";

/* Writes only where it has to, so that it also works while Redis takes no writes. */
static const char instance[] = "local known = redis.call('GET', KEYS[1])\n"
                               "if known then return known end\n"
                               "redis.call('SET', KEYS[1], ARGV[1])\n"
                               "return ARGV[1]";

/* A write: a read-only replica and a full Redis answer PING as well. */
static const char ping[] = "redis.call('SET', KEYS[2], '1', 'PX', 1000)\n"
                           "redis.call('SET', KEYS[1], ARGV[1], 'NX')\n"
                           "return redis.call('GET', KEYS[1])";

const struct sbx_redis_lua sbx_redis_lua[SBX_REDIS_SCRIPTS] = {
    [SBX_REDIS_DO_INSTANCE] = {instance, 1},
    [SBX_REDIS_DO_PING] = {ping, 2},
    [SBX_REDIS_DO_INSERT] = {insert, 3},
    [SBX_REDIS_DO_PAGE] = {page, 1},
    [SBX_REDIS_DO_COUNT] = {count, 1},
    [SBX_REDIS_DO_READY] = {ready, 1},
    [SBX_REDIS_DO_SEEDED] = {seeded, 1},
    [SBX_REDIS_DO_CLOSING] = {closing, 1},
    [SBX_REDIS_DO_STOPPED] = {stopped, 1},
    [SBX_REDIS_DO_RESUMED] = {resumed, 1},
    [SBX_REDIS_DO_UPDATE] = {update, 1},
    [SBX_REDIS_DO_TOUCH] = {touch, 1},
    [SBX_REDIS_DO_DELETE] = {delete, 2},
    [SBX_REDIS_DO_POOL_ADD] = {pool_add, 4},
    [SBX_REDIS_DO_POOL_READY] = {pool_ready, 1},
    [SBX_REDIS_DO_POOL_CLAIM] = {pool_claim, 2},
    [SBX_REDIS_DO_POOL_DROP] = {pool_drop, 1},
    [SBX_REDIS_DO_WISH] = {wish, 1},
    [SBX_REDIS_DO_WISHES] = {wishes, 1},
    [SBX_REDIS_DO_LEASE] = {lease, 1},
    [SBX_REDIS_DO_UNLEASE] = {unlease, 1},
    [SBX_REDIS_DO_RELEASE] = {release, 3},
    [SBX_REDIS_DO_LOCK] = {lock, 3},
    [SBX_REDIS_DO_REFRESH] = {refresh, 3},
    [SBX_REDIS_DO_HELD] = {held, 1},
};
