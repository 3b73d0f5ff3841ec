-- Append a message to the queue of a named channel, unless it is full.
-- KEYS: queue, sender
-- ARGV: sequence number, sender's lease (ms), message, capacity, expiry (ms)
-- Returns 1, or 0 when the queue is full, and how many messages were found to have expired.
local last = redis.call('GET', KEYS[2])
if last and tonumber(last) >= tonumber(ARGV[1]) then return {1, 0} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expired = redis.call('XTRIM', KEYS[1], 'MINID', now - ARGV[5])
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {0, expired} end
redis.call('XADD', KEYS[1], '*', 'm', ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {1, expired}
