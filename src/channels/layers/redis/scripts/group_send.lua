-- Append a message to the inbox of every process with members in a group, and to the queues of
-- named channels among its members.
-- KEYS: group, sender
-- ARGV: sequence number, sender's lease (ms), base of all keys, field, message,
--       capacity of an inbox, expiry of messages in queues (ms)
-- Members are p:PROCESS and q:CAPACITY:CHANNEL.
-- Returns how many members it was appended to, how many were full, and how many messages were
-- found to have expired in queues.
local last = redis.call('GET', KEYS[2])
if last and tonumber(last) >= tonumber(ARGV[1]) then return {0, 0, 0} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local base, limit = ARGV[3], tonumber(ARGV[6])
local sent, full, expired = 0, 0, 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE')) do
  local kind, name = string.sub(member, 1, 2), string.sub(member, 3)
  if kind == 'p:' then
    local inbox = base .. ':inbox:' .. name
    if redis.call('XLEN', inbox) >= limit then
      local lost = base .. ':lost:' .. name
      redis.call('INCR', lost)
      redis.call('PEXPIRE', lost, ARGV[2])
      full = full + 1
    elseif redis.call('XADD', inbox, 'NOMKSTREAM', '*', ARGV[4], ARGV[5]) then
      sent = sent + 1
    else
      redis.call('ZREM', KEYS[1], member)
    end
  else
    local mark = string.find(name, ':', 1, true)
    local capacity = tonumber(string.sub(name, 1, mark - 1))
    local queue = base .. ':queue:' .. string.sub(name, mark + 1)
    expired = expired + redis.call('XTRIM', queue, 'MINID', now - ARGV[7])
    if redis.call('XLEN', queue) >= capacity then
      full = full + 1
    else
      redis.call('XADD', queue, '*', 'm', ARGV[5])
      if redis.call('PTTL', queue) < tonumber(ARGV[7]) then redis.call('PEXPIRE', queue, ARGV[7]) end
      sent = sent + 1
    end
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
return {sent, full, expired}
