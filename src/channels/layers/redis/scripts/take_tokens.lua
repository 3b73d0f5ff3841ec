-- take_tokens
-- Take tokens from a bucket.
-- KEYS: the bucket
-- ARGV: microseconds in which one token comes back, tokens that a full bucket holds, least, most
-- The key holds when the bucket will be full again, in microseconds of the server's clock, and
-- expires then. See channels.security.limits.rates for the arithmetic.
-- Returns the tokens taken, and the microseconds after which there will be enough, as text: one of
-- them is 0.
-- Repeating the script takes again: a limit is then a little stricter for a moment.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local least, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local full = tonumber(redis.call('GET', KEYS[1])) or now
if full < now then full = now end
local there = burst - (full - now) / interval
if there < least - 0.000001 then
  return {'0', string.format('%.0f', math.ceil((least - there) * interval))}
end
local taken = math.max(math.min(most, there), least)
full = full + taken * interval
local ttl = math.ceil((full - now) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.max(ttl, 1))
return {string.format('%.6f', taken), '0'}
