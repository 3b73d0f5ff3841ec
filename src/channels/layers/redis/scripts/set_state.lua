-- set_state
-- Keep a state of a collection, or forget it.
-- KEYS: collection, its expiry
-- ARGV: field, value, expiry (ms) or 0 to forget it, revision or '', capacity
-- The collection is a hash, of which a value is the revision, a space, and what was given. When each
-- field expires, in milliseconds of the server's clock, is the score in a sorted set beside it: Redis
-- before 7.4 knows no expiry of a field.
-- Returns 1, or 0 if a state with a greater revision is there, or another one with the same revision.
-- Repeating the script changes nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local field, expiry = ARGV[1], tonumber(ARGV[3])
local value = (ARGV[4] == '' and '0' or ARGV[4]) .. ' ' .. ARGV[2]
local expired = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1000)
local known = redis.call('HGET', KEYS[1], field)
if #expired > 0 then
  redis.call('HDEL', KEYS[1], unpack(expired))
  redis.call('ZREM', KEYS[2], unpack(expired))
  known = redis.call('HGET', KEYS[1], field)
end
if expiry == 0 then
  redis.call('HDEL', KEYS[1], field)
  redis.call('ZREM', KEYS[2], field)
  return 1
end
if known and ARGV[4] ~= '' then
  local newest, given = tonumber(string.match(known, '^%d+')), tonumber(ARGV[4])
  if newest > given or newest == given and known ~= value then return 0 end
end
if not known then
  local excess = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[5]) + 1
  if excess > 0 then
    for _, first in ipairs(redis.call('ZRANGE', KEYS[2], 0, math.min(excess, 1000) - 1)) do
      redis.call('HDEL', KEYS[1], first)
      redis.call('ZREM', KEYS[2], first)
    end
  end
end
redis.call('HSET', KEYS[1], field, value)
redis.call('ZADD', KEYS[2], now + expiry, field)
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < expiry then redis.call('PEXPIRE', key, expiry) end
end
return 1
