-- Put back into a named channel's queue what was handed out to a reader and that it does not want.
-- KEYS: queue
-- ARGV: group, reader, 1 if the reader leaves, or 0
-- What is put back comes last.
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])) do
  local id = pending[1]
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  redis.call('XACK', KEYS[1], ARGV[1], id)
  if entry then
    redis.call('XDEL', KEYS[1], id)
    redis.call('XADD', KEYS[1], '*', 'm', entry[2][2])
  end
end
if ARGV[3] == '1' then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return 1
