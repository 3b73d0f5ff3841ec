-- Renew the lease of a process on its inbox and on its memberships.
-- KEYS: inbox, lost, group...
-- ARGV: member, lease (ms)
-- Returns the server's time (ms), whether the inbox was still there (1 or 0), how many messages it
-- has had no room for so far, the groups' keys that hold something else, and those of groups of which
-- it was no member (any more). Without an inbox nothing is renewed. The number is never reset: an
-- answer that gets lost loses no count.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive, foreign, missing = redis.call('PEXPIRE', KEYS[1], ARGV[2]), {}, {}
if alive == 1 then
  for index = 3, #KEYS do
    local added = redis.pcall('ZADD', KEYS[index], now + ARGV[2], ARGV[1])
    if type(added) == 'table' then
      foreign[#foreign + 1] = KEYS[index]
    else
      if added == 1 then missing[#missing + 1] = KEYS[index] end
      if redis.call('PTTL', KEYS[index]) < tonumber(ARGV[2]) then
        redis.call('PEXPIRE', KEYS[index], ARGV[2])
      end
    end
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {now, alive, tonumber(redis.call('GET', KEYS[2]) or 0), foreign, missing}
