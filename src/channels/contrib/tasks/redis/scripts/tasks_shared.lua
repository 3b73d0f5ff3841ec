-- What the scripts on tasks share; it stands before each of them. Spelled as in keys.py.
--
-- Of a queue there are, after the key that names it:
--   :ready:PRIORITY  a stream for each priority in use, with the consumer group "workers"; an entry
--                    is the ID of a task, until the task has been settled
--   :priorities      a sorted set of these priorities
--   :deferred        a sorted set of PRIORITY:ID, by the time (us) when they are due
--   :dead            a sorted set of the IDs of dead letters, by the time (us) when they failed
--   :workers         a sorted set of workers, by the time (ms) when their lease ends
--   :totals          a hash of what has become of tasks
--   :bell            a list with one element when idle workers are to look
--
-- A cluster that moves the slot refuses keys that are on their way. It must do so before anything has
-- been changed, so look_at() comes first.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now_us = time[1] * 1000000 + time[2]

local function look_at(queue)
  for _, name in ipairs({':priorities', ':deferred', ':dead', ':workers', ':totals', ':bell'}) do
    redis.call('EXISTS', queue .. name)
  end
end

local function priorities_of(queue)  -- the highest first
  return redis.call('ZREVRANGE', queue .. ':priorities', 0, -1)
end

local function ring(queue)
  if redis.call('LLEN', queue .. ':bell') == 0 then redis.call('LPUSH', queue .. ':bell', 1) end
end

local function append(queue, priority, id)
  local stream = queue .. ':ready:' .. priority
  if redis.call('ZADD', queue .. ':priorities', priority, priority) == 1 then
    redis.pcall('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
  end
  redis.call('XADD', stream, '*', 'i', id)
end

local function defer(queue, priority, id, due)
  local member = priority .. ':' .. id
  redis.call('ZADD', queue .. ':deferred', due, member)
  -- Who sleeps until the next one is due has to look again if this one is earlier.
  if redis.call('ZRANGE', queue .. ':deferred', 0, 0)[1] == member then ring(queue) end
end

local function pending_of(stream, worker, count)  -- as entry and ID
  local found = redis.pcall('XPENDING', stream, 'workers', '-', '+', count, worker)
  local entries = {}
  if found.err then return entries end
  for _, pending in ipairs(found) do
    local entry = redis.call('XRANGE', stream, pending[1], pending[1])[1]
    if entry then
      entries[#entries + 1] = {pending[1], entry[2][2]}
    else
      redis.call('XACK', stream, 'workers', pending[1])
    end
  end
  return entries
end

local function forget_entry(stream, entry)
  local taken = redis.pcall('XACK', stream, 'workers', entry)
  if type(taken) ~= 'number' then return 0 end
  redis.call('XDEL', stream, entry)
  return taken
end

local function forget_worker(stream, worker)  -- if it has nothing left, as that would be lost with it
  local pending = redis.pcall('XPENDING', stream, 'workers', '-', '+', 1, worker)
  if not pending.err and #pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', worker)
  end
  return pending.err or #pending == 0
end

local function words(text)
  local _, count = string.gsub(text or '', '%S+', '')
  return count
end
