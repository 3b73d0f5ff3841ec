-- Give tasks to a worker, and renew its lease.
-- KEYS: root
-- ARGV: worker, now by its clock (us), how many at most, lease (ms), attempts that a task has,
-- 1 after an answer that was lost, or 0; 1 if the worker runs a suspect, or 0; how many queues, their
-- names, and the IDs of the tasks that the worker has, after such an answer
-- Returns the milliseconds until the next task is due, or -1; and for each task its entry, 1 if it has
-- no attempt left after its worker was lost, or 0, its ID, and its fields.
local root, worker, limit = KEYS[1], ARGV[1], tonumber(ARGV[3])
local taken, next_due = {}, -1
local has_suspect = ARGV[7] == '1'
local queues, running = {}, {}
for number = 9, 8 + tonumber(ARGV[8]) do queues[#queues + 1] = root .. ':q:' .. ARGV[number] end
for number = 9 + #queues, #ARGV do running[ARGV[number]] = true end
for _, queue in ipairs(queues) do look_at(queue) end

local function begin(queue, stream, entry, id, lost, counted)
  local task = root .. ':t:' .. id
  local fields = redis.call('HMGET', task, 'q', 'y', 'p', 'n', 'a', 'w', 'f', 'l', 'e', 'k', 'b', 'c')
  if not fields[3] then  -- it was deleted
    forget_entry(stream, entry)
    return
  end
  local workers, exhausted = fields[6] or '', 0
  if lost ~= '' then
    fields[10] = fields[10] and fields[10] .. ' ' .. lost or lost
    redis.call('HSET', task, 'k', fields[10])
  end
  if lost ~= '' and words(workers) - tonumber(fields[11] or 0) >= tonumber(ARGV[5]) then
    exhausted = 1
  elseif not counted then
    fields[6] = workers == '' and worker or workers .. ' ' .. worker
    fields[7], fields[8] = fields[7] or ARGV[2], ARGV[2]
    redis.call('HSET', task, 's', 'RUNNING', 'w', fields[6], 'f', fields[7], 'l', fields[8])
  end
  for number = 1, 12 do fields[number] = fields[number] or '' end
  taken[#taken + 1] = {entry, exhausted, id, unpack(fields)}
end

local function move_due(queue)
  local due = redis.call('ZRANGEBYSCORE', queue .. ':deferred', '-inf', now_us, 'LIMIT', 0, 200)
  for _, member in ipairs(due) do
    local priority, id = string.match(member, '^(-?%d+):(.*)$')
    redis.call('ZREM', queue .. ':deferred', member)
    append(queue, priority, id)
  end
  local first = redis.call('ZRANGE', queue .. ':deferred', 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(math.ceil((first[2] - now_us) / 1000), 0)
    if next_due < 0 or left < next_due then next_due = left end
  end
end

local function take_again(queue)  -- what it was given, and does not know of
  for _, priority in ipairs(priorities_of(queue)) do
    local stream = queue .. ':ready:' .. priority
    for _, pending in ipairs(pending_of(stream, worker, 1000)) do
      if not running[pending[2]] then begin(queue, stream, pending[1], pending[2], '', true) end
    end
  end
end

-- Take over from a worker whose lease has ended. What has been lost before is a suspect: it may be what
-- ends the workers. A worker has one of these at a time, so that they do not end together.
local function take_over(queue, lost)
  for _, priority in ipairs(priorities_of(queue)) do
    local stream = queue .. ':ready:' .. priority
    local wanted = limit - #taken
    if wanted <= 0 then return end
    for _, pending in ipairs(pending_of(stream, lost, wanted)) do
      local suspect = redis.call('HEXISTS', root .. ':t:' .. pending[2], 'k') == 1
      if not (suspect and has_suspect) then
        has_suspect = has_suspect or suspect
        redis.call('XCLAIM', stream, 'workers', worker, 0, pending[1], 'JUSTID')
        redis.call('HINCRBY', queue .. ':totals', 'lost', 1)
        begin(queue, stream, pending[1], pending[2], lost, false)
      end
    end
    if not forget_worker(stream, lost) then return end
  end
  redis.call('ZREM', queue .. ':workers', lost)
end

local function take_new(queue)
  for _, priority in ipairs(priorities_of(queue)) do
    local stream = queue .. ':ready:' .. priority
    if #taken >= limit then return end
    local found = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker,
      'COUNT', limit - #taken, 'STREAMS', stream, '>')
    if found and found.err then  -- it was evicted; what comes next finds a group
      redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
    elseif found then
      for _, entry in ipairs(found[1][2]) do
        begin(queue, stream, entry[1], entry[2][2], '', false)
      end
    elseif redis.call('XLEN', stream) == 0 then
      redis.call('DEL', stream)
      redis.call('ZREM', queue .. ':priorities', priority)
    end
  end
end

for _, queue in ipairs(queues) do
  redis.call('ZADD', queue .. ':workers', now_ms + tonumber(ARGV[4]), worker)
  move_due(queue)
  if ARGV[6] == '1' then take_again(queue) end
  for _, lost in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':workers', '-inf', now_ms)) do
    take_over(queue, lost)
  end
  take_new(queue)
  if #taken >= limit then ring(queue) end  -- there may be more, for others
end
return {next_due, taken}
