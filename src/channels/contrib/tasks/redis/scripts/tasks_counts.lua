-- How many tasks of a queue there are.
-- KEYS: queue
-- ARGV: none
-- Returns how many wait, for how long (ms) the first of these has waited, how many are deferred, run and
-- are dead; and the totals, as names and numbers.
local queue, held, running, longest = KEYS[1], 0, 0, 0

local function first_waiting(stream)  -- the time (ms) at which it began to wait
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err or not groups[1] then return now_ms end
  local last
  for number = 1, #groups[1], 2 do
    if groups[1][number] == 'last-delivered-id' then last = groups[1][number + 1] end
  end
  local entry = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]
  return entry and tonumber(string.match(entry[1], '^%d+')) or now_ms
end

for _, priority in ipairs(priorities_of(queue)) do
  local stream = queue .. ':ready:' .. priority
  local pending = redis.pcall('XPENDING', stream, 'workers')
  held = held + redis.call('XLEN', stream)
  if not pending.err then running = running + pending[1] end
  longest = math.max(longest, now_ms - first_waiting(stream))
end
return {
  held - running, longest, redis.call('ZCARD', queue .. ':deferred'), running,
  redis.call('ZCARD', queue .. ':dead'), redis.call('HGETALL', queue .. ':totals'),
}
