"""What is done on the server, each script in one step. What it counts with is the server's own clock.

A version, a fence or a revision is a time in microseconds, or one more than the last where the clock is behind it: it
never comes back, not even where a server has lost everything.

The keys, below a prefix: `record:PLACE:KEY` (a hash: value, version), `index:PLACE` (the place's keys, all with score
0: in their order), `due:PLACE` (those that live for a time, by their end in milliseconds), `revision` (a hash: the last
version of each place), `lease:NAME`, `fence`, `seats:NAME` (holders by the end of their time), `bucket:NAME`, `settle`.
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
local function seat(room, holder, now, ms)
  redis.call('ZADD', room, whole(now / 1000 + ms), holder)
  if redis.call('PTTL', room) < tonumber(ms) then redis.call('PEXPIRE', room, ms) end
end
"""


class LuaScript(msgspec.Struct, frozen=True):
    """A script and its digest."""

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
"""Record; the longest value to return. Version, milliseconds left, length, and the value if it is not longer."""

PUT = _script("""
local now, place, key = micros(), ARGV[1], ARGV[2]
local held = redis.call('HGET', KEYS[1], 'version') or '0'
if ARGV[4] ~= '' and ARGV[4] ~= held then return false end
local version = beyond(redis.call('HGET', KEYS[4], place), now)
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
redis.call('HSET', KEYS[4], place, version)
return version
""")
"""Record, index, due, revision; place, key, value, expected version or none, milliseconds or none. The version."""

REMOVE = _script("""
local held = redis.call('HGET', KEYS[1], 'version')
if not held or (ARGV[3] ~= '' and ARGV[3] ~= held) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[4], ARGV[1], beyond(redis.call('HGET', KEYS[4], ARGV[1]), micros()))
return 1
""")
"""Record, index, due, revision; place, key, expected version or none. 1 if it was there."""

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
"""Index; the records' prefix, both ends, 1 for the reverse, how many names, and how many bytes of values (negative:
names alone). Where to go on, if there may be more; and what was found: names, or what GET returns behind them."""

REVISIONS = _script("return redis.call('HGETALL', KEYS[1])")
"""Revision. Places and versions by turns."""

ACQUIRE = _script("""
if ARGV[3] ~= '' and ARGV[3] ~= epoch() then return false end
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
local fence = beyond(redis.call('GET', KEYS[2]), micros())
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], fence)
return fence
""")
"""Lease, fence; owner, milliseconds, epoch or none. The fence."""

RENEW = _script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""Lease; owner, milliseconds. 1 if it was the owner's."""

RELEASE = _script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")
"""Lease; owner."""

ENTER = _script("""
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
seat(KEYS[1], ARGV[1], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now / 1000))
for number, level in pairs(levels) do
  redis.call('HSET', KEYS[number], 'level', string.format('%.9f', level[1]), 'since', whole(now))
  redis.call('PEXPIRE', KEYS[number], whole(math.min(level[2], 31536000) * 1000 + 1000))
end
return '0'
""")
"""Seats, buckets; holder, how many seats, milliseconds, then what each bucket holds and gets back in a second.
Seconds to wait: 0 if it was done, inf where no seat is free."""

STAY = _script("""
local now = micros()
for number, room in ipairs(KEYS) do seat(room, ARGV[number + 1], now, ARGV[1]) end
return 1
""")
"""Seats; milliseconds, then a holder for each."""

LEAVE = _script("""
for number, room in ipairs(KEYS) do redis.call('ZREM', room, ARGV[number]) end
return 1
""")
"""Seats; a holder for each."""

SEATED = _script("return redis.call('ZCOUNT', KEYS[1], '(' .. whole(micros() / 1000), '+inf')")
"""Seats. How many are taken."""

NOW = _script("return whole(micros())")
"""The time in microseconds."""

EPOCH = _script("return epoch()")
"""Who the server is, and whose data it has."""

SETTLE = _script("""
redis.call('SET', KEYS[1], '', 'PX', 60000)
return redis.call('INFO', 'replication'):match('connected_slaves:(%d+)')
""")
"""Settle. How many replicas are connected; what was written before it reaches them before it."""
