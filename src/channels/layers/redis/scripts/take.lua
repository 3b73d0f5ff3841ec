-- Have an entry of a named channel's queue. Whoever removes it has it, and nobody else.
-- KEYS: queue, its expiry (see the script enqueue), sender
-- ARGV: sequence number, sender's lease (ms), group, entry, when it was sent (ms), expiry (ms), or 0
-- for one that cannot have expired
-- Spelled as in keys.py: refusals_key.
-- Returns 1; 0 if it is there no more, because somebody else has had it or it has been trimmed; -1
-- if it has expired. What is not 1 is kept for a repeat; see enqueue. A server that is full drops
-- no message for lack of the memory to note that one was taken.
local number, refusals = tonumber(ARGV[1]), KEYS[3] .. ':refusals'
if number <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  return kept[1] == number and kept[2] or 1
end
redis.call('EXISTS', refusals)  -- refused where a cluster moves the slot; so before any change
redis.pcall('SET', KEYS[3], number, 'PX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local outcome = redis.call('XDEL', KEYS[1], ARGV[4])
redis.call('XACK', KEYS[1], ARGV[3], ARGV[4])
if outcome == 1 and ARGV[6] ~= '0' then
  local expiry = math.max(tonumber(ARGV[6]), tonumber(redis.call('GET', KEYS[2]) or 0))
  if now - ARGV[5] > expiry then outcome = -1 end
end
if outcome ~= 1 then
  redis.pcall('HSET', refusals, number % 512, cjson.encode({number, outcome}))
  redis.pcall('PEXPIRE', refusals, ARGV[2])
end
return outcome
