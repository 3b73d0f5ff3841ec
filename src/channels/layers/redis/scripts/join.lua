-- Make members of groups, renew their membership, or end it; in the order given.
-- KEYS: group...
-- ARGV: member, lease (ms) or 0 to leave; for each group
-- Returns the numbers of those, from 1, whose key holds something else. A membership that lasts
-- longer stays as it is, and a group's key outlives its longest lease by nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local strange = {}
for number, group in ipairs(KEYS) do
  local member, lease = ARGV[2 * number - 1], tonumber(ARGV[2 * number])
  local done
  if lease == 0 then
    done = redis.pcall('ZREM', group, member)
  else
    done = redis.pcall('ZADD', group, 'GT', now + lease, member)
  end
  if type(done) == 'table' then
    if not string.find(done.err, 'WRONGTYPE', 1, true) then
      return {err = done.err .. (lease == 0 and ' (ZREM)' or ' (ZADD)')}
    end
    strange[#strange + 1] = number
  elseif lease > 0 and redis.call('PTTL', group) < lease then
    redis.call('PEXPIRE', group, lease)
  end
end
return strange
