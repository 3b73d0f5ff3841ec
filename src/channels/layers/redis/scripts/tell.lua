-- Publish something to one process.
-- KEYS: topic
-- ARGV: PUBLISH or SPUBLISH, what
-- Returns how many of this server's connections are subscribed to the topic.
--
-- A replica publishes too, but to few or nobody. It refuses what writes, even if that changes nothing;
-- there is no key of the topic's name.
local refused = redis.pcall('ZREM', KEYS[1], '')
if type(refused) == 'table' and string.find(refused.err, 'READONLY', 1, true) then return refused end
return redis.call(ARGV[1], KEYS[1], ARGV[2])
