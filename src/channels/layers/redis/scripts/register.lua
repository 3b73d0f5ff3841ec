-- Make the inbox of a process if it is not there.
-- KEYS: inbox
-- ARGV: lease (ms)
-- Returns the server's time (ms), 1 if it was made or 0 if it was there, and the id of its last entry.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local made = 1 - redis.call('EXISTS', KEYS[1])
local last
if made == 1 then
  last = redis.call('XADD', KEYS[1], '*', 'h', '')
else
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for index = 1, #info, 2 do
    if info[index] == 'last-generated-id' then last = info[index + 1] end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {now, made, last}
