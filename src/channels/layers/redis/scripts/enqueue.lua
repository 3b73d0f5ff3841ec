-- Append a message to the queue of a named channel, unless it is full.
-- KEYS: queue, its expiry, sender
-- ARGV: sequence number, sender's lease (ms), message, capacity, expiry (ms), and when it was sent
-- (ms) for one that was in the queue before
-- Spelled as in keys.py: refusals_key, FIELD_MESSAGE, FIELD_SENT.
-- Returns 1, or 0 when the queue is full, and how many messages were found to have expired. What is
-- not 1 and 0 is kept for a repeat; a sender has fewer than 512 calls under way. The queue outlives
-- its messages, so that whoever comes next counts those that have expired.
--
-- Senders may be set differently, and none may shorten what another one has sent: messages expire
-- after the longest expiry with which any was appended of late, which the second key holds. The
-- capacity is the sender's.
local number, refusals = tonumber(ARGV[1]), KEYS[3] .. ':refusals'
if number <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  if kept[1] == number then return {kept[2], kept[3]} end
  return {1, 0}
end
redis.call('EXISTS', refusals)  -- refused where a cluster moves the slot; so before any change
redis.call('SET', KEYS[3], number, 'PX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry, longest = tonumber(ARGV[5]), tonumber(redis.call('GET', KEYS[2]) or 0)
local taken, expired = 0, redis.call('XTRIM', KEYS[1], 'MINID', now - math.max(expiry, longest))
if redis.call('XLEN', KEYS[1]) < tonumber(ARGV[4]) then
  taken = 1
  if ARGV[6] then
    redis.call('XADD', KEYS[1], '*', 'm', ARGV[3], 't', ARGV[6])
  else
    redis.call('XADD', KEYS[1], '*', 'm', ARGV[3])
  end
  if redis.call('PTTL', KEYS[1]) < expiry * 1.5 then
    redis.call('PEXPIRE', KEYS[1], expiry * 2)
  end
  if expiry > longest or expiry == longest and redis.call('PTTL', KEYS[2]) < expiry * 1.5 then
    redis.call('SET', KEYS[2], ARGV[5], 'PX', expiry * 2)
  end
end
if taken == 0 or expired > 0 then
  redis.call('HSET', refusals, number % 512, cjson.encode({number, taken, expired}))
  redis.call('PEXPIRE', refusals, ARGV[2])
end
return {taken, expired}
