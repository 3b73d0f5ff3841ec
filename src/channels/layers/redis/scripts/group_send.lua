-- Append a message to the inbox of every process with members in a group, and to the queues of
-- named channels among its members.
-- KEYS: group, sender
-- ARGV: sequence number, sender's lease (ms), base of all keys, field, message,
--       capacity of an inbox, expiry of messages in queues (ms),
--       capacity of queues, or -1 if the sender has a different one for some
-- Spelled as in keys.py: inbox_key, lost_key, queue_key, queue_expiry_key, refusals_key,
-- process_member, queue_member, FIELD_MESSAGE, FIELD_ORIGIN.
-- Members are p:PROCESS, q:CHANNEL for a queue and, if that is in another partition, r:CHANNEL. One
-- whose key holds something else is passed over.
-- Returns how many members it was appended to, how many queues were full, and how many messages were
-- found to have expired in queues, and then the CHANNEL of each queue that is left to the sender:
-- those in another partition, and all if their capacity is -1. Losses are kept for a repeat; a sender
-- has fewer than 512 calls under way. What a full inbox misses is counted under a key of its own, for
-- its process. On the expiry of a queue's messages see the script enqueue.
--
-- A cluster that moves the slot refuses keys that are on their way. It must do so before anything
-- has been changed, so every key that is not among KEYS is looked at first.
local number, refusals = tonumber(ARGV[1]), KEYS[2] .. ':refusals'
local origin = string.match(KEYS[2], '[^:]+$') .. ':' .. ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local members = redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE')
local capacity = tonumber(ARGV[8])

local function queue_here(member)  -- the channel of a queue that is appended to here, if it is one
  return capacity >= 0 and string.match(member, '^q:([%w._-]+)$')
end

local function answer(sent, full, expired)
  local all = {sent, full, expired}
  for _, member in ipairs(members) do
    local kind, channel = string.match(member, '^([qr]):([%w._-]+)$')
    if kind == 'r' or kind and capacity < 0 then all[#all + 1] = channel end
  end
  return all
end

if number <= tonumber(redis.call('GET', KEYS[2]) or 0) then
  local kept = cjson.decode(redis.call('HGET', refusals, number % 512) or '[0]')
  if kept[1] == number then return answer(0, kept[2], kept[3]) end
  return answer(0, 0, 0)
end
local base, limit, expiry = ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local sent, full, expired = 0, 0, 0
local lengths = {}
for index, member in ipairs(members) do
  local name = string.sub(member, 3)
  if string.sub(member, 1, 2) == 'p:' then
    local length = redis.pcall('XLEN', base .. ':inbox:' .. name)
    if type(length) ~= 'table' then
      lengths[index] = length
      if length >= limit then redis.call('EXISTS', base .. ':lost:' .. name) end
    elseif not string.find(length.err, 'WRONGTYPE', 1, true) then
      return {err = length.err .. ' (XLEN)'}
    end
  elseif queue_here(member) then
    redis.call('EXISTS', base .. ':queue:' .. name)
    redis.call('EXISTS', base .. ':queue:' .. name .. ':expiry')
    redis.call('EXISTS', refusals)
  end
end
redis.call('SET', KEYS[2], number, 'PX', ARGV[2])

local function append_to_inbox(member, process, length)
  local inbox = base .. ':inbox:' .. process
  if length and length >= limit then
    local lost = base .. ':lost:' .. process
    redis.call('INCR', lost)
    redis.call('PEXPIRE', lost, math.max(ARGV[2], redis.call('PTTL', inbox)))
  elseif length and redis.call('XADD', inbox, 'NOMKSTREAM', '*', ARGV[4], ARGV[5], 's', origin) then
    sent = sent + 1
  else
    redis.call('ZREM', KEYS[1], member)
  end
end

local function append_to_queue(channel)
  local queue = base .. ':queue:' .. channel
  local longest = tonumber(redis.pcall('GET', queue .. ':expiry')) or 0
  local trimmed = redis.pcall('XTRIM', queue, 'MINID', now - math.max(expiry, longest))
  if type(trimmed) == 'table' then
    full = full + 1
    return
  end
  expired = expired + trimmed
  if redis.call('XLEN', queue) >= capacity then
    full = full + 1
    return
  end
  redis.call('XADD', queue, '*', 'm', ARGV[5])
  sent = sent + 1
  if redis.call('PTTL', queue) < expiry * 1.5 then redis.call('PEXPIRE', queue, expiry * 2) end
  if expiry > longest
    or expiry == longest and redis.call('PTTL', queue .. ':expiry') < expiry * 1.5 then
    redis.call('SET', queue .. ':expiry', ARGV[7], 'PX', expiry * 2)
  end
end

for index, member in ipairs(members) do
  local name = string.sub(member, 3)
  if string.sub(member, 1, 2) == 'p:' then
    append_to_inbox(member, name, lengths[index])
  elseif queue_here(member) then
    append_to_queue(name)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
if full > 0 or expired > 0 then
  redis.call('HSET', refusals, number % 512, cjson.encode({number, full, expired}))
  redis.call('PEXPIRE', refusals, ARGV[2])
end
return answer(sent, full, expired)
