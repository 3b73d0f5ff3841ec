-- Put back into a named channel's queue what was taken but not delivered.
-- KEYS: queue
-- ARGV: group, id of the entry, message
-- An entry that is no longer there was put back before, or has expired.
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 1 then
  redis.call('XADD', KEYS[1], '*', 'm', ARGV[3])
  return 1
end
return 0
