-- Put dead letters into the queue again, or delete them.
-- KEYS: root
-- ARGV: name of the queue, revive or bury, IDs
-- Returns how many of them there were.
local root, queue, found = KEYS[1], KEYS[1] .. ':q:' .. ARGV[1], 0
look_at(queue)
for number = 3, #ARGV do
  local id, task = ARGV[number], root .. ':t:' .. ARGV[number]
  redis.call('EXISTS', task)
  if redis.call('ZREM', queue .. ':dead', id) == 1 then
    found = found + 1
    if ARGV[2] == 'bury' then
      redis.call('DEL', task)
    else
      local fields = redis.call('HMGET', task, 'w', 'y')
      redis.call('HSET', task, 's', 'READY', 'b', words(fields[1]))
      redis.call('HDEL', task, 'd')
      append(queue, fields[2], id)
    end
  end
end
if found > 0 then ring(queue) end
return found
