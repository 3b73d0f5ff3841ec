-- Schedule a message, or let a periodic one be something else.
-- KEYS: schedule, its messages, sender
-- ARGV: sequence number, sender's lease (ms), ID, entry, 1 if the time is since the epoch or 0 if it is
-- from now, time (ms), how many messages may be scheduled, how long they outlive their time (ms)
-- Spelled as in keys.py: refusals_key. An entry begins with its kind, its period (ms) and a name, as
-- layers/redis/schedule.py makes it.
-- Returns 1, or 0 when no more may be scheduled, which is kept for a repeat; see enqueue.
--
-- A periodic message that is scheduled again keeps its time, unless its period is another one and it
-- would come sooner; nor is one touched that a process is about to send.
local number, refusals = tonumber(ARGV[1]), KEYS[3] .. ':refusals'
if number <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  return kept[1] == number and kept[2] or 1
end
redis.call('EXISTS', refusals)  -- refused where a cluster moves the slot; so before any change
redis.call('SET', KEYS[3], number, 'PX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, entry, due = ARGV[3], ARGV[4], tonumber(ARGV[6])
if ARGV[5] == '0' then due = now + due end
local known = redis.call('HGET', KEYS[2], id)
if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[7]) then
  redis.call('HSET', refusals, number % 512, cjson.encode({number, 0}))
  redis.call('PEXPIRE', refusals, ARGV[2])
  return 0
end
redis.call('HSET', KEYS[2], id, entry)
redis.call('ZADD', KEYS[1], 'NX', due, id)
local period = '^%l (%d+) '
if known and string.match(known, period) ~= string.match(entry, period)
  and redis.call('HEXISTS', KEYS[2], '@' .. id) == 0 then
  redis.call('ZADD', KEYS[1], 'LT', due, id)
end
local life = math.max(due - now, 0) + ARGV[8]
if redis.call('PTTL', KEYS[1]) < life then
  redis.call('PEXPIRE', KEYS[1], life)
  redis.call('PEXPIRE', KEYS[2], life)
end
return 1
