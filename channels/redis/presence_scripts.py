"""The scripts of presence: what Redis does with the slots of a channel, each in one step. Lua text, nothing runs here.

A channel is one hash: a field per taken slot (`master`, `viewer:<client id>`) with "<end of the lease, ms> <fence>
<node> <connection id>", and the field `fence`, the highest one given out. The time is that of Redis alone. A lease is
held until it ends, unless its node is known to be dead. What is not held counts nowhere, and is removed when somebody
needs the room.
"""

from typing import Final

_PRELUDE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function parse(value)
  local ends, fence, node, connection = string.match(value, '^(%d+) (%d+) (%S+) (%S+)$')
  return tonumber(ends), tonumber(fence), node, connection
end

local function is_held(value, dead)
  local ends, _, node = parse(value)
  return ends > now and not string.find(dead, ' ' .. node .. ' ', 1, true)
end

local function is_viewer(slot)
  return slot ~= 'master' and slot ~= 'fence'
end
"""

_CLAIMING: Final = """
-- how many viewers are held, the one with the lowest fence, and that fence; the others are removed
local function clear(key, dead)
  local viewers, weakest, lowest = 0, nil, math.huge
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if is_viewer(all[i]) then
      if is_held(all[i + 1], dead) then
        local _, fence = parse(all[i + 1])
        viewers = viewers + 1
        if fence < lowest then weakest, lowest = all[i], fence end
      else
        redis.call('HDEL', key, all[i])
      end
    end
  end
  return viewers, weakest, lowest
end

-- like clear, which it spares a channel that has room in any case
local function crowd(key, terms)
  local taken = redis.call('HLEN', key) - 1 - redis.call('HEXISTS', key, 'master')
  if taken < terms.limit then return taken end
  return clear(key, terms.dead)
end

local function write(key, slot, fence, connection, terms)
  local text = string.format('%.0f %.0f %s %s', now + terms.lease_ms, fence, terms.node, connection)
  redis.call('HSET', key, slot, text)
  redis.call('PEXPIRE', key, terms.keep_ms)
end

-- prolong a claim, or put it back; 0 when it is lost, 1 when it was there, 2 when it was forgotten
local function renew(key, slot, fence, connection, terms)
  local value = redis.call('HGET', key, slot)
  if value then
    local ends, held, _, held_by = parse(value)
    if held > fence and ends > now and held_by ~= connection then return 0 end
    if held == fence or held_by == connection then
      write(key, slot, fence, connection, terms)
      return 1
    end
  elseif is_viewer(slot) then
    local viewers, weakest, lowest = crowd(key, terms)
    if viewers >= terms.limit then
      if lowest > fence then return 0 end
      redis.call('HDEL', key, weakest)
    end
  end
  write(key, slot, fence, connection, terms)
  local highest = tonumber(redis.call('HGET', key, 'fence') or 0)
  if fence > highest then redis.call('HSET', key, 'fence', fence) end
  return 2
end

if now > tonumber(ARGV[1]) then return {'late', now} end
local terms = {
  lease_ms = tonumber(ARGV[2]), keep_ms = tonumber(ARGV[3]), limit = tonumber(ARGV[4]),
  dead = ARGV[5], node = ARGV[6],
}
local claims = cmsgpack.unpack(ARGV[7])
"""

# KEYS: the channel. ARGV: until when it may be done (ms), lease ms, keep ms, viewer limit, " dead nodes ", node; slot,
# fence and connection id of each claim of this node that may have been forgotten, as one MessagePack array; slot,
# connection id. Answer: late | full, now; in, now, fence, the replaced holder or "".
ADMIT: Final = (
    _PRELUDE
    + _CLAIMING
    + """
local key, slot, connection = KEYS[1], ARGV[8], ARGV[9]
for i = 1, #claims, 3 do renew(key, claims[i], claims[i + 1], claims[i + 2], terms) end
local replaced = ''
local value = redis.call('HGET', key, slot)
if value then
  local ends, _, _, held_by = parse(value)
  if ends <= now then
    redis.call('HDEL', key, slot)
    value = false
  elseif held_by ~= connection then
    replaced = value
  end
end
if not value and is_viewer(slot) and crowd(key, terms) >= terms.limit then return {'full', now} end
-- greater than any before, also after Redis lost its data: the counter may be gone, the time is not
local fence = math.max((redis.call('HGET', key, 'fence') or 0) + 1, time[1] * 1000000 + time[2])
write(key, slot, fence, connection, terms)
redis.call('HSET', key, 'fence', fence)
return {'in', now, fence, replaced}
"""
)

# KEYS: the channel of each claim. ARGV: as above up to the claims.
# Answer: late, now; done, now, how many were put back, and the number of each that is lost, from 1.
RENEW: Final = (
    _PRELUDE
    + _CLAIMING
    + """
local answer = {'done', now, 0}
for number, key in ipairs(KEYS) do
  local i = 3 * number
  local outcome = renew(key, claims[i - 2], claims[i - 1], claims[i], terms)
  if outcome == 0 then answer[#answer + 1] = number end
  if outcome == 2 then answer[3] = answer[3] + 1 end
end
return answer
"""
)

# KEYS: the channel. ARGV: slot, connection id, fence, or 0 for any.
LEAVE: Final = (
    _PRELUDE
    + """
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
local _, fence, _, connection = parse(value)
local wanted = tonumber(ARGV[3])
if connection ~= ARGV[2] or (wanted ~= 0 and wanted ~= fence) then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""
)

# KEYS: the channel. ARGV: slot, " dead nodes ". Answer: the holder, or nil.
LOCATE: Final = (
    _PRELUDE
    + """
local value = redis.call('HGET', KEYS[1], ARGV[1])
return value and is_held(value, ARGV[2]) and value
"""
)

# KEYS: the channel. ARGV: " dead nodes ". Answer: how many viewers are held.
COUNT: Final = (
    _PRELUDE
    + """
local viewers = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if is_viewer(all[i]) and is_held(all[i + 1], ARGV[1]) then viewers = viewers + 1 end
end
return viewers
"""
)
