-- Drop messages of a named channel's queue that have expired.
-- KEYS: queue
-- ARGV: expiry (ms)
-- Returns how many.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('XTRIM', KEYS[1], 'MINID', now - ARGV[1])
