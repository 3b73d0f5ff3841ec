-- Have a channel of another process join a group, or leave it: the process is told through its
-- inbox, before anything that is sent to the group afterwards.
-- KEYS: group, inbox, sender
-- ARGV: sequence number, sender's lease (ms), member, lease (ms) or 0 to leave, field, channel
-- Returns 1, or 0 when the process is gone.
local last = redis.call('GET', KEYS[3])
if last and tonumber(last) >= tonumber(ARGV[1]) then return 1 end
if not redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', ARGV[5], ARGV[6]) then return 0 end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
local lease = tonumber(ARGV[4])
if lease > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZADD', KEYS[1], 'GT', now + lease, ARGV[3])
  if redis.call('PTTL', KEYS[1]) < lease then redis.call('PEXPIRE', KEYS[1], lease) end
end
return 1
