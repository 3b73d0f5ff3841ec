-- Make a named channel's queue and its consumer group if they are not there, and keep them.
-- KEYS: queue, its expiry (see the script enqueue)
-- ARGV: group, lease (ms), expiry (ms), milliseconds after which a silent reader is gone, or 0
-- Returns the server's time (ms), how many messages were found to have expired, and after how many
-- milliseconds they do.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  return made
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if ARGV[4] ~= '0' then
  for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    if reader[6] > tonumber(ARGV[4]) then  -- name, NAME, pending, COUNT, idle, MILLISECONDS
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], reader[2])
    end
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = math.max(tonumber(ARGV[3]), tonumber(redis.call('GET', KEYS[2]) or 0))
return {now, redis.call('XTRIM', KEYS[1], 'MINID', now - expiry), expiry}
