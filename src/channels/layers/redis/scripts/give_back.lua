-- Put back into a named channel's queue what was handed out to a reader and that it does not want.
-- KEYS: queue
-- ARGV: group, reader, 1 if the reader leaves, or 0, IDs of the entries unless it leaves
-- Spelled as in keys.py: FIELD_MESSAGE, FIELD_SENT.
-- A reader that stays may have been handed out more by the time this is run, or repeated, so it
-- names what it means; one that leaves means all. What is put back gets its old place, by going
-- back to before it, unless a later message is being handled already, which would come again. It
-- gets the last place then, and also when nothing waits: no reader would notice anything else.
local ids = {}
if ARGV[3] == '1' then
  for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])) do
    ids[#ids + 1] = pending[1]
  end
else
  for number = 4, #ARGV do ids[#ids + 1] = ARGV[number] end
end
local entries = {}
for _, id in ipairs(ids) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if redis.call('XACK', KEYS[1], ARGV[1], id) == 1 and entry then
    entries[#entries + 1] = entry
  end
end

local function handed_out()  -- the last entry that any reader was handed
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local found = {}
    for number = 1, #group, 2 do found[group[number]] = group[number + 1] end
    if found['name'] == ARGV[1] then return found['last-delivered-id'] end
  end
end

local function before(id)
  local milliseconds, number = string.match(id, '^(%d+)-(%d+)$')
  if number == '0' then
    return string.format('%.0f-18446744073709551615', tonumber(milliseconds) - 1)
  end
  return milliseconds .. '-' .. string.format('%.0f', tonumber(number) - 1)
end

if #entries > 0 then
  local waiting = redis.call('XRANGE', KEYS[1], '(' .. handed_out(), '+', 'COUNT', 1)
  local first = entries[1][1]
  local later = redis.call('XPENDING', KEYS[1], ARGV[1], first, '+', 1)
  if #waiting > 0 and #later == 0 then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], before(first))
  else
    for _, entry in ipairs(entries) do
      local fields = entry[2]
      local sent = fields[3] == 't' and fields[4] or string.match(entry[1], '^%d+')
      redis.call('XDEL', KEYS[1], entry[1])
      redis.call('XADD', KEYS[1], '*', 'm', fields[2], 't', sent)
    end
  end
end
if ARGV[3] == '1' then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return 1
