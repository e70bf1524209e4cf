"""Lua scripts of the Redis store; each runs atomically and counts time with the server's clock.

A version, a fencing token or a revision is the time in microseconds, or one more than the last one if the clock is
behind it. So it never repeats, even after a server has lost all its data.

Redis keys, below a prefix:

- `record:COLLECTION:KEY`: a hash with value and version
- `index:COLLECTION`: a sorted set of the collection's keys, all with score 0, so that they are in key order
- `due:COLLECTION`: a sorted set of the keys that expire, by expiry in milliseconds
- `revision`: a hash with the last version of each collection
- `lock:NAME`, `fence` (the last fencing token), `slots:NAME` (a sorted set of holders, by expiry),
  `bucket:NAME`, `settle`

The docstring of a script lists its KEYS, then its ARGV, then its result.
"""

import hashlib

import msgspec

_BEGIN = """
local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function whole(number) return string.format('%.0f', number) end
local function beyond(last, now) return whole(math.max(now, (tonumber(last) or 0) + 1)) end
local function epoch()
  local server, replication = redis.call('INFO', 'server'), redis.call('INFO', 'replication')
  return server:match('run_id:(%x+)') .. ':' .. replication:match('master_replid:(%x+)')
end
local function slot(room, holder, now, ms)
  redis.call('ZADD', room, whole(now / 1000 + ms), holder)
  if redis.call('PTTL', room) < tonumber(ms) then redis.call('PEXPIRE', room, ms) end
end
"""


class LuaScript(msgspec.Struct, frozen=True):
    """A Lua script and its SHA-1 digest, by which the server finds it."""

    text: str
    digest: str


def _script(text: str) -> LuaScript:
    whole = _BEGIN + text
    return LuaScript(whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest())


GET = _script("""
local version = redis.call('HGET', KEYS[1], 'version')
if not version then return false end
local length = redis.call('HSTRLEN', KEYS[1], 'value')
local value = length <= tonumber(ARGV[1]) and redis.call('HGET', KEYS[1], 'value')
return {version, redis.call('PTTL', KEYS[1]), length, value}
""")
"""Record; length limit. Returns version, milliseconds left, length, and the value unless it is over the limit."""

PUT = _script("""
local now, collection, key = micros(), ARGV[1], ARGV[2]
local held = redis.call('HGET', KEYS[1], 'version') or '0'
if ARGV[4] ~= '' and ARGV[4] ~= held then return false end
local version = beyond(redis.call('HGET', KEYS[4], collection), now)
redis.call('HSET', KEYS[1], 'value', ARGV[3], 'version', version)
redis.call('ZADD', KEYS[2], 0, key)
if ARGV[5] == '' then
  redis.call('PERSIST', KEYS[1])
  redis.call('ZREM', KEYS[3], key)
else
  local due = whole(math.floor(now / 1000 + ARGV[5]))
  redis.call('PEXPIREAT', KEYS[1], due)
  redis.call('ZADD', KEYS[3], due, key)
end
for _, over in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', whole(now / 1000 - 1), 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], over)
  redis.call('ZREM', KEYS[3], over)
end
redis.call('HSET', KEYS[4], collection, version)
return version
""")
"""Record, index, due, revision; collection, key, value, expected version or '', milliseconds or ''.
Returns the version, or nil if another version was there."""

REMOVE = _script("""
local held = redis.call('HGET', KEYS[1], 'version')
if not held or (ARGV[3] ~= '' and ARGV[3] ~= held) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[4], ARGV[1], beyond(redis.call('HGET', KEYS[4], ARGV[1]), micros()))
return 1
""")
"""Record, index, due, revision; collection, key, expected version or ''. Returns 1 if it was removed."""

PAGE = _script("""
local range = ARGV[4] == '1' and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX'
local names = redis.call(range, KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[5])
local most, size, found, last = tonumber(ARGV[6]), 0, {}, false
for _, name in ipairs(names) do
  local record = ARGV[1] .. name
  local version = redis.call('HGET', record, 'version')
  if version and most < 0 then
    found[#found + 1] = name
  elseif version then
    local length = redis.call('HSTRLEN', record, 'value')
    if #found > 0 and size + length > most then return {last, found} end
    size = size + length
    local value = length <= most and redis.call('HGET', record, 'value')
    found[#found + 1] = {name, version, redis.call('PTTL', record), length, value}
  end
  last = name
end
if #names < tonumber(ARGV[5]) then last = false end
return {last, found}
""")
"""Index; record prefix, both ends, '1' for reverse, limit of names, limit of value bytes (negative: names only).
Returns the name to continue after, or nil at the end; and the names, each with GET's result unless names only."""

REVISIONS = _script("return redis.call('HGETALL', KEYS[1])")
"""Revision. Returns collections and versions, alternating."""

ACQUIRE = _script("""
if ARGV[3] ~= '' and ARGV[3] ~= epoch() then return false end
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
local fence = beyond(redis.call('GET', KEYS[2]), micros())
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], fence)
return fence
""")
"""Lock, fence; owner, milliseconds, epoch or ''. Returns the fencing token, or nil if the lock was not granted."""

RENEW = _script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""Lock; owner, milliseconds. Returns 1 if the owner held it."""

RELEASE = _script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")
"""Lock; owner."""

TAKE_SLOT = _script("""
local now, wait, levels = micros(), 0, {}
local mine = redis.call('ZSCORE', KEYS[1], ARGV[1])
local others = redis.call('ZCOUNT', KEYS[1], '(' .. whole(now / 1000), '+inf')
if mine and tonumber(mine) > now / 1000 then others = others - 1 end
if others >= tonumber(ARGV[2]) then return 'inf' end
for number = 2, #KEYS do
  local most, back = tonumber(ARGV[number * 2]), tonumber(ARGV[number * 2 + 1])
  local kept = redis.call('HMGET', KEYS[number], 'level', 'since')
  local passed = math.max(0, now - (tonumber(kept[2]) or now)) / 1000000
  local level = math.min(most, (tonumber(kept[1]) or most) + passed * back)
  levels[number] = {level - 1, (most - level + 1) / back}
  wait = math.max(wait, (1 - level) / back)
end
if wait > 0.000001 then return string.format('%.9f', wait) end
slot(KEYS[1], ARGV[1], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now / 1000))
for number, level in pairs(levels) do
  redis.call('HSET', KEYS[number], 'level', string.format('%.9f', level[1]), 'since', whole(now))
  redis.call('PEXPIRE', KEYS[number], whole(math.min(level[2], 31536000) * 1000 + 1000))
end
return '0'
""")
"""Slots, buckets; holder, slot limit, milliseconds, then capacity and refill per second of each bucket.
Returns the seconds to wait: 0 on success, inf if no slot is free."""

RENEW_SLOTS = _script("""
local now = micros()
for number, room in ipairs(KEYS) do slot(room, ARGV[number + 1], now, ARGV[1]) end
return 1
""")
"""Slots; milliseconds, then a holder for each."""

RELEASE_SLOTS = _script("""
for number, room in ipairs(KEYS) do redis.call('ZREM', room, ARGV[number]) end
return 1
""")
"""Slots; a holder for each."""

COUNT_SLOTS = _script("return redis.call('ZCOUNT', KEYS[1], '(' .. whole(micros() / 1000), '+inf')")
"""Slots. Returns how many are taken."""

NOW = _script("return whole(micros())")
"""Returns the server's time in microseconds."""

EPOCH = _script("return epoch()")
"""Returns the server's run id and replication id."""

SETTLE = _script("""
redis.call('SET', KEYS[1], '', 'PX', 60000)
return redis.call('INFO', 'replication'):match('connected_slaves:(%d+)')
""")
"""Settle. Writes a key, so that earlier writes reach replicas before it; returns the number of connected replicas."""
