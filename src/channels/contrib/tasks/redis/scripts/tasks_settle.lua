-- Store what became of attempts, and take the tasks out of their queues.
-- KEYS: root
-- ARGV: worker, dead letters of a queue at most, milliseconds that results are kept; for each attempt
-- queue, ID, priority, entry, done or failed or retry, when (us), next one due (us), value, errors
-- Returns for each 1 if it counts, also when it is repeated; or 0 if another attempt has come first,
-- or is under way and this one has failed.
local root, worker, size = KEYS[1], ARGV[1], 9
local seen = {}
for number = 4, #ARGV, size do
  local queue = root .. ':q:' .. ARGV[number]
  if not seen[queue] then look_at(queue) end
  seen[queue] = true
  redis.call('EXISTS', root .. ':t:' .. ARGV[number + 1])
  redis.call('EXISTS', queue .. ':ready:' .. ARGV[number + 2])
end

local function is_owned(stream, entry)
  local pending = redis.pcall('XPENDING', stream, 'workers', entry, entry, 1)
  return not pending.err and pending[1] and pending[1][2] == worker
end

local function bury(queue, id, at)
  redis.call('ZADD', queue .. ':dead', at, id)
  local surplus = redis.call('ZCARD', queue .. ':dead') - tonumber(ARGV[2])
  if surplus <= 0 then return end
  local popped = redis.call('ZPOPMIN', queue .. ':dead', surplus)
  for index = 1, #popped, 2 do
    redis.call('PEXPIRE', root .. ':t:' .. popped[index], ARGV[3])
    redis.call('HINCRBY', queue .. ':totals', 'dropped', 1)
  end
end

local function settle(number)
  local queue, id, priority, entry, kind, at, due, value, errors = unpack(ARGV, number, number + size - 1)
  queue = root .. ':q:' .. queue
  local stream, task = queue .. ':ready:' .. priority, root .. ':t:' .. id
  if kind ~= 'done' and not is_owned(stream, entry) or forget_entry(stream, entry) == 0 then
    return redis.call('HGET', task, 'd') == at and 1 or 0
  end
  if errors ~= '' then redis.call('HSET', task, 'e', errors) end
  if kind == 'done' then
    redis.call('HSET', task, 's', 'SUCCESSFUL', 'd', at, 'r', value)
    redis.call('PEXPIRE', task, ARGV[3])
    redis.call('HINCRBY', queue .. ':totals', 'succeeded', 1)
  elseif kind == 'failed' then
    redis.call('HSET', task, 's', 'FAILED', 'd', at)
    redis.call('HINCRBY', queue .. ':totals', 'failed', 1)
    bury(queue, id, at)
  else
    redis.call('HSET', task, 's', 'READY')
    redis.call('HINCRBY', queue .. ':totals', 'retried', 1)
    defer(queue, priority, id, due)
  end
  return 1
end

local settled = {}
for number = 4, #ARGV, size do settled[#settled + 1] = settle(number) end
return settled
