-- get_states
-- The states of a collection that have not expired.
-- KEYS: collection, its expiry
-- ARGV: field, or none for all
-- Returns a field, its revision and value as the script set_state keeps them, the next field, ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields, found = {}, {}
if ARGV[1] then
  if tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0) > now then fields = {ARGV[1]} end
else
  fields = redis.call('ZRANGE', KEYS[2], '(' .. now, '+inf', 'BYSCORE')
end
for _, field in ipairs(fields) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then
    found[#found + 1] = field
    found[#found + 1] = value
  end
end
return found
