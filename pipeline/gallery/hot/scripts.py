"""The hot tier's Lua scripts: each change of a key space is one of them, so that none is ever half done.

Redis runs a script alone and writes its effects to its file and its replicas as one transaction. Each change takes the
next sequence number and one record of the log, whose id is that number. Whoever follows the log sees by the ids alone
whether a record is missing. A log that contradicts the numbers (lost, written by others) is begun anew under another
epoch, which sends every mirror back to the entries. Times are Redis' own: no two clocks have to agree.

KEYS of all: entries, seen, log, tombs, meta. ARGV 1 to 5 of all: an epoch to take if there is none, records the log
keeps, payers the space keeps, ms until an unseen payer goes, ms until a tombstone goes; then the script's own.
"""

from __future__ import annotations

_COMMON = """
local epoch, records, payers = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_age, tomb_age = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function begin()
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[5], 'epoch', epoch)
  -- Numbers of another life of the space never go on where this one's were.
  redis.call('HSETNX', KEYS[5], 'seq', string.format('%.0f', now))
end

local function record(op, tag)
  if redis.call('HEXISTS', KEYS[5], 'epoch') == 0 then begin() end
  local seq = redis.call('HINCRBY', KEYS[5], 'seq', 1)
  local id = string.format('%.0f-0', seq)
  local added = redis.pcall('XADD', KEYS[3], 'MAXLEN', records, id, 'op', op, 'tag', tag)
  if type(added) == 'table' and added.err then
    begin()
    redis.call('XADD', KEYS[3], id, 'op', op, 'tag', tag)
  end
end

local function out(tag, op)
  local had = redis.call('HDEL', KEYS[1], tag)
  redis.call('ZREM', KEYS[2], tag)
  if had == 1 then record(op, tag) end
  return had
end

local function bound()
  local gone = 0
  for _, tag in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - max_age, 'LIMIT', 0, 256)) do
    gone = gone + out(tag, 'drop')
  end
  local excess = math.min(redis.call('ZCARD', KEYS[2]) - payers, 256)
  if excess > 0 then
    for _, tag in ipairs(redis.call('ZRANGE', KEYS[2], 0, excess - 1)) do gone = gone + out(tag, 'drop') end
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - tomb_age)
  return gone
end

local function live()
  for index = 1, 5 do redis.call('PEXPIRE', KEYS[index], math.max(max_age, tomb_age)) end
end
"""
"""What the scripts share. `out` takes a payer out, `bound` keeps size and ages, `live` lets a space that nobody writes
to any more end by itself."""

PUT = _COMMON + (
    """
local tag = ARGV[6]
local erased = redis.call('ZSCORE', KEYS[4], tag)
if erased and tonumber(erased) > now - tomb_age then return 'refused' end
redis.call('HSET', KEYS[1], tag, ARGV[7])
redis.call('ZADD', KEYS[2], now, tag)
record('put', tag)
bound()
live()
return 'put'
"""
)
"""An entry (ARGV: tag, sealed), unless its payer was erased within the time of a tombstone."""

TOUCH = _COMMON + (
    """
local tag = ARGV[6]
if redis.call('HEXISTS', KEYS[1], tag) == 0 then return 'absent' end
redis.call('ZADD', KEYS[2], now, tag)
bound()
live()
return 'touched'
"""
)
"""Notes that the payer of ARGV tag was seen."""

DROP = _COMMON + "return out(ARGV[6], 'drop')"
"""Takes out the payer of ARGV tag: 1 if it was there. Other writers may put it again."""

ERASE = _COMMON + (
    """
local tag = ARGV[6]
redis.call('ZADD', KEYS[4], now, tag)
local had = redis.call('HDEL', KEYS[1], tag)
redis.call('ZREM', KEYS[2], tag)
record('erase', tag)
bound()
live()
return had
"""
)
"""Takes out the payer of ARGV tag for good: the tombstone refuses what any writer puts later. The record goes to the
log even where no entry was, for mirrors that have one from before."""

TIDY = _COMMON + (
    """
local gone = bound()
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local seq = redis.call('HGET', KEYS[5], 'seq')
if last and (not seq or last[1] ~= string.format('%.0f-0', seq)) then begin() end
if redis.call('HLEN', KEYS[1]) ~= redis.call('ZCARD', KEYS[2]) then
  for _, tag in ipairs(redis.call('HKEYS', KEYS[1])) do
    if not redis.call('ZSCORE', KEYS[2], tag) then gone = gone + out(tag, 'drop') end
  end
  for _, tag in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if redis.call('HEXISTS', KEYS[1], tag) == 0 then redis.call('ZREM', KEYS[2], tag) end
  end
end
return gone
"""
)
"""Keeps size and ages where nobody puts, and mends what the scripts never leave behind: a log that ends with another
number than the last one given, entries without a time (no age would ever end them) and times without an entry."""

POSITION = """
local found = redis.call('HMGET', KEYS[5], 'epoch', 'seq')
return {found[1] or '', found[2] or '0'}
"""
"""Epoch and sequence number; ARGV are not looked at."""
