-- Append a message to the inbox of one process.
-- KEYS: inbox, sender
-- ARGV: sequence number, sender's lease (ms), field, message, capacity of the inbox
-- Spelled as in keys.py: refusals_key, FIELD_ORIGIN.
-- The entry tells its sender and number, for readers to know a repeat from when a server has
-- forgotten.
-- Returns 1, 0 when the process is gone, or -1 when its inbox is full. What is not 1 is kept for a
-- repeat; a sender has fewer than 512 calls under way.
local number, refusals = tonumber(ARGV[1]), KEYS[2] .. ':refusals'
local origin = string.match(KEYS[2], '[^:]+$') .. ':' .. ARGV[1]
if number <= tonumber(redis.call('GET', KEYS[2]) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  return kept[1] == number and kept[2] or 1
end
local answer = 1
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[5]) then
  answer = -1
elseif not redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', ARGV[3], ARGV[4], 's', origin) then
  answer = 0
end
if answer ~= 1 then
  -- Refused where a cluster moves the slot, and then nothing has been changed.
  redis.call('HSET', refusals, number % 512, cjson.encode({number, answer}))
  redis.call('PEXPIRE', refusals, ARGV[2])
end
redis.call('SET', KEYS[2], number, 'PX', ARGV[2])
return answer
