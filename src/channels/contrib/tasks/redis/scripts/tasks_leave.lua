-- A worker ends: give back what it was given and has not settled.
-- KEYS: root
-- ARGV: worker, how many queues, their names, and the IDs of the tasks that it has begun
-- Returns how many tasks went back. Attempts that have begun are named in the results, but do not
-- count; others have never been.
local root, worker, returned = KEYS[1], ARGV[1], 0
local queues, begun = {}, {}
for number = 3, 2 + tonumber(ARGV[2]) do queues[#queues + 1] = root .. ':q:' .. ARGV[number] end
for number = 3 + #queues, #ARGV do begun[ARGV[number]] = true end
for _, queue in ipairs(queues) do look_at(queue) end

local function give_back(queue, stream, priority, entry, id)
  local task = root .. ':t:' .. id
  forget_entry(stream, entry)
  if redis.call('EXISTS', task) == 0 then return end
  if begun[id] then
    redis.call('HINCRBY', task, 'b', 1)
  else
    local workers = redis.call('HGET', task, 'w') or ''
    redis.call('HSET', task, 'w', string.match(workers, '^(.*) %S+$') or '')
  end
  redis.call('HSET', task, 's', 'READY')
  append(queue, priority, id)
  returned = returned + 1
end

for _, queue in ipairs(queues) do
  for _, priority in ipairs(priorities_of(queue)) do
    local stream = queue .. ':ready:' .. priority
    for _, pending in ipairs(pending_of(stream, worker, 100000)) do
      give_back(queue, stream, priority, pending[1], pending[2])
    end
    forget_worker(stream, worker)
  end
  redis.call('ZREM', queue .. ':workers', worker)
  ring(queue)  -- it may have heard the bell that was for others
end
return returned
