-- How many tasks of a queue there are.
-- KEYS: queue
-- ARGV: none
-- Returns how many wait, are deferred, run and are dead; and the totals, as names and numbers.
local queue, held, running = KEYS[1], 0, 0
for _, priority in ipairs(priorities_of(queue)) do
  local stream = queue .. ':ready:' .. priority
  local pending = redis.pcall('XPENDING', stream, 'workers')
  held = held + redis.call('XLEN', stream)
  if not pending.err then running = running + pending[1] end
end
return {
  held - running, redis.call('ZCARD', queue .. ':deferred'), running,
  redis.call('ZCARD', queue .. ':dead'), redis.call('HGETALL', queue .. ':totals'),
}
