-- Append a message to the inbox of one process.
-- KEYS: inbox, sender
-- ARGV: sequence number, sender's lease (ms), field, message, capacity of the inbox
-- Returns 1, 0 when the process is gone, or -1 when its inbox is full.
local last = redis.call('GET', KEYS[2])
if last and tonumber(last) >= tonumber(ARGV[1]) then return 1 end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[5]) then return -1 end
if not redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', ARGV[3], ARGV[4]) then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
