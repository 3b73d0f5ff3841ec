-- Make the inbox of a process if it is not there.
-- KEYS: inbox
-- ARGV: lease (ms), id of the last entry that the process has read, or ''
-- Spelled as in keys.py: NOTHING.
-- Returns the server's time (ms), 1 if it was made or 0 if it was there, the id of its last entry,
-- 1 if the entry that was read last is there or 0 if not (the state is older than what the process
-- has seen), and the server's replication id and the one it had before a failover, or '' if it does
-- not tell.
-- Anything else under the inbox's name is a mistake, and makes way.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local made, known, last = 0, 1, nil
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then
  made = 1
  redis.call('DEL', KEYS[1])
  last = redis.call('XADD', KEYS[1], '*', 'h', '')
else
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for index = 1, #info, 2 do
    if info[index] == 'last-generated-id' then last = info[index + 1] end
  end
  if ARGV[2] ~= '' then known = #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
-- Whoever may not ask for it is not told of a failover.
local replication = redis.pcall('INFO', 'replication')
if type(replication) ~= 'string' then replication = '' end
return {now, made, last, known,
        string.match(replication, 'master_replid:(%x+)') or '',
        string.match(replication, 'master_replid2:(%x+)') or ''}
