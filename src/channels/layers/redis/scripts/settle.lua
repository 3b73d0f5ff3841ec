-- Settle what becomes of a scheduled message that was claimed: append it to the queue of its channel, or
-- say that it was sent, or that it could not be.
-- KEYS: schedule, its messages, and, to append it, queue and its expiry; sender
-- ARGV: sequence number, sender's lease (ms), ID, claim, 1 if it was sent or is to be appended, or 0, for
-- how long it may be tried (ms); and to append it: message, capacity, expiry (ms)
-- Spelled as in keys.py: refusals_key, FIELD_MESSAGE. For claims see the script claim, for queues enqueue.
-- Returns what became of it, and how many messages were found to have expired in the queue. 1: it is sent.
-- 0: the claim ended, and nothing was done. -1: it was tried for long enough, and is given up. -2: it is to
-- be tried again. What is not 1 and 0 is kept for a repeat. A periodic message is due again at the next
-- of its times, however many have passed.
local sender = KEYS[#KEYS]
local number, refusals = tonumber(ARGV[1]), sender .. ':refusals'
if number <= tonumber(redis.call('GET', sender) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  if kept[1] == number then return {kept[2], kept[3]} end
  return {1, 0}
end
redis.call('EXISTS', refusals)  -- refused where a cluster moves the slot; so before any change
redis.call('SET', sender, number, 'PX', ARGV[2])

local function answer(outcome, expired)
  if outcome ~= 1 or expired > 0 then
    redis.call('HSET', refusals, number % 512, cjson.encode({number, outcome, expired}))
    redis.call('PEXPIRE', refusals, ARGV[2])
  end
  return {outcome, expired}
end

local id, entry = ARGV[3], redis.call('HGET', KEYS[2], ARGV[3])
local claim = redis.call('HGET', KEYS[2], '@' .. id) or ''
local holder, due, first = string.match(claim, '^(%S+) (%d+) (%d+)$')
if not entry or holder ~= ARGV[4] then return answer(0, 0) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local done, expired = ARGV[5] == '1', 0

if done and ARGV[7] then
  local queue, expiry, longest = KEYS[3], tonumber(ARGV[9]), tonumber(redis.call('GET', KEYS[4]) or 0)
  expired = redis.call('XTRIM', queue, 'MINID', now - math.max(expiry, longest))
  done = redis.call('XLEN', queue) < tonumber(ARGV[8])
  if done then
    redis.call('XADD', queue, '*', 'm', ARGV[7])
    if redis.call('PTTL', queue) < expiry * 1.5 then redis.call('PEXPIRE', queue, expiry * 2) end
    if expiry > longest or expiry == longest and redis.call('PTTL', KEYS[4]) < expiry * 1.5 then
      redis.call('SET', KEYS[4], ARGV[9], 'PX', expiry * 2)
    end
  end
end

local age = now - first
if not done and age < tonumber(ARGV[6]) then
  redis.call('HSET', KEYS[2], '@' .. id, '- ' .. due .. ' ' .. first)
  redis.call('ZADD', KEYS[1], now + math.max(age, 1000), id)
  return answer(-2, expired)
end
redis.call('HDEL', KEYS[2], '@' .. id)
local period = tonumber(string.match(entry, '^%l (%d+) ')) or 0
if period > 0 then
  local missed = math.max(math.floor((now - due) / period), 0)
  redis.call('ZADD', KEYS[1], due + period * (missed + 1), id)
else
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end
return answer(done and 1 or -1, expired)
