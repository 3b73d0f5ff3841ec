-- Renew the lease of a process on its inbox and on its memberships.
-- KEYS: inbox, lost, group...
-- ARGV: member, lease (ms)
-- Returns the server's time (ms), whether the inbox was still there (1 or 0), how many messages it
-- had no room for since the last time, and the groups' keys that hold something else. Without an
-- inbox nothing is renewed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive, foreign = redis.call('PEXPIRE', KEYS[1], ARGV[2]), {}
if alive == 1 then
  for index = 3, #KEYS do
    if type(redis.pcall('ZADD', KEYS[index], now + ARGV[2], ARGV[1])) == 'table' then
      foreign[#foreign + 1] = KEYS[index]
    elseif redis.call('PTTL', KEYS[index]) < tonumber(ARGV[2]) then
      redis.call('PEXPIRE', KEYS[index], ARGV[2])
    end
  end
end
local lost = redis.call('GET', KEYS[2])
if lost then redis.call('DEL', KEYS[2]) end
return {now, alive, tonumber(lost or 0), foreign}
