-- Keep a new task, unless its queue is full.
-- KEYS: task, queue
-- ARGV: ID, name of the queue, priority, payload, enqueued at (us), run after (us), capacity, what
-- is carried along
-- Returns 1, also for a task that is there, as after a repeat; or 0 when the queue is full.
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
local queue = KEYS[2]
look_at(queue)
redis.call('EXISTS', queue .. ':ready:' .. ARGV[3])
local held = redis.call('ZCARD', queue .. ':deferred')
for _, priority in ipairs(priorities_of(queue)) do
  held = held + redis.call('XLEN', queue .. ':ready:' .. priority)
end
if held >= tonumber(ARGV[7]) then return 0 end
redis.call('HSET', KEYS[1], 'q', ARGV[2], 'y', ARGV[3], 'p', ARGV[4], 'n', ARGV[5], 'a', ARGV[6],
  's', 'READY')
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'c', ARGV[8]) end
if tonumber(ARGV[6]) > now_us then
  defer(queue, ARGV[3], ARGV[1], ARGV[6])
else
  append(queue, ARGV[3], ARGV[1])
  ring(queue)
end
return 1
