-- Cancel a scheduled message.
-- KEYS: schedule, its messages, sender
-- ARGV: sequence number, sender's lease (ms), ID
-- Spelled as in keys.py: refusals_key. For claims see the script claim, for entries schedule.
-- Returns 1, or 0 if there is none, or if a process is about to send it: but for what is periodic, which
-- is not sent again, and what goes to a queue here, which is not sent before the script settle. What is
-- not 1 is kept for a repeat; see enqueue.
local number, refusals = tonumber(ARGV[1]), KEYS[3] .. ':refusals'
if number <= tonumber(redis.call('GET', KEYS[3]) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  return kept[1] == number and kept[2] or 1
end
redis.call('EXISTS', refusals)  -- refused where a cluster moves the slot; so before any change
redis.call('SET', KEYS[3], number, 'PX', ARGV[2])
local id, entry = ARGV[3], redis.call('HGET', KEYS[2], ARGV[3])
local sent_by_a_process = string.match(entry or '', '^[cg] 0 ')
local holder = string.match(redis.call('HGET', KEYS[2], '@' .. id) or '-', '^%S+')
if sent_by_a_process and holder ~= '-' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- A claim whose end has come is that of a process that was killed.
  if tonumber(redis.call('ZSCORE', KEYS[1], id) or 0) > now then entry = false end
end
if not entry then
  redis.call('HSET', refusals, number % 512, cjson.encode({number, 0}))
  redis.call('PEXPIRE', refusals, ARGV[2])
  return 0
end
redis.call('ZREM', KEYS[1], id)
redis.call('HDEL', KEYS[2], id, '@' .. id)
return 1
