-- Publish a message to a group.
-- KEYS: topic, named channels in the group
-- ARGV: PUBLISH or SPUBLISH, message
-- Named channels are members, with the end of their lease (ms) as score.
-- Returns those whose lease has not ended, to whose queues the sender has to append it.
--
-- A replica publishes too, but to few or nobody. It refuses what writes, even if that changes nothing.
local refused = redis.pcall('ZREM', KEYS[2], '')
if type(refused) == 'table' and string.find(refused.err, 'READONLY', 1, true) then return refused end
redis.call(ARGV[1], KEYS[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then return {} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGE', KEYS[2], now, '+inf', 'BYSCORE')
