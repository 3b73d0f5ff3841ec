-- Put back into a named channel's queue what was handed out to a reader and that it does not want.
-- KEYS: queue
-- ARGV: group, reader, 1 if the reader leaves, or 0, IDs of the entries unless it leaves
-- What is put back comes last. A reader that stays may have been handed out more by the time this
-- is run, or repeated, so it names what it means; one that leaves means all.
local ids = {}
if ARGV[3] == '1' then
  for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])) do
    ids[#ids + 1] = pending[1]
  end
else
  for number = 4, #ARGV do ids[#ids + 1] = ARGV[number] end
end
for _, id in ipairs(ids) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if redis.call('XACK', KEYS[1], ARGV[1], id) == 1 and entry then
    redis.call('XDEL', KEYS[1], id)
    redis.call('XADD', KEYS[1], '*', 'm', entry[2][2])
  end
end
if ARGV[3] == '1' then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return 1
