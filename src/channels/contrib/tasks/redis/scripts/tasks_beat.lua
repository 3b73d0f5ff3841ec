-- A worker is alive: renew its lease.
-- KEYS: root
-- ARGV: worker, lease (ms), and the names of its queues
for number = 3, #ARGV do
  redis.call('ZADD', KEYS[1] .. ':q:' .. ARGV[number] .. ':workers', now_ms + tonumber(ARGV[2]), ARGV[1])
end
return 1
