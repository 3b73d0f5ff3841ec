-- Make a named channel's queue and its consumer group if they are not there, and keep them.
-- KEYS: queue, its expiry (see the script enqueue)
-- ARGV: group, lease (ms), expiry (ms), milliseconds after which a silent reader is gone, or 0,
-- reader, milliseconds after which what another was handed is this one's, entries it wants
-- Returns how many messages were found to have expired, and the entries that others were handed and
-- have done nothing with.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  -- A server that is full makes none, and can be read all the same, which gives it room.
  local full = string.find(made.err, 'OOM', 1, true)
  local found = full and redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
  if not found or found.err then return {err = made.err .. ' (XGROUP CREATE)'} end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = math.max(tonumber(ARGV[3]), tonumber(redis.call('GET', KEYS[2]) or 0))
local expired = redis.call('XTRIM', KEYS[1], 'MINID', now - expiry)
local abandoned = {}
if ARGV[7] ~= '0' then
  -- A command is on the line of its call: where a right is missing, Redis tells the line only.
  local idle = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[6], '-', '+', ARGV[7])
  for _, pending in ipairs(idle) do
    local entry = redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1]
    if entry then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[5], 0, pending[1], 'JUSTID')
      abandoned[#abandoned + 1] = entry
    else
      redis.call('XACK', KEYS[1], ARGV[1], pending[1])  -- it was trimmed
    end
  end
end
if ARGV[4] ~= '0' then
  for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    -- name, NAME, pending, COUNT, idle, MILLISECONDS
    if reader[4] == 0 and reader[6] > tonumber(ARGV[4]) then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], reader[2])
    end
  end
end
return {expired, abandoned}
