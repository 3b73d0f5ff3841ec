-- Publish a message to a group, which may have named channels among its members.
-- KEYS: topic, named members of the group
-- ARGV: PUBLISH or SPUBLISH, message
-- Returns whether there are named members, to whose queues the sender has to append it too.
redis.call(ARGV[1], KEYS[1], ARGV[2])
return redis.call('EXISTS', KEYS[2])
