-- Claim scheduled messages that are due, which no other process gets until the claim ends.
-- KEYS: schedule, its messages
-- ARGV: claim, how long it holds (ms), how many messages at most, how long they outlive their time (ms)
-- A claim is kept in the field @ID: what it is called, when the message was due, and when it was first
-- claimed (ms).
-- Returns in how many milliseconds the next is due, or -1 if there is none, and then the ID and the entry
-- of each that was claimed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
local answer = {-1}
for index = 1, #due, 2 do
  local id, score = due[index], due[index + 1]
  local entry = redis.call('HGET', KEYS[2], id)
  if entry then
    local claim = redis.call('HGET', KEYS[2], '@' .. id) or ''
    local at, first = string.match(claim, '^%S+ (%d+) (%d+)$')
    claim = ARGV[1] .. ' ' .. (at or score) .. ' ' .. (first or now)
    redis.call('HSET', KEYS[2], '@' .. id, claim)
    redis.call('ZADD', KEYS[1], now + ARGV[2], id)
    answer[#answer + 1] = id
    answer[#answer + 1] = entry
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then
  answer[1] = math.max(first[2] - now, 0)
  if redis.call('PTTL', KEYS[1]) < ARGV[4] / 2 then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
  end
end
return answer
