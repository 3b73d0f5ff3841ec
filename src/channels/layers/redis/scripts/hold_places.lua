-- hold_places
-- Say how many of some places a holder has, renew its lease, and let others have what nobody holds.
-- KEYS: the holder's lease, that of the holder in whose place it comes, place...
-- ARGV: base, holder, number of the call, lease (ms), how long places are kept (ms); for each place:
--   how many the holder has from now on, and how many all may have together, or '' for any number
-- Spelled as in keys.py: holder_key.
-- A place is a hash of numbers by holder, of which those count whose lease has not ended. The lease
-- holds the number of the holder's last call: one that is missing tells that the server has
-- forgotten what was said with it. Then, or without a lease, nothing is changed but by call 1.
-- Returns 0, or which place, from 1, all have too many of: then only the lease is renewed; or -1 if
-- the server has forgotten something. Repeating the script changes nothing.
local base, holder, call = ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = tonumber(redis.call('GET', KEYS[1]) or 0)
if known < call - 1 then return -1 end
local excess, gone = 0, {}
for place = 1, #KEYS - 2 do
  local key, number = KEYS[place + 2], tonumber(ARGV[2 * place + 4])
  local most = tonumber(ARGV[2 * place + 5])
  if most and excess == 0 then
    local held, total = redis.call('HGETALL', key), number
    for index = 1, #held, 2 do
      if held[index] ~= holder then total = total + held[index + 1] end
    end
    for index = 1, #held, 2 do
      if total <= most then break end
      local other = held[index]
      if other ~= holder and redis.call('EXISTS', base .. ':holder:' .. other) == 0 then
        total = total - held[index + 1]
        gone[#gone + 1] = {key, other}
      end
    end
    if total > most then excess = place end
  end
end
if call == 1 and KEYS[2] ~= KEYS[1] then redis.call('DEL', KEYS[2]) end
redis.call('SET', KEYS[1], math.max(known, call), 'PX', ARGV[4])
for _, lapsed in ipairs(gone) do redis.call('HDEL', lapsed[1], lapsed[2]) end
if excess > 0 then return excess end
for place = 1, #KEYS - 2 do
  local key, number = KEYS[place + 2], tonumber(ARGV[2 * place + 4])
  if number > 0 then
    redis.call('HSET', key, holder, number)
    redis.call('PEXPIRE', key, ARGV[5])
  else
    redis.call('HDEL', key, holder)
  end
end
return 0
