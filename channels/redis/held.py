"""The scripts of the mailbox: the rules of `HeldMail`, each call in one step at Redis. Lua text, nothing runs here.

The mail of a channel is one hash and two sorted sets. In the hash, for each mail, `mail <id>` is what is held and
`about <id>` is "<number> <until ms> <bytes> <action or -> <sender> <recipient>"; `count <pair>` and `bytes <pair>` are
how much a pair, "<sender> <recipient>", has, `place <action> <pair>` is the id of the offer (or answer) that a newer
one replaces, `last` the number of the newest mail, `born` since when (ms) mail was held here without a gap. One set has
the mail by recipient and number, the other the times when to forget: mail after a grace, `born` after the last mail
that was held, and `seen <recipient>` of a viewer that was here. All three end with the last time.

Mail that is not there and was held before the box was born is lost: Redis has forgotten it, and nobody took it.

Who takes mail may not get the answer. So what was taken is counted and found no more, but stays as `away <id>` and
`taken <token>` until its taker settles that: delivered, or given back. If the mail's time runs out meanwhile, the
sender's node waits a little for that, and then reports that nobody knows.
"""

from typing import Final

_PRELUDE: Final = """
local box, order, ends = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ABOUT = '^(%d+) (%d+) (%d+) (%S+) (%S+ (%S+))$'

local function put(id, about)
  local number, _, bytes, action, pair, recipient = string.match(about, ABOUT)
  redis.call('HSET', box, 'about ' .. id, about)
  redis.call('HINCRBY', box, 'count ' .. pair, 1)
  redis.call('HINCRBY', box, 'bytes ' .. pair, bytes)
  redis.call('ZADD', order, 0, recipient .. ' ' .. number .. ' ' .. id)
  if action ~= '-' then redis.call('HSET', box, 'place ' .. action .. ' ' .. pair, id) end
end

local function pull(id, about)
  local number, _, bytes, action, pair, recipient = string.match(about, ABOUT)
  redis.call('HDEL', box, 'about ' .. id, 'place ' .. action .. ' ' .. pair)
  redis.call('HINCRBY', box, 'bytes ' .. pair, -bytes)
  redis.call('ZREM', order, recipient .. ' ' .. number .. ' ' .. id)
  if redis.call('HINCRBY', box, 'count ' .. pair, -1) == 0 then
    redis.call('HDEL', box, 'count ' .. pair, 'bytes ' .. pair)
  end
end

local function remove(id)
  local about = redis.call('HGET', box, 'about ' .. id)
  if about then pull(id, about) end
  redis.call('ZREM', ends, 'mail ' .. id)
  return redis.call('HDEL', box, 'mail ' .. id, 'away ' .. id) > 0
end

local function expire()
  for _, due in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now)) do
    if string.sub(due, 1, 5) == 'mail ' then remove(string.sub(due, 6)) end
    redis.call('HDEL', box, due)
    redis.call('ZREM', ends, due)
  end
end

local function last_end()
  return redis.call('ZREVRANGE', ends, 0, 0, 'WITHSCORES')[2]
end

local function keep()
  local last = last_end()
  for _, key in ipairs(KEYS) do
    if last then redis.call('PEXPIREAT', key, last + 1000) else redis.call('DEL', key) end
  end
end
"""

# ARGV: until when it may be done (ms), id, mail, for how many ms, bytes, action or -, sender, recipient, 0 if it is for
# a viewer that nobody expects, 1 if it was held before, grace ms, then the limits: messages and bytes of a pair,
# messages of a channel.
# Answer: late | absent | held | the name of a limit, and now.
HOLD: Final = (
    _PRELUDE
    + """
local id, bytes, action, recipient = ARGV[2], tonumber(ARGV[5]), ARGV[6], ARGV[8]
local pair = ARGV[7] .. ' ' .. recipient
if now > tonumber(ARGV[1]) then return {'late', now} end
expire()
if ARGV[9] == '0' and not redis.call('ZSCORE', ends, 'seen ' .. recipient) then return {'absent', now} end
local function number_of(field) return tonumber(redis.call('HGET', box, field) or 0) end
local pair_count, pair_bytes = number_of('count ' .. pair), number_of('bytes ' .. pair)
local count = redis.call('ZCARD', order)
local older = action ~= '-' and redis.call('HGET', box, 'place ' .. action .. ' ' .. pair)
if older and ARGV[10] == '1' then return {'held', now} end  -- it is replaced already
if older then
  local _, _, size = string.match(redis.call('HGET', box, 'about ' .. older), ABOUT)
  pair_count, pair_bytes, count = pair_count - 1, pair_bytes - size, count - 1
end
if pair_count >= tonumber(ARGV[12]) then return {'held_messages_per_pair', now} end
if pair_bytes + bytes > tonumber(ARGV[13]) then return {'held_bytes_per_pair', now} end
if count >= tonumber(ARGV[14]) then return {'held_messages_per_channel', now} end
if older then remove(older) end
local number = string.format('%016.0f', redis.call('HINCRBY', box, 'last', 1))
local until_ms = string.format('%.0f', now + ARGV[4])
redis.call('HSET', box, 'mail ' .. id, ARGV[3])
redis.call('HDEL', box, 'away ' .. id)  -- it is held again: who took it has nothing to settle any more
redis.call('ZADD', ends, until_ms + ARGV[11], 'mail ' .. id)
redis.call('HSETNX', box, 'born', string.format('%.0f', now))
redis.call('ZADD', ends, 'GT', until_ms + ARGV[11], 'born')
put(id, table.concat({number, until_ms, bytes, action, pair}, ' '))
keep()
return {'held', now}
"""
)

# ARGV: until when it may be done (ms), recipient, token. Answer: late, now; taken, now, and of all that is held for the
# recipient and not over, oldest first: the mail, until when (ms).
TAKE: Final = (
    _PRELUDE
    + """
if now > tonumber(ARGV[1]) then return {'late', now} end
expire()
local answer, ids = {'taken', now}, {}
local first, behind = '[' .. ARGV[2] .. ' ', '(' .. ARGV[2] .. '!'  -- names have no blank, and ! comes next after it
for _, member in ipairs(redis.call('ZRANGEBYLEX', order, first, behind)) do
  local id = string.match(member, '^%S+ %d+ (%S+)$')
  local about = redis.call('HGET', box, 'about ' .. id)
  local _, until_ms = string.match(about or '', ABOUT)
  if not until_ms then
    redis.call('ZREM', order, member)  -- the mail was evicted
  elseif tonumber(until_ms) > now then
    answer[#answer + 1], answer[#answer + 2], ids[#ids + 1] = redis.call('HGET', box, 'mail ' .. id), until_ms, id
    pull(id, about)
    redis.call('HSET', box, 'away ' .. id, about)
  end
end
if #ids > 0 then
  local taken = 'taken ' .. ARGV[3]
  redis.call('HSET', box, taken, table.concat(ids, ' '))
  redis.call('ZADD', ends, last_end(), taken)
  keep()
end
return answer
"""
)

# KEYS: the order of each recipient's channel. ARGV: the recipients. Answer: the number of each for whom something is
# held, over or not, from 1.
PEEK: Final = """
local answer = {}
for number, order in ipairs(KEYS) do
  local first, behind = '[' .. ARGV[number] .. ' ', '(' .. ARGV[number] .. '!'
  if #redis.call('ZRANGEBYLEX', order, first, behind, 'LIMIT', 0, 1) > 0 then answer[#answer + 1] = number end
end
return answer
"""

# ARGV: token, 1 if what was taken was delivered, else it goes back.
SETTLE: Final = (
    _PRELUDE
    + """
expire()
local taken = 'taken ' .. ARGV[1]
for id in string.gmatch(redis.call('HGET', box, taken) or '', '%S+') do
  local about = redis.call('HGET', box, 'away ' .. id)
  if about then
    local _, _, _, action, pair = string.match(about, ABOUT)
    if ARGV[2] == '1' or redis.call('HEXISTS', box, 'place ' .. action .. ' ' .. pair) == 1 then
      remove(id)
    else
      redis.call('HDEL', box, 'away ' .. id)
      put(id, about)
    end
  end
end
redis.call('HDEL', box, taken)
redis.call('ZREM', ends, taken)
keep()
"""
)

# ARGV: id, 1 if it stays when it was taken and that is not settled, for how long (ms) it was held at least.
# Answer: 1 if it was there, 2 if it stays, 3 if it is lost.
WITHDRAW: Final = (
    _PRELUDE
    + """
if ARGV[2] == '1' and redis.call('HEXISTS', box, 'away ' .. ARGV[1]) == 1 then return 2 end
local was_there = remove(ARGV[1])
local born = redis.call('HGET', box, 'born')
expire()
keep()
if was_there then return 1 end
return (not born or tonumber(born) > now - ARGV[3]) and 3 or 0
"""
)

# ARGV: recipient, ms from now.
REMEMBER: Final = (
    _PRELUDE
    + """
expire()
redis.call('ZADD', ends, 'GT', now + ARGV[2], 'seen ' .. ARGV[1])
keep()
"""
)
